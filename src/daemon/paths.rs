//! Whether a service network is dead on this side, although the others are heard over another link.
//!
//! Beats over a second link keep everybody up, and carrier says nothing of a cable that is cut behind the switch: the
//! group would stay where no client reaches it. So a service interface that beats travel over, too, is in doubt once no
//! peer has been heard over it for warntime while one is heard elsewhere. Then the ping targets are asked through it. No
//! beat and no answer for deadtime: it is dead on this side, and this node is unfit for the groups on it. Whether that
//! moves them is the core's business: where the other side is as dead, they stay.
//!
//! Pure: it is told what was heard, and says what to ask.

use std::collections::BTreeMap;

use crate::config::{Config, Timing};
use crate::time::Span;
use crate::types::{InterfaceId, LinkId};

/// So many questions in a row must have been in vain, however short the timers are.
const QUESTIONS: u32 = 3;

/// The service interfaces that beats travel over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Paths {
    paths: BTreeMap<InterfaceId, Path>,
    /// The interface of each link.
    links: Vec<String>,
    /// The names of the service interfaces: of those too that the configuration leaves to the route.
    names: BTreeMap<InterfaceId, String>,
    /// When any peer was heard over each link.
    heard: BTreeMap<LinkId, Span>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Path {
    link: LinkId,
    /// When a target answered through it.
    answered_at: Span,
    /// When it was asked last, and how often since it is in doubt.
    asked_at: Span,
    questions: u32,
    dead: bool,
}

/// What to do about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Ask the targets through this interface.
    Ask(InterfaceId),
    /// Nothing passes there on this side.
    Dead(InterfaceId),
    /// Something does again.
    Alive(InterfaceId),
}

impl Paths {
    /// The interfaces of a configuration; what is known of those that stay is kept.
    pub(super) fn configure(&mut self, config: &Config, now: Span) {
        self.links = config.links.iter().map(|link| link.interface.clone()).collect();
        let known = std::mem::take(&mut self.paths);
        let mut names = std::mem::take(&mut self.names);
        for (id, interface) in (0..).map(InterfaceId).zip(&config.interfaces) {
            if let Some(name) = interface.name.clone().or_else(|| names.remove(&id)) {
                self.named(id, name, known.get(&id), now);
            }
        }
        self.heard.clear();
    }

    /// A service interface is there, and has this name.
    pub(super) fn found(&mut self, id: InterfaceId, name: &str, now: Span) {
        if self.names.get(&id).is_none_or(|known| known != name) {
            self.paths.remove(&id);
            self.named(id, name.to_owned(), None, now);
        }
    }

    fn named(&mut self, id: InterfaceId, name: String, known: Option<&Path>, now: Span) {
        let link = self.links.iter().position(|link| *link == name).and_then(|at| u16::try_from(at).ok());
        self.names.insert(id, name);
        let Some(link) = link.map(LinkId) else { return };
        let fresh = Path { link, answered_at: now, asked_at: Span::ZERO, questions: 0, dead: false };
        self.paths.insert(id, known.map_or(fresh, |known| Path { link, ..known.clone() }));
    }

    /// A peer was heard over a link.
    pub(super) fn heard(&mut self, link: LinkId, now: Span) {
        self.heard.insert(link, now);
    }

    /// A target answered through an interface.
    pub(super) fn answered(&mut self, id: InterfaceId, now: Span) {
        if let Some(path) = self.paths.get_mut(&id) {
            path.answered_at = now;
        }
    }

