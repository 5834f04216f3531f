//! What a client noticed of a fault. Pure: from what was written down.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ears::Heard;
use super::probe::Answer;
use crate::net::route::Mac;
use crate::time::Span;

/// A time without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last answer before it.
    pub from: Span,
    /// The first answer after it.
    pub to: Span,
}

impl Gap {
    /// How long it was.
    pub fn length(self) -> Span {
        self.to - self.from
    }
}

/// What a client noticed between two times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The longest time without an answer.
    pub outage: Span,
    /// From the fault to the first answer of another machine than before, and which.
    pub first_answer: Option<(Span, Arc<str>)>,
    /// From the fault to the first announcement of another machine than before, and where that is.
    pub first_announcement: Option<(Span, Mac)>,
    /// Questions to everybody that two machines answered.
    pub doubles: usize,
}

impl Outcome {
    /// What was noticed of a fault, up to a time.
    pub fn of(fault: Span, until: Span, answers: &[Answer], heard: &[Heard]) -> Self {
        let before = answers.iter().rfind(|answer| answer.at < fault).map(|answer| &answer.from);
        let is_other = |answer: &&Answer| answer.at >= fault && Some(&answer.from) != before;
        let first = answers.iter().find(is_other).filter(|answer| answer.at <= until);
        let mac_before = heard.iter().rfind(|heard| heard.at < fault).map(|heard| heard.mac);
        let is_news = |heard: &&Heard| heard.announced && heard.at >= fault && Some(heard.mac) != mac_before;
        let announcement = heard.iter().find(is_news).filter(|heard| heard.at <= until);
        let within: Vec<_> =
            heard.iter().copied().filter(|heard| (fault..=until).contains(&heard.at)).collect();
        Self {
            outage: longest_gap(answers, fault, until).length(),
            first_answer: first.map(|answer| (answer.at - fault, Arc::clone(&answer.from))),
            first_announcement: announcement.map(|heard| (heard.at - fault, heard.mac)),
            doubles: doubles(&within).len(),
        }
    }
}

/// The longest time without an answer that touches this time. It begins with the last answer before.
pub fn longest_gap(answers: &[Answer], from: Span, to: Span) -> Gap {
    let before = answers.iter().rfind(|answer| answer.at <= from).map_or(from, |answer| answer.at);
    let within = answers.iter().map(|answer| answer.at).filter(|at| *at > from && *at < to);
    let mut longest = Gap { from: before, to: before };
    let mut last = before;
    for at in within.chain([to]) {
        if at - last > longest.length() {
            longest = Gap { from: last, to: at };
        }
        last = at;
    }
    longest
}

/// The first answer by this machine at or after a time.
pub fn first_by<'a>(answers: &'a [Answer], machine: &str, after: Span) -> Option<&'a Answer> {
    answers.iter().find(|answer| answer.at >= after && answer.from.as_ref() == machine)
}

/// The questions to everybody that more than one machine answered, with the time of the first answer and the machines.
pub fn doubles(heard: &[Heard]) -> Vec<(Span, Vec<Mac>)> {
    let mut by_question: BTreeMap<u64, (Span, Vec<Mac>)> = BTreeMap::new();
    for heard in heard.iter().filter(|heard| !heard.announced) {
        let (_, macs) = by_question.entry(heard.question).or_insert((heard.at, Vec::new()));
        if !macs.contains(&heard.mac) {
            macs.push(heard.mac);
        }
    }
    by_question.into_values().filter(|(_, macs)| macs.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(some: &[(u64, &str)]) -> Vec<Answer> {
        let answer = |(question, (at, from)): (u64, &(u64, &str))| Answer {
            question,
            at: Span(*at),
            from: Arc::from(*from),
        };
        (0..).zip(some).map(answer).collect()
    }

    fn heard(at: u64, machine: u8, question: u64, announced: bool) -> Heard {
        Heard { at: Span(at), mac: Mac([2, 0, 0, 0, 0, machine]), question, announced }
    }

    #[test]
    fn an_outage_begins_with_the_last_answer_before_the_fault() {
        let answers = answers(&[(100, "a"), (200, "a"), (700, "b"), (800, "b")]);
        let gap = longest_gap(&answers, Span(250), Span(900));
        assert_eq!((gap, gap.length()), (Gap { from: Span(200), to: Span(700) }, Span(500)));
        assert_eq!(longest_gap(&answers, Span(250), Span(600)).length(), Span(400), "it has not ended");
        assert_eq!(longest_gap(&[], Span(250), Span(600)).length(), Span(350), "nobody ever answered");
    }

    #[test]
    fn the_new_holder_is_another_than_the_one_before() {
        let answers = answers(&[(100, "a"), (200, "a"), (300, "a"), (700, "b"), (800, "b")]);
        let heard = [heard(50, 1, 1, false), heard(260, 1, 2, true), heard(650, 2, 3, true)];
        let outcome = Outcome::of(Span(250), Span(900), &answers, &heard);
        assert_eq!(outcome.first_answer, Some((Span(450), Arc::from("b"))));
        assert_eq!(outcome.first_announcement, Some((Span(400), Mac([2, 0, 0, 0, 0, 2]))));
        assert_eq!((outcome.outage, outcome.doubles), (Span(400), 0));
        assert_eq!(first_by(&answers, "b", Span(250)).map(|answer| answer.at), Some(Span(700)));
        let early = Outcome::of(Span(250), Span(600), &answers, &heard);
        assert_eq!((early.first_answer, early.first_announcement), (None, None));
    }

    #[test]
    fn two_that_answer_one_question_are_a_double_and_an_announcement_is_none() {
        let both = [heard(10, 1, 1, false), heard(11, 2, 1, false), heard(12, 2, 1, false)];
        let macs = vec![both[0].mac, both[1].mac];
        assert_eq!(doubles(&both), [(Span(10), macs)]);
        assert_eq!(doubles(&[heard(10, 1, 1, false), heard(11, 2, 2, false)]), []);
        assert_eq!(doubles(&[heard(10, 1, 1, false), heard(11, 2, 1, true)]), []);
    }
}
