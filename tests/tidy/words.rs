//! One word for one thing, and none for what is not finished.

use super::source::{Source, house};
use super::{Finding, assert_clean, lines, whole};

/// Marks of unfinished work. It belongs in an issue, or is done.
const UNFINISHED: [&str; 3] = ["TO|DO", "FIX|ME", "X|XX"];

/// Words for two roles that systole does not have.
const ROLES: [&str; 4] = ["mas|ter", "mas|ters", "sla|ve", "sla|ves"];

/// Files that read, import or compare with programs that have those roles; a path begins with, or contains, one of these.
const ROLE_PLACES: [&str; 10] = [
    "src/config/heartbeat",
    "src/config/import",
    "src/config/keepalived",
    "tests/config",
    "docs/import",
    "docs/migrat",
    "resource-agents/",
    "tests/agents",
    "src/agents/stand_ins",
    "tests/director/daemon",
];

/// Names that say nothing: what does the thing do?
const EMPTY_NAMES: [&str; 6] = ["mana|ger", "hand|ler", "ut|il", "ut|ils", "com|mon", "hel|pers"];

/// The house writes British.
const SPELLINGS: [(&str, &str); 34] = [
    ("behav|ior", "behaviour"),
    ("behav|iors", "behaviours"),
    ("col|or", "colour"),
    ("col|ors", "colours"),
    ("col|ored", "coloured"),
    ("cance|led", "cancelled"),
    ("cance|ling", "cancelling"),
    ("cen|ter", "centre"),
    ("fav|or", "favour"),
    ("fav|ors", "favours"),
    ("hon|or", "honour"),
    ("hon|ors", "honours"),
    ("hon|ored", "honoured"),
    ("neigh|bor", "neighbour"),
    ("neigh|bors", "neighbours"),
    ("labe|led", "labelled"),
    ("labe|ling", "labelling"),
    ("mode|led", "modelled"),
    ("mode|ling", "modelling"),
    ("signa|led", "signalled"),
    ("signa|ling", "signalling"),
    ("cata|log", "catalogue"),
    ("def|ense", "defence"),
    ("ful|fill", "fulfil"),
    ("gr|ay", "grey"),
    ("acknowledg|ment", "acknowledgement"),
    ("acknowledg|ments", "acknowledgements"),
    ("analy|ze", "analyse"),
    ("analy|zed", "analysed"),
    ("initiali|ze", "initialise"),
    ("initiali|zed", "initialised"),
    ("optimi|zed", "optimised"),
    ("seriali|zed", "serialised"),
    ("recogni|zed", "recognised"),
];

/// Second words for what has one.
const SECOND_WORDS: [(&str, &str); 10] = [
    ("fail|over", "takeover (not planned) or hand-over (planned)"),
    ("fail|overs", "takeovers (not planned) or hand-overs (planned)"),
    ("switch|over", "hand-over"),
    ("heart|beat packet", "beat"),
    ("heart|beat packets", "beats"),
    ("heart|beat message", "beat"),
    ("heart|beat messages", "beats"),
    ("resource gr|oup", "group"),
    ("resource gr|oups", "groups"),
    ("time|-out", "timeout"),
];

/// A line that names one of these speaks of them, in their words.
const OTHERS: [&str; 9] =
    ["Heartbeat", "heartbeat ", "keepalived", "Pacemaker", "corosync", "VRRP", "ucarp", "DRBD", "ldirectord"];

/// Prose: the text of pages, and the comments of code, without what is code or quoted in them. With line numbers.
fn prose(source: &Source) -> Vec<(usize, String)> {
    let page = source.path.ends_with(".md");
    let texts: Vec<&str> = match source.is_rust() {
        true => {
            source.lines.iter().map(|line| line.comment.trim_start_matches(['/', '!', '*', ' '])).collect()
        }
        false if page => source.text.lines().collect(),
        false => Vec::new(),
    };
    let mut fenced = false;
    let mut found = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        if text.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced && !text.is_empty() {
            found.push((index + 1, unquoted(text)));
        }
    }
    found
}

/// Without `code`, "quotes" and addresses.
fn unquoted(text: &str) -> String {
    let mut out = String::new();
    let mut inside = None;
    for c in text.chars() {
        match inside {
            Some(mark) if c == mark => inside = None,
            Some(_) => {}
            None if c == '`' || c == '"' => inside = Some(c),
            None if c == '\u{201c}' => inside = Some('\u{201d}'),
            None => out.push(c),
        }
    }
    let is_address = |word: &&str| !word.contains("://") && !word.contains("](");
    out.split(' ').filter(is_address).collect::<Vec<_>>().join(" ")
}

/// The place of `needle` in `text` as a whole word.
fn has_word(text: &str, needle: &str) -> bool {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric());
    text.match_indices(needle)
        .any(|(at, _)| !joins(text[..at].chars().last()) && !joins(text[at + needle.len()..].chars().next()))
}

/// `HeldLease` and `held_lease` in words.
fn parts(name: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c == '-' || c.is_uppercase() {
            out.push(String::new());
        }
        if let (true, Some(last)) = (c.is_alphanumeric(), out.last_mut()) {
            last.extend(c.to_lowercase());
        }
    }
    out
}

fn is_ours(source: &Source) -> bool {
    !source.path.starts_with("LICENSE") && source.path != "Cargo.lock"
}

