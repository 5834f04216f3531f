//! `systole advise`: the shortest deadtime that is safe on these links, by what the daemon has seen of them, and the odds
//! of a false takeover.
//!
//! It never says "safe" of what was not watched, and says beside each figure what it rests on. What chance does not cover
//! (a switch that both links share, a machine that pauses) it cannot reckon, and says so.

use serde_json::{Value, json};

use crate::cluster::margin;
use crate::control::shape::Status;
use crate::time::Span;

use super::connection::Daemon;
use super::failure::Failure;
use super::odds::{YEAR_S, a_year, ln_loss, ln_runs};
use super::terminal::say;

/// Say from what was seen of the links which deadtime is safe here, with the odds of a false takeover.
///
/// Exit status: 0 said, 1 the links were watched for too short a time, 2 no daemon was reached.
#[derive(clap::Args, Debug)]
pub struct Advise {
    /// One JSON object in place of the text
    #[arg(long)]
    pub json: bool,
    /// Also by what was seen in less than ten minutes
    #[arg(long)]
    pub anyway: bool,
    #[command(flatten)]
    daemon: Daemon,
}

/// The version of the JSON. New fields do not raise it.
const VERSION: u64 = 1;

/// In less, what comes once an hour was hardly seen, and the upper ends of what was seen are far from it.
const WATCH: Span = Span::seconds(600);

/// Safe is at most once in a thousand years: rare beside everything that chance is not.
const SAFE_A_YEAR: f64 = 0.001;

/// No cluster waits longer.
const LONGEST: Span = Span::seconds(600);

/// Advice is given in whole steps of this.
const STEP: Span = Span::millis(10);

impl Advise {
    /// Asks, reckons, prints.
    pub fn run(&self) -> Result<(), Failure> {
        let seen = Seen::of(&self.daemon.connect()?.status()?);
        seen.enough(self.anyway)?;
        let advice = Advice::of(&seen);
        say(&if self.json { format!("{}\n", advice.json(&seen)) } else { advice.text(&seen) });
        Ok(())
    }
}

/// What was seen.
#[derive(Clone, Debug)]
struct Seen {
    cluster: String,
    node: String,
    keepalive: Span,
    deadtime: Span,
    /// How late this daemon was at most for what was due.
    own_late: Span,
    paths: Vec<Path>,
    /// Nodes and links of which nothing can be said.
    unseen: Vec<String>,
}

/// A peer over a link.
#[derive(Clone, Debug)]
struct Path {
    peer: String,
    link: String,
    watched: Span,
    heard: u64,
    lost: u64,
    longest_run: u64,
    outages: u64,
    latest: Span,
    round_trip: Span,
}

impl Seen {
    fn of(status: &Status) -> Self {
        let (mut paths, mut unseen) = (Vec::new(), Vec::new());
        for node in status.nodes.iter().filter(|node| node.liveness != "this") {
            let before = paths.len();
            for link in &node.links {
                match link.watched.as_ref().filter(|_| link.up) {
                    Some(watched) => paths.push(Path {
                        peer: node.name.clone(),
                        link: link.name.clone(),
                        watched: Span(watched.for_us),
                        heard: watched.heard,
                        lost: watched.lost,
                        longest_run: watched.longest_run,
                        outages: watched.outages,
                        latest: Span(watched.latest_us),
                        round_trip: Span(link.round_trip_us.unwrap_or_default()),
                    }),
                    None => unseen.push(format!("{} over {}", node.name, link.name)),
                }
            }
            if paths.len() == before && node.links.is_empty() {
                unseen.push(node.name.clone());
            }
        }
        Self {
            cluster: status.cluster.clone(),
            node: status.node.clone(),
            keepalive: Span(status.timing.keepalive_us),
            deadtime: Span(status.timing.deadtime_us),
            own_late: Span(status.late.greatest_us),
            paths,
            unseen,
        }
    }