    /// Looks at every path; what to do, and when to look again.
    pub(super) fn judge(&mut self, timing: &Timing, now: Span) -> (Vec<Verdict>, Span) {
        let Self { paths, heard, .. } = self;
        let mut verdicts = Vec::new();
        let mut next = Span(u64::MAX);
        for (id, path) in paths {
            let elsewhere = heard.iter().filter(|(link, _)| **link != path.link).map(|(_, at)| *at).max();
            // A link over which nobody was ever heard may be new: only silence after a word is in doubt.
            let Some(here) = heard.get(&path.link).copied() else {
                next = next.min(now + timing.warntime);
                continue;
            };
            let alone = elsewhere.is_none_or(|at| now - at >= timing.warntime);
            if now - here < timing.warntime || alone {
                let revived = now - here < timing.warntime && std::mem::take(&mut path.dead);
                verdicts.extend(revived.then_some(Verdict::Alive(*id)));
                path.questions = 0;
                let doubt = here + timing.warntime;
                next = next.min(if doubt > now { doubt } else { now + timing.keepalive });
                continue;
            }
            let silent = now - here.max(path.answered_at);
            if path.dead && silent < timing.warntime {
                path.dead = false;
                verdicts.push(Verdict::Alive(*id));
            } else if !path.dead && silent >= timing.deadtime && path.questions >= QUESTIONS {
                path.dead = true;
                verdicts.push(Verdict::Dead(*id));
            }
            if now - path.asked_at >= timing.keepalive {
                path.asked_at = now;
                path.questions = path.questions.saturating_add(1);
                verdicts.push(Verdict::Ask(*id));
            }
            let dies = here.max(path.answered_at) + timing.deadtime;
            let ask = path.asked_at + timing.keepalive;
            next = next.min(if dies > now { ask.min(dies) } else { ask });
        }
        (verdicts, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAN: LinkId = LinkId(0);
    const CROSS: LinkId = LinkId(1);
    const ETH0: InterfaceId = InterfaceId(0);

    fn timing() -> Timing {
        Timing {
            keepalive: Span::millis(100),
            warntime: Span::millis(300),
            deadtime: Span::seconds(1),
            initdead: Span::seconds(10),
        }
    }

    fn paths() -> Paths {
        let path =
            Path { link: LAN, answered_at: Span::ZERO, asked_at: Span::ZERO, questions: 0, dead: false };
        Paths { paths: BTreeMap::from([(ETH0, path)]), ..Paths::default() }
    }

    #[test]
    fn an_interface_that_is_left_to_the_route_has_its_path_when_it_is_found_and_keeps_it_at_a_reload() {
        let text = "haresources = \"a 10.0.0.9\"\n[node.a]\n[node.b]\n[link.lan]\ninterface = \"eth0\"\nbroadcast = true\n\
                    [link.cross]\ninterface = \"eth1\"\nbroadcast = true\n[tiebreak]\nping = [\"10.0.0.1\"]\n";
        let config = crate::config::parse_toml("paths.toml", text).unwrap().config;
        let mut paths = Paths::default();
        paths.configure(&config, Span::ZERO);
        assert_eq!(paths.paths.len(), 0);
        paths.found(ETH0, "eth1", Span::ZERO);
        assert_eq!(paths.paths[&ETH0].link, CROSS);
        paths.found(ETH0, "eth0", Span::ZERO);
        assert_eq!(paths.paths[&ETH0].link, LAN);
        paths.paths.get_mut(&ETH0).unwrap().dead = true;
        paths.found(ETH0, "eth0", Span::ZERO);
        paths.configure(&config, Span::ZERO);
        assert!(paths.paths[&ETH0].dead);
        paths.found(ETH0, "eth7", Span::ZERO);
        assert_eq!(paths.paths.len(), 0);
    }

    /// Ten seconds in steps of 10 ms. Who is heard when, and which questions are answered: the verdicts but for questions.
    fn play(heard: impl Fn(LinkId, u64) -> bool, answers: impl Fn(u64) -> bool) -> Vec<(u64, Verdict)> {
        let (mut paths, mut said) = (paths(), Vec::new());
        let mut judge_at = Span::ZERO;
        for at in (10_000..20_000).step_by(10) {
            let now = Span::millis(at);
            for link in [LAN, CROSS] {
                if at % 100 == 0 && heard(link, at) {
                    paths.heard(link, now);
                }
            }
            // As the daemon does: no sooner than it was told.
            if now < judge_at {
                continue;
            }
            let (verdicts, next) = paths.judge(&timing(), now);
            judge_at = next;
            for verdict in verdicts {
                match verdict {
                    Verdict::Ask(id) if answers(at) => paths.answered(id, now),
                    Verdict::Ask(_) => {}
                    Verdict::Dead(_) | Verdict::Alive(_) => said.push((at, verdict)),
                }
            }
        }
        said
    }

    #[test]
    fn a_path_without_beats_and_answers_is_dead_after_deadtime_and_alive_with_the_next_beat() {
        let cut = |at: u64| (12_000..15_000).contains(&at);
        let said = play(|link, at| link == CROSS || !cut(at), |at| !cut(at));
        assert_eq!(said, [(12_900, Verdict::Dead(ETH0)), (15_000, Verdict::Alive(ETH0))]);
    }

    #[test]
    fn a_path_whose_targets_answer_is_not_dead_here() {
        assert_eq!(play(|link, at| link == CROSS || at < 12_000, |_| true), []);
    }

    #[test]
    fn whoever_is_heard_nowhere_is_not_judged_by_one_path() {
        assert_eq!(play(|_, at| at < 12_000, |_| false), []);
    }

    #[test]
    fn a_dead_path_whose_target_answers_again_is_alive_by_the_next_question() {
        let said = play(|link, at| link == CROSS || at < 12_000, |at| at >= 15_000);
        assert_eq!(said, [(12_900, Verdict::Dead(ETH0)), (15_100, Verdict::Alive(ETH0))]);
    }
}