fn unfinished(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in source.text.lines().enumerate().filter(|_| is_ours(source)) {
        for mark in UNFINISHED.map(whole).iter().filter(|mark| has_word(line, mark)) {
            let mend = "do it, or say in plain words what does not work yet";
            found.push(Finding::new(&source.path, index + 1, format!("`{mark}`"), mend));
        }
    }
    found
}

fn roles(source: &Source) -> Vec<Finding> {
    if !is_ours(source) || ROLE_PLACES.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let line = line.to_lowercase();
        for word in ROLES.map(whole).iter().filter(|word| has_word(&line, word)) {
            let mend = "a node is holder or standby; for another program's words see ROLE_PLACES in tests/tidy/words.rs";
            found.push(Finding::new(&source.path, index + 1, format!("`{word}`"), mend));
        }
    }
    found
}

fn empty_names(source: &Source) -> Vec<Finding> {
    let mend = "name what it does, or split it into what it does";
    let says_nothing = |name: &str| EMPTY_NAMES.map(whole).iter().any(|empty| parts(name).contains(empty));
    let mut found = Vec::new();
    if source.is_rust() && source.path.trim_end_matches(".rs").split('/').any(says_nothing) {
        found.push(Finding::new(&source.path, 1, "the file's name says nothing", mend));
    }
    for (at, token) in source.tokens.iter().enumerate() {
        let names = ["mod", "struct", "enum", "trait", "type", "union"].contains(&token.text.as_str());
        let name = source.text_at(at + 1);
        if names && says_nothing(name) {
            found.push(Finding::new(
                &source.path,
                token.line,
                format!("the name `{name}` says nothing"),
                mend,
            ));
        }
    }
    found
}

fn american(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, text) in prose(source) {
        for (word, british) in SPELLINGS {
            let word = whole(word);
            if has_word(&text, &word) {
                let what = format!("`{word}`, in British {british}");
                found.push(Finding::new(&source.path, line, what, "write it so, or quote it in backticks"));
            }
        }
    }
    found
}

fn second_words(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (line, text) in prose(source) {
        if OTHERS.iter().any(|other| text.contains(other)) && !text.contains(&whole("heart|beat pa")) {
            continue;
        }
        for (word, ours) in SECOND_WORDS {
            let word = whole(word);
            if has_word(&text.to_lowercase(), &word) {
                let what = format!("`{word}` is our {ours}");
                let mend = "one word for one thing: use ours, or quote the other";
                found.push(Finding::new(&source.path, line, what, mend));
            }
        }
    }
    found
}

#[test]
fn nothing_is_marked_as_unfinished() {
    assert_clean(&house().iter().flat_map(unfinished).collect::<Vec<_>>());
}

#[test]
fn a_mark_of_unfinished_work_is_found() {
    let text =
        UNFINISHED.map(|mark| format!("# {}: later\n", whole(mark))).concat() + "mktemp /tmp/a.XXXXXX\n";
    assert_eq!(lines(&unfinished(&Source::new("tests/any", &text))), [1, 2, 3]);
}

#[test]
fn a_node_is_holder_or_standby_and_nothing_else() {
    assert_clean(&house().iter().flat_map(roles).collect::<Vec<_>>());
}

#[test]
fn a_word_for_a_role_that_we_don_t_have_is_found() {
    let text = format!("let {}_node = 1;\n// {}\nmasterful\n", whole("mas|ter"), whole("Sla|ves"));
    assert_eq!(lines(&roles(&Source::new("src/a.rs", &text))), [1, 2]);
    assert_clean(&roles(&Source::new("src/config/keepalived.rs", &text)));
}

#[test]
fn names_say_what_the_thing_does() {
    assert_clean(&house().iter().flat_map(empty_names).collect::<Vec<_>>());
}

#[test]
fn a_name_that_says_nothing_is_found() {
    let text = format!("struct Link{};\nmod {};\nstruct Commonplace;\n", whole("Mana|ger"), whole("ut|il"));
    assert_eq!(lines(&empty_names(&Source::new("src/a.rs", &text))), [1, 2]);
    assert_eq!(lines(&empty_names(&Source::new(&whole("src/com|mon/mod.rs"), "\n"))), [1]);
}

#[test]
fn pages_and_comments_are_written_in_british() {
    assert_clean(&house().iter().flat_map(american).collect::<Vec<_>>());
}

#[test]
fn an_american_spelling_is_found_in_prose_and_not_in_code() {
    let word = whole("col|or");
    let code = format!("let {word} = 1; // the {word}\n// `{word}`\n/// ```\n/// {word}\n/// ```\n");
    assert_eq!(lines(&american(&Source::new("src/a.rs", &code))), [1]);
    let page = format!("The {word}.\n```\n{word}\n```\n`{word}` \"{word}\"\n");
    assert_eq!(lines(&american(&Source::new("docs/a.md", &page))), [1]);
}

#[test]
fn one_thing_has_one_word() {
    assert_clean(&house().iter().flat_map(second_words).collect::<Vec<_>>());
}

#[test]
fn a_second_word_is_found_and_another_program_s_is_not() {
    let (fail, packet) = (whole("Fail|over"), whole("heart|beat packet"));
    let page = format!(
        "{fail} is quick.\nA {packet} came.\nWith keepalived a {fail} is slow.\nThey say \"{fail}\".\n"
    );
    assert_eq!(lines(&second_words(&Source::new("docs/a.md", &page))), [1, 2]);
}