    /// The shortest of the times for which the links were watched.
    fn watched(&self) -> Span {
        self.paths.iter().map(|path| path.watched).min().unwrap_or_default()
    }

    fn enough(&self, anyway: bool) -> Result<(), Failure> {
        if self.paths.is_empty() || self.keepalive == Span::ZERO {
            return Err(Failure::NotDone(format!(
                "{} hears nobody, so it has seen nothing of the links\nstart the other nodes, see with `systole status` that they are up, and ask again in ten minutes",
                self.node
            )));
        }
        if self.watched() < WATCH && !anyway {
            return Err(Failure::NotDone(format!(
                "the links were watched for {} only, and what is rare needs at least {WATCH} to be seen\nask again later, best after a day with its busiest hour; or say --anyway",
                self.watched()
            )));
        }
        Ok(())
    }

    fn peers(&self) -> Vec<(&str, Vec<&Path>)> {
        let mut peers: Vec<(&str, Vec<&Path>)> = Vec::new();
        for path in &self.paths {
            match peers.iter_mut().find(|(name, _)| *name == path.peer) {
                Some((_, paths)) => paths.push(path),
                None => peers.push((&path.peer, vec![path])),
            }
        }
        peers
    }

    /// What is taken off a deadtime before beats are counted: the latest beat, this daemon's own lateness, and the way
    /// there and back.
    fn allowance(&self, paths: &[&Path]) -> Span {
        let latest = paths.iter().map(|path| path.latest).max().unwrap_or_default();
        let round_trip = paths.iter().map(|path| path.round_trip).max().unwrap_or_default();
        latest + self.own_late + round_trip
    }

    /// How many beats in a row must be lost before a lease of this length ends. It ends two margins early, and the answer of
    /// a voter may be a keepalive old.
    fn in_a_row(&self, paths: &[&Path], deadtime: Span) -> u64 {
        let left = deadtime - margin(deadtime) * 2 - self.allowance(paths) - self.keepalive;
        left.0 / self.keepalive.0.max(1)
    }

    /// The expected number of false takeovers a year, as a logarithm, and the fewest beats in a row.
    fn odds(&self, deadtime: Span) -> Odds {
        #[allow(clippy::cast_precision_loss, reason = "a year has far fewer than 2^53 keepalives")]
        let beats = YEAR_S * 1e6 / self.keepalive.0.max(1) as f64;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is positive and bounded"
        )]
        let beats = beats as u64;
        let (mut expected, mut in_a_row, mut bursts) = (0.0, u64::MAX, true);
        for (_, paths) in self.peers() {
            let run = self.in_a_row(&paths, deadtime);
            let all_links: f64 = paths.iter().map(|path| ln_loss(path.heard, path.lost)).sum();
            // Beats there, and beats back.
            expected += 2.0 * ln_runs(all_links, run, beats).exp();
            in_a_row = in_a_row.min(run);
            let longest = paths.iter().map(|path| path.longest_run).min().unwrap_or_default();
            bursts &= run > 2 * longest;
        }
        let lowest = deadtime > self.keepalive * 2 && in_a_row >= 2;
        Odds { deadtime, in_a_row, a_year: expected, safe: expected <= SAFE_A_YEAR && bursts && lowest }
    }
}

/// Of one deadtime.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Odds {
    deadtime: Span,
    in_a_row: u64,
    /// Expected false takeovers.
    a_year: f64,
    safe: bool,
}

impl Odds {
    fn text(&self) -> String {
        let (deadtime, times) = (self.deadtime, self.in_a_row);
        format!(
            "{deadtime}: {times} beats in a row must be lost on all links at once, {}",
            a_year(self.a_year.ln())
        )
    }
}

#[derive(Clone, Debug)]
struct Advice {
    now: Odds,
    /// `None`: no deadtime is.
    shortest: Option<Odds>,
}

