//! Thousands of checks, each of a server of its own and each every second: what they cost, and how evenly they come.
//!
//! When a check came the servers write down, so whoever is measured has no part in it. The director promises each period to
//! be a twentieth longer or shorter at most (`schedule.rs`); the peers promise the second itself. What lies beyond the
//! promise is told in a column of its own. Whatever divides the connections is for all of them a stand-in that does nothing.

use std::fmt;
use std::fmt::Write as _;

use systole::lab::clock;
use systole::time::Span;

use super::Options;
use super::peers::{Peer, TOGETHER, server, service};
use super::process::{Used, megabytes, used};
use super::rig::{Director, Rig, head, services, wait};
use super::servers::{Came, Servers};

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A connection.
    Tcp,
    /// A page, and a word on it; keepalived compares its digest.
    Http,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
        })
    }
}

const EVERY: Span = Span::seconds(1);
/// Whoever has begun has asked each server so often.
const ROUNDS: usize = 3;
/// ldirectord starts programs for each server before it begins.
const BEGINS_WITHIN: Span = Span::seconds(900);
/// Who is slower than all of them is measured for longer, up to so often.
const LONGER: u64 = 3;

/// All of them, in turn.
pub(crate) fn checks(options: &Options) {
    println!(
        "{} servers, each checked every second; measured for {} s, and for longer where that is less than {ROUNDS} rounds.",
        options.checks, options.seconds
    );
    println!(
        "The balancer is a stand-in that does nothing: of systole a program, of the peers their IPVS.\n"
    );
    println!(
        "| who | what | checks/s | interval, ms: p50 / p99 / most | beyond the promise, ms: p50 / p99 / most | CPU, % of \
         one | CPU, us a check | processes | memory, MB: all / most of one |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for kind in [Kind::Tcp, Kind::Http] {
        if options.wants("systole") {
            systole(options, kind);
        }
        for peer in [Peer::Keepalived, Peer::Ldirectord { forks: true }, Peer::Ldirectord { forks: false }] {
            if options.wants(peer.name())
                && let Some(program) = peer.unpack()
            {
                let rig = Rig::build();
                let servers = Servers::start(&rig.far, &[80]);
                let running = peer.start(&rig, &program, kind, options.checks);
                let name = match peer {
                    Peer::Keepalived => "keepalived",
                    Peer::Ldirectord { forks: true } => "ldirectord, fork=yes",
                    Peer::Ldirectord { forks: false } => "ldirectord, fork=no",
                };
                measure(options, name, kind, (EVERY, EVERY), running.pid(), servers);
            }
        }
    }
    println!();
}

fn systole(options: &Options, kind: Kind) {
    let rig = Rig::build();
    let servers = Servers::start(&rig.far, &[80]);
    let mut director = Director::start(&rig);
    director.serve(&services(&text(options, kind)));
    wait("all servers are up", || (director.up() == options.checks).then_some(()));
    let twentieth = EVERY / 20;
    let promise = (EVERY - twentieth, EVERY + twentieth);
    measure(options, "systole", kind, promise, director.pid(), servers);
    let up = director.up();
    if up != options.checks {
        println!("systole takes {up} of {} for up", options.checks);
    }
}

fn text(options: &Options, kind: Kind) -> String {
    let of = options.checks.div_ceil(TOGETHER);
    let mut text = head(&(0..of).map(|number| service(number).to_string()).collect::<Vec<_>>());
    for first in (0..options.checks).step_by(TOGETHER) {
        let (number, more) = (first / TOGETHER, if kind == Kind::Http { ", text = \"welcome\"" } else { "" });
        let list: Vec<_> = (first..options.checks.min(first + TOGETHER))
            .map(|number| format!("\"{}:80\"", server(number)))
            .collect();
        writeln!(
            text,
            "[service.s{number:04}]\naddress = \"{}:80\"\nbalancer = \"/bin/true\"\n\
             check = {{ kind = \"{kind}\", every = \"1s\", timeout = \"1s\"{more} }}\nservers = [{}]",
            service(number),
            list.join(", ")
        )
        .unwrap();
    }
    text
}

/// Waits until it has begun, and measures for a while.
fn measure(options: &Options, who: &str, kind: Kind, promise: (Span, Span), pid: u32, servers: Servers) {
    let has_begun = || (servers.least(options.checks) >= ROUNDS).then_some(());
    if clock::wait_for(BEGINS_WITHIN, has_begun).is_none() {
        println!(
            "| {who} | {kind} | did not ask each server {ROUNDS} times within {BEGINS_WITHIN} | | | | | | |"
        );
        return;
    }
    servers.forget();
    let (before, began) = (used(pid), clock::now());
    clock::wait(Span::seconds(options.seconds));
    let more = Span::seconds(options.seconds * (LONGER - 1));
    clock::wait_for(more, || (servers.least(options.checks) > ROUNDS).then_some(()));
    let (after, length) = (used(pid), clock::now() - began);
    let came = servers.finish();
    show(who, kind, promise, &came, (before, after, length));
}

fn show(
    who: &str,
    kind: Kind,
    (least, most): (Span, Span),
    came: &Came,
    (before, after, length): (Used, Used, Span),
) {
    let seconds = length.as_micros() as f64 / 1e6;
    let count: usize = came.values().map(Vec::len).sum();
    let pairs = came.values().flat_map(|times| times.windows(2).map(|pair| pair[1] - pair[0]));
    let intervals: Vec<Span> = pairs.collect();
    // Spans end at zero: of the two, one is none.
    let beyond = intervals.iter().map(|one| (*one - most).max(least - *one)).collect();
    let busy = (after.nanoseconds - before.nanoseconds) as f64 / 1e9;
    println!(
        "| {who} | {kind} | {:.0} | {} | {} | {:.1} | {:.0} | {} | {} / {} |",
        count as f64 / seconds,
        parts(intervals.clone()),
        parts(beyond),
        busy / seconds * 100.0,
        busy * 1e6 / count.max(1) as f64,
        after.processes,
        megabytes(after.proportional_kb),
        megabytes(after.most_kb),
    );
}

/// What half of them and 99 of 100 are at most, and the most.
fn parts(mut spans: Vec<Span>) -> String {
    spans.sort_unstable();
    let at = |hundredths: usize| {
        let place = (spans.len() * hundredths / 100).min(spans.len().saturating_sub(1));
        spans.get(place).map_or("-".to_owned(), |span| format!("{:.1}", span.as_micros() as f64 / 1_000.0))
    };
    format!("{} / {} / {}", at(50), at(99), at(100))
}
