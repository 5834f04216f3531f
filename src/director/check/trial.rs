//! Tries a dialogue without a stream: with whole answers, cut ones, and garbage.

use super::{Dialogue, Step, Verdict};

/// What a dialogue says to these pieces, with the end behind them, and what it finds.
pub(super) fn play<'a>(
    mut dialogue: impl Dialogue,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<u8>, Verdict) {
    let mut said = Vec::new();
    let mut step = dialogue.begin();
    let mut pieces = pieces.into_iter();
    loop {
        match step {
            Step::More => {}
            Step::Say(words) => said.extend(words),
            Step::Done(verdict) => return (said, verdict),
        }
        let Some(piece) = pieces.next() else { return (said, dialogue.end()) };
        step = dialogue.hear(piece);
    }
}

/// What it finds in a whole answer: the same, in whichever pieces it comes. However soon the answer ends, there is a
/// verdict.
pub(super) fn judge<D: Dialogue>(make: impl Fn() -> D, answer: &[u8]) -> Verdict {
    // Who has said all before he is asked is not answered: so what is said may differ, and the verdict not.
    let (_, whole) = play(make(), [answer]);
    assert_eq!(play(make(), answer.chunks(1)).1, whole, "byte by byte");
    for cut in 0..=answer.len() {
        assert_eq!(play(make(), [&answer[..cut], &answer[cut..]]).1, whole, "cut at {cut}");
        let (_, early) = play(make(), [&answer[..cut]]);
        assert!(early == whole || !early.is_well(), "cut off at {cut} it is {early:?}");
    }
    short(&whole);
    whole
}

/// That it is well, and what was answered.
pub(super) fn well<D: Dialogue>(make: impl Fn() -> D, answer: &[u8]) -> String {
    match judge(make, answer) {
        Verdict::Well { answer, .. } => answer,
        Verdict::Bad(why) | Verdict::Untold(why) => panic!("bad: {why}"),
    }
}

/// That it is not, and why.
pub(super) fn bad<D: Dialogue>(make: impl Fn() -> D, answer: &[u8]) -> String {
    match judge(make, answer) {
        Verdict::Well { answer, .. } | Verdict::Untold(answer) => panic!("not bad: {answer}"),
        Verdict::Bad(why) => why,
    }
}

/// Whatever comes, however much of it, there is a verdict before a megabyte and a bit have been heard: `beginning`, and then
/// the same for ever.
pub(super) fn bad_for_ever(mut dialogue: impl Dialogue, beginning: &[u8], again: &[u8]) -> String {
    let mut heard = 0;
    let _ = dialogue.begin();
    let mut step = dialogue.hear(beginning);
    while heard < (1 << 20) + (1 << 17) {
        if let Step::Done(verdict) = step {
            short(&verdict);
            let Verdict::Bad(why) = verdict else { panic!("{verdict:?}") };
            return why;
        }
        step = dialogue.hear(again);
        heard += again.len();
    }
    panic!("no verdict after {heard} bytes");
}

/// Mutations of answers, and chance: a verdict each, and no panic.
pub(super) fn survives_garbage<D: Dialogue>(make: impl Fn() -> D, seeds: &[&[u8]]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chance = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // It is below a usize.
        usize::try_from(state % below.max(1) as u64).unwrap_or_default()
    };
    for round in 0..20_000 {
        let mut bytes = seeds[round % seeds.len()].to_vec();
        for _ in 0..chance(6) {
            let at = chance(bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte = u8::try_from(chance(256)).unwrap_or_default();
            }
        }
        bytes.truncate(chance(2 * bytes.len() + 1));
        let size = 1 + chance(bytes.len());
        short(&play(make(), bytes.chunks(size)).1);
    }
}

fn short(verdict: &Verdict) {
    let text = match verdict {
        Verdict::Well { answer, .. } => answer,
        Verdict::Bad(why) | Verdict::Untold(why) => why,
    };
    assert!(!text.is_empty() && text.chars().count() <= super::words::LONGEST, "{text:?}");
    assert!(!text.contains(char::is_control), "{text:?}");
}