impl Advice {
    fn of(seen: &Seen) -> Self {
        let steps = 1..=LONGEST.0 / STEP.0;
        let shortest = steps.map(|step| seen.odds(STEP * step)).find(|odds| odds.safe);
        Self { now: seen.odds(seen.deadtime), shortest }
    }

    fn text(&self, seen: &Seen) -> String {
        let Seen { cluster, node, keepalive, .. } = seen;
        let mut text =
            format!("cluster {cluster}, by what {node} saw of its links in {}\n\nseen\n", seen.watched());
        for path in &seen.paths {
            let Path { peer, link, heard, lost, longest_run, outages, latest, .. } = path;
            text.push_str(&format!(
                "  {peer} over {link}: {heard} beats, {lost} lost ({longest_run} in a row at most), late by {latest} at most, {outages} outages\n"
            ));
        }
        text.push_str(&format!("  this daemon itself was late by {} at most\n", seen.own_late));
        if seen.watched() < WATCH {
            text.push_str(&format!("  that is less than {WATCH}: what is rare was hardly seen\n"));
        }
        for unseen in &seen.unseen {
            text.push_str(&format!("  {unseen}: not heard now, so it is left out\n"));
        }
        text.push_str(&format!("\ndeadtime now, {}\n", self.now.text()));
        if !self.now.safe {
            text.push_str("  that is NOT safe by the rules below\n");
        }
        text.push_str(&match &self.shortest {
            Some(odds) => {
                format!("shortest that is safe, {} (with the keepalive of {keepalive})\n", odds.text())
            }
            None => format!("none up to {LONGEST} is safe on these links: mend the loss first\n"),
        });
        text.push_str("\nhow this is reckoned\n");
        rules().iter().for_each(|rule| text.push_str(&format!("  {rule}\n")));
        text
    }

    fn json(&self, seen: &Seen) -> Value {
        let odds = |odds: &Odds| {
            json!({
                "deadtime_us": odds.deadtime.0, "beats_in_a_row": odds.in_a_row,
                "false_takeovers_a_year": odds.a_year, "safe": odds.safe,
            })
        };
        let path = |path: &Path| {
            json!({
                "node": path.peer, "link": path.link, "watched_us": path.watched.0, "heard": path.heard,
                "lost": path.lost, "longest_run": path.longest_run, "outages": path.outages,
                "latest_us": path.latest.0, "round_trip_us": path.round_trip.0,
            })
        };
        json!({
            "version": VERSION,
            "cluster": seen.cluster,
            "node": seen.node,
            "watched_us": seen.watched().0,
            "keepalive_us": seen.keepalive.0,
            "own_lateness_us": seen.own_late.0,
            "paths": seen.paths.iter().map(path).collect::<Vec<_>>(),
            "unseen": seen.unseen,
            "now": odds(&self.now),
            "shortest": self.shortest.as_ref().map(odds),
            "rules": rules(),
        })
    }
}

