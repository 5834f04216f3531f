//! What a pattern may be: a regular expression that is looked for in what a server answers.
//!
//! The expression is the operator's and the text a stranger's. So the expression is bounded: looking through a text takes
//! its length times the expression's, whatever is in the text, and that product must stay a matter of milliseconds.

use regex_lite::{Regex, RegexBuilder};

/// An expression is kept in no more than so many bytes: a line of one, with a few counted repetitions.
const BYTES: usize = 32 * 1024;

/// So many groups may lie in each other.
const DEPTH: u32 = 50;

/// The expression, ready to be looked for.
pub fn pattern(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text).size_limit(BYTES).nest_limit(DEPTH).build();
    built.map_err(|error| format!("{text:?} is no regular expression: {error}"))
}

/// Why this is no pattern; `None`: it is one.
pub fn pattern_fault(text: &str) -> Option<String> {
    pattern(text).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_write_is_a_pattern() {
        for text in
            ["", "^220 .*ESMTP", "(?i)it works", r"\bup\b|\d{1,3} users", "(?s)<title>.{0,200}</title>", "ä+"]
        {
            assert_eq!(pattern_fault(text), None);
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_with_the_pattern() {
        for text in ["(", "a{2,1}", "*", r"\p{Greek}", "[z-a]"] {
            let fault = pattern_fault(text).expect("it is none");
            assert!(fault.contains(&format!("{text:?} is no regular expression: ")), "{fault}");
        }
    }

    #[test]
    fn a_pattern_that_would_cost_too_much_is_none() {
        assert!(pattern_fault("((a{100}){100}){100}").is_some());
        assert!(
            pattern_fault(&"(".repeat(60).chars().chain(")".repeat(60).chars()).collect::<String>())
                .is_some()
        );
    }
}
