//! Any bytes as what a server answers, in any pieces, again and again, to each dialogue; as a datagram to a question of the
//! DNS, and as a certificate. There is a verdict, short and harmless, the same in whichever pieces the bytes come, and
//! nothing costs more memory than is allowed.

#![no_main]

#[path = "../../tests/wire/allocations.rs"]
mod allocations;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use systole::config::{DnsRecord, Expect, Page, StatusRange};
use systole::director::check::dns::Question;
use systole::director::check::expect::Wanted;
use systole::director::check::http::Asked;
use systole::director::check::mysql::Mysql;
use systole::director::check::postgresql::Postgresql;
use systole::director::check::smtp::Smtp;
use systole::director::check::talk::Talk;
use systole::director::check::{Dialogue, Step, Verdict, certificate, words};

use allocations::peak;

/// What is kept of an answer while it grows, and its text beside it.
const BYTES_PER_CHECK: usize = 640 * 1024;

/// More than any of them listens to.
const HEARD: usize = 1 << 21;

static BOTH: LazyLock<Wanted> = LazyLock::new(|| wanted(Some("ok"), Some("[a-z]+1$")));
static TEXT: LazyLock<Wanted> = LazyLock::new(|| wanted(Some("\0ok"), None));
static PAGES: LazyLock<[Asked; 3]> = LazyLock::new(|| {
    [expect(None, None), expect(Some("ok"), None), expect(None, Some("(?i)o.?k"))].map(|expect| {
        let (status, path) = (vec![StatusRange(200, 299)], "/".to_owned());
        let page = Page { method: "GET".to_owned(), path, host: None, login: None, status, expect };
        Asked::new(&page, false).expect("it can be asked for")
    })
});
static QUESTIONS: LazyLock<Vec<Question>> = LazyLock::new(|| {
    use DnsRecord::{A, Aaaa, Cname, Mx, Ns, Ptr, Soa, Srv, Txt};
    let records = [A, Aaaa, Cname, Mx, Ns, Ptr, Soa, Srv, Txt];
    records.map(|record| Question::new("a.bc", record, None).expect("it is a name")).into()
});

fn expect(text: Option<&str>, pattern: Option<&str>) -> Expect {
    Expect { text: text.map(Into::into), pattern: pattern.map(Into::into) }
}

fn wanted(text: Option<&str>, pattern: Option<&str>) -> Wanted {
    Wanted::new(&expect(text, pattern)).expect("it is a pattern")
}

fn dialogue(which: u8) -> Box<dyn Dialogue> {
    let server = ([192, 0, 2, 1], 80).into();
    match which {
        0..=2 => Box::new(PAGES[usize::from(which)].of(server)),
        3 => Box::new(Smtp::new("lb").expect("it is a name")),
        4 => Box::new(Mysql::default()),
        5 => Box::new(Postgresql::default()),
        6 => Box::new(Talk::new(b"x".into(), TEXT.clone())),
        _ => Box::new(Talk::new(Vec::new(), BOTH.clone())),
    }
}

/// What a dialogue finds in the bytes, said so often, in pieces of this size.
fn play(mut dialogue: Box<dyn Dialogue>, bytes: &[u8], times: usize, size: usize) -> Verdict {
    let _ = dialogue.begin();
    for _ in 0..times {
        for piece in bytes.chunks(size) {
            if let Step::Done(verdict) = dialogue.hear(piece) {
                return verdict;
            }
        }
    }
    assert!(bytes.len() * times < HEARD, "no verdict after {} bytes", bytes.len() * times);
    dialogue.end()
}

fn judge(verdict: &Verdict) {
    let text = match verdict {
        Verdict::Well { answer, .. } => answer,
        Verdict::Bad(why) | Verdict::Untold(why) => why,
    };
    assert!(!text.is_empty() && text.chars().count() <= words::LONGEST, "{text:?}");
    assert!(!text.contains(|c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)), "{text:?}");
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&[which, size, times], bytes)) = bytes.split_first_chunk() else { return };
    let (which, size) = (which % 10, usize::from(size) + 1);
    match which {
        0..=7 => {
            // Some of it again and again, so that every bound is met.
            let times = if times > 250 { HEARD / bytes.len().max(1) + 1 } else { 1 + usize::from(times % 4) };
            let (whole, used) = peak(|| play(dialogue(which), bytes, times, usize::MAX));
            assert!(used <= BYTES_PER_CHECK, "{used} bytes allocated");
            judge(&whole);
            // A pattern is held against what has come of a talk so far.
            if which < 7 && times < 5 {
                let pieces = play(dialogue(which), bytes, times, size);
                judge(&pieces);
                assert_eq!(whole.is_well(), pieces.is_well(), "{whole:?}, and in pieces {pieces:?}");
            }
        }
        8 => {
            let question = &QUESTIONS[size % QUESTIONS.len()];
            let mut answer = question.datagram(7);
            answer[2..4].copy_from_slice(&[0x80, 0]);
            answer[7] = times;
            answer.extend_from_slice(bytes);
            for datagram in [bytes, &answer] {
                let (verdict, used) = peak(|| question.judge(7, datagram));
                assert!(used <= BYTES_PER_CHECK, "{used} bytes allocated");
                verdict.iter().for_each(judge);
            }
        }
        _ => {
            if let Some((from, until)) = certificate::dates(bytes) {
                assert!(!certificate::day(from).is_empty() && !certificate::day(until).is_empty());
            }
        }
    }
});