fn rules() -> [String; 7] {
    [
        "a node is taken for dead, or a lease ends, when so many beats in a row are lost on every link at once".to_owned(),
        "so many: what is left of deadtime after two margins of the lease, one keepalive for a voter's answer, the latest beat seen, this daemon's own lateness and a round trip, in keepalives"
            .to_owned(),
        "the chance that one is lost: the upper end (95 %) of what was seen; links are taken to lose beats independently"
            .to_owned(),
        "beats there and back count, over all nodes heard; the sum is a bound, not a forecast".to_owned(),
        "safe: at most once in 1000 years, more than twice the longest run lost on the best link, at least 2 beats, and deadtime above two keepalives"
            .to_owned(),
        "not reckoned: what links share (a switch, a power supply, a cable duct), machines that pause, an outage; only this node's ears were asked: ask on each"
            .to_owned(),
        "a shorter keepalive allows a shorter deadtime; a warntime that no longer fits is told by `systole check`".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(link: &str, heard: u64, lost: u64, longest_run: u64) -> Path {
        Path {
            peer: "lb1".to_owned(),
            link: link.to_owned(),
            watched: Span::seconds(3_600),
            heard,
            lost,
            longest_run,
            outages: 0,
            latest: Span::millis(5),
            round_trip: Span::micros(400),
        }
    }

    fn seen(paths: Vec<Path>) -> Seen {
        Seen {
            cluster: "web".to_owned(),
            node: "lb0".to_owned(),
            keepalive: Span::millis(100),
            deadtime: Span::millis(1_000),
            own_late: Span::millis(2),
            paths,
            unseen: Vec::new(),
        }
    }

    fn shortest(seen: &Seen) -> Span {
        Advice::of(seen).shortest.expect("one is safe").deadtime
    }

    #[test]
    fn beats_are_counted_in_what_is_left_of_a_deadtime() {
        let seen = seen(vec![path("lan", 36_000, 0, 0)]);
        let all: Vec<&Path> = seen.paths.iter().collect();
        // 1 s less 20 ms of margins, 7.4 ms of allowance and one keepalive.
        assert_eq!(seen.in_a_row(&all, Span::millis(1_000)), 8);
        assert_eq!(seen.in_a_row(&all, Span::millis(1_030)), 9);
        assert_eq!(seen.in_a_row(&all, Span::millis(100)), 0);
    }

    #[test]
    fn what_is_advised_is_the_shortest_that_is_safe() {
        let seen = seen(vec![path("lan", 36_000, 0, 0)]);
        let advised = shortest(&seen);
        assert!(seen.odds(advised).safe && !seen.odds(advised - STEP).safe);
        assert!(Advice::of(&seen).now.safe);
    }

    #[test]
    fn more_loss_more_lateness_and_longer_runs_never_advise_less() {
        let good = shortest(&seen(vec![path("lan", 36_000, 0, 0)]));
        assert!(shortest(&seen(vec![path("lan", 32_400, 3_600, 3)])) > good);
        let mut late = path("lan", 36_000, 0, 0);
        late.latest = Span::millis(300);
        assert!(shortest(&seen(vec![late])) > good);
        assert!(shortest(&seen(vec![path("lan", 36_000, 10, 10)])) >= Span::millis(2_200));
        let mut stumbles = seen(vec![path("lan", 36_000, 0, 0)]);
        stumbles.own_late = Span::millis(400);
        assert!(shortest(&stumbles) > good);
    }

    #[test]
    fn a_second_link_makes_false_takeovers_rarer() {
        let one = seen(vec![path("lan", 32_400, 3_600, 3)]);
        let two = seen(vec![path("lan", 32_400, 3_600, 3), path("cross", 36_000, 0, 0)]);
        assert!(two.odds(one.deadtime).a_year < one.odds(one.deadtime).a_year);
        assert!(shortest(&two) < shortest(&one));
    }

    #[test]
    fn where_everything_is_lost_nothing_is_advised() {
        let dead = seen(vec![path("lan", 1, 36_000, 30)]);
        assert_eq!(Advice::of(&dead).shortest, None);
        assert!(Advice::of(&dead).text(&dead).contains("mend the loss first"));
        assert!(Advice::of(&dead).text(&dead).contains("NOT safe"));
    }

    #[test]
    fn little_that_was_watched_is_no_ground_for_advice() {
        let mut short = seen(vec![path("lan", 1_000, 0, 0)]);
        short.paths[0].watched = Span::seconds(100);
        let refused = short.enough(false).expect_err("too short");
        assert!(
            matches!(&refused, Failure::NotDone(why) if why.contains("100s only") && why.contains("--anyway"))
        );
        assert_eq!(short.enough(true), Ok(()));
        assert!(Advice::of(&short).text(&short).contains("what is rare was hardly seen"));
        assert!(seen(Vec::new()).enough(true).is_err());
    }
}
