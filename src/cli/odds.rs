//! How long silence must last before it means death: what was seen on the links becomes odds. Pure arithmetic; it must
//! never make a link look better than what was seen of it allows.
//!
//! A node is dead when every beat of it was lost on every link for deadtime. Let `q` be the chance that one beat is lost on
//! all links at once, and `n` the number of beats in a row that must be. Of `B` beats, the expected number of runs of at
//! least `n` lost ones is `q^n (1 + (B - n)(1 - q))`, exactly; and no chance of at least one such run is greater than that.
//! `q^n` is far below what a float holds, so all of it is done in logarithms.

/// Seconds of a year.
pub(super) const YEAR_S: f64 = 31_557_600.0;

/// The natural logarithm of the expected number of runs of at least `run` losses among `beats`, of which each is lost with
/// the chance whose logarithm is `ln_loss`.
pub(super) fn ln_runs(ln_loss: f64, run: u64, beats: u64) -> f64 {
    if beats < run {
        return f64::NEG_INFINITY;
    }
    if run == 0 {
        return f64::INFINITY;
    }
    let ln_loss = ln_loss.min(0.0);
    #[allow(clippy::cast_precision_loss, reason = "more than 2^53 beats are millions of years")]
    let (run, beats) = (run as f64, beats as f64);
    run * ln_loss + ((beats - run) * -ln_loss.exp_m1()).ln_1p()
}

/// The logarithm of the chance of losing a beat, of which so many came and so many were lost: the upper end of what that
/// allows (95 %). Where none was lost, it is 3 in all that were sent.
pub(super) fn ln_loss(heard: u64, lost: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "more than 2^53 beats are millions of years")]
    let (heard, lost) = (heard as f64, lost as f64);
    let sent = heard + lost;
    if sent == 0.0 {
        return 0.0;
    }
    let most = lost + 1.65 * lost.sqrt() + 3.0;
    (most / sent).min(1.0).ln()
}

/// How often a year, in words, from the logarithm of the expected number.
pub(super) fn a_year(ln_expected: f64) -> String {
    let log10 = ln_expected / std::f64::consts::LN_10;
    if log10 < -18.0 {
        return "less than once in 10^18 years".to_owned();
    }
    if log10 < -4.0 {
        return format!("about once in 10^{:.0} years", -log10);
    }
    let expected = ln_expected.exp();
    if expected < 0.5 {
        return format!("about once in {:.0} years", 1.0 / expected);
    }
    if expected < 1e6 {
        return format!("about {:.1} times a year", expected);
    }
    "all the time".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected number of runs of at least `run` losses: every outcome of `beats`, one by one.
    fn by_hand(loss: f64, run: u32, beats: u32) -> f64 {
        let outcome = |bits: u32| {
            let lost = f64::from(bits.count_ones());
            let chance = loss.powf(lost) * (1.0 - loss).powf(f64::from(beats) - lost);
            let (mut runs, mut length) = (0.0, 0);
            for beat in 0..beats {
                length = if bits & (1 << beat) != 0 { length + 1 } else { 0 };
                runs += if length == run { 1.0 } else { 0.0 };
            }
            chance * runs
        };
        (0..1_u32 << beats).map(outcome).sum()
    }

    /// The chance of at least one such run.
    fn at_least_one(loss: f64, run: u32, beats: u32) -> f64 {
        // By the length of the run at the end.
        let mut at = vec![0.0; run as usize + 1];
        at[0] = 1.0;
        for _ in 0..beats {
            let mut next = vec![0.0; at.len()];
            for (length, chance) in at.iter().enumerate() {
                if length == run as usize {
                    next[length] += chance;
                } else {
                    next[0] += chance * (1.0 - loss);
                    next[length + 1] += chance * loss;
                }
            }
            at = next;
        }
        at[run as usize]
    }

    #[test]
    fn odds_are_what_counting_every_outcome_gives() {
        for loss in [0.01, 0.1, 0.3, 0.5, 0.9] {
            for (run, beats) in [(1, 1), (1, 12), (2, 12), (3, 14), (5, 14), (14, 14)] {
                let counted = by_hand(loss, run, beats);
                let reckoned = ln_runs(loss.ln(), u64::from(run), u64::from(beats)).exp();
                let off = (counted - reckoned).abs() / counted;
                assert!(off < 1e-9, "loss {loss}, {run} of {beats}: {counted} counted, {reckoned} reckoned");
            }
        }
    }

    #[test]
    fn the_expected_number_is_never_less_than_the_chance_of_one() {
        for loss in [0.001, 0.05, 0.2, 0.5] {
            for (run, beats) in [(1, 50), (3, 200), (6, 2_000)] {
                let reckoned = ln_runs(f64::ln(loss), u64::from(run), u64::from(beats)).exp();
                let chance = at_least_one(loss, run, beats);
                assert!(reckoned >= chance * (1.0 - 1e-9), "loss {loss}, {run} of {beats}");
            }
        }
    }

    #[test]
    fn what_no_float_holds_is_still_in_order() {
        let odds = |run| ln_runs(f64::ln(1e-4), run, 315_576_000);
        assert!(odds(100).exp() == 0.0 && odds(100) < odds(99) && odds(99).is_finite());
        assert_eq!(ln_runs(f64::ln(0.1), 5, 4), f64::NEG_INFINITY);
        assert_eq!(ln_runs(f64::ln(0.1), 0, 4), f64::INFINITY);
        assert_eq!(ln_runs(0.0, 3, 4), 0.0);
    }

    #[test]
    fn little_that_was_seen_proves_little() {
        assert!((ln_loss(1_000, 0).exp() - 0.003).abs() < 1e-12);
        assert_eq!(ln_loss(0, 0), 0.0);
        assert_eq!(ln_loss(1, 0), 0.0);
        assert!(ln_loss(90, 10).exp() > 0.1 && ln_loss(90, 10).exp() < 0.2);
        assert!(ln_loss(900_000, 100_000).exp() < 0.101);
    }

    #[test]
    fn odds_are_said_as_one_says_them() {
        let said = [-50.0, -13.0, -2.3, 0.0, 3.0, 30.0].map(|ln: f64| a_year(ln));
        let expected = [
            "less than once in 10^18 years",
            "about once in 10^6 years",
            "about once in 10 years",
            "about 1.0 times a year",
            "about 20.1 times a year",
            "all the time",
        ];
        assert_eq!(said, expected);
    }
}
