//! Thousands of services: how long until all of them are in the kernel, what a reload costs, and what it touches.
//!
//! The balancer is our own rules, as every kernel has them. A rule has a number of its own in the kernel: whichever is
//! written anew, even as it was, has another one afterwards.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;

use systole::lab::clock;
use systole::net::nft::{Family, Nftables};
use systole::time::Span;

use super::Options;
use super::process::{megabytes, used};
use super::rig::{Daemon, Director, PATIENCE, Rig, head, services, systole};
use super::servers::Servers;

const TABLE: &str = "systole-services";
/// Services at one address.
const PORTS: usize = 10;

/// What is changed between two configurations.
#[derive(Clone, Copy, Default)]
struct Variant {
    /// The weight of the first server of the service in the middle.
    weight: Option<u32>,
    /// Services more, or fewer.
    more: isize,
    /// The service in the middle has one server less.
    one_less: bool,
    /// The weight of the first server of each service.
    all: Option<u32>,
}

/// Whether the kernel's chains, by the number of their rules, are as they shall be.
type IsSo = Box<dyn Fn(&BTreeMap<String, usize>) -> bool + Send>;

/// The configuration.
fn text(options: &Options, variant: Variant) -> String {
    let count = options.services.checked_add_signed(variant.more).unwrap();
    let address = |number: usize| Ipv4Addr::from(0xac1f_0100 + u32::try_from(number / PORTS).unwrap());
    let addresses: Vec<_> =
        (0..=options.services).step_by(PORTS).map(|number| address(number).to_string()).collect();
    let mut text = head(&addresses);
    for number in 0..count {
        let is_middle = number == options.services / 2;
        let port = 8_000 + number % PORTS;
        writeln!(
            text,
            "[service.s{number:04}]\naddress = \"{}:{port}\"\nbalancer = \"nftables\"\n\
             check = {{ kind = \"tcp\", every = \"10s\", timeout = \"5s\" }}\n[service.s{number:04}.server]",
            address(number)
        )
        .unwrap();
        for server in 0..options.servers - usize::from(is_middle && variant.one_less) {
            let host =
                Ipv4Addr::from(0x0a40_0000 + u32::try_from(number * options.servers + server).unwrap());
            let own = variant.weight.filter(|_| is_middle).or(variant.all).filter(|_| server == 0);
            let weight = own.unwrap_or(1);
            writeln!(text, "r{server} = {{ address = \"{host}:80\", weight = {weight} }}").unwrap();
        }
    }
    text
}

/// Waits until the kernel has what is wanted, and tells when it was.
fn settled(rig: &Rig, what: &str, is_so: impl Fn(&BTreeMap<String, usize>) -> bool + Send + 'static) -> Span {
    let what = what.to_owned();
    rig.near.run(move || {
        let mut kernel = Nftables::open(TABLE).unwrap();
        let (end, mut before) = (clock::now() + PATIENCE, None);
        while clock::now() < end {
            let generation = kernel.generation().unwrap();
            let changed = clock::now();
            if before != Some(generation) {
                before = Some(generation);
                let mut chains = BTreeMap::new();
                // What changes all the while it is read is read once more.
                let Ok(rules) = kernel.digests(Family::Ip, None) else {
                    before = None;
                    continue;
                };
                for (chain, _) in rules {
                    *chains.entry(chain).or_default() += 1;
                }
                if is_so(&chains) {
                    return changed;
                }
            }
            clock::wait(Span::micros(200));
        }
        panic!("in vain: {what}");
    })
}

/// A rule's number, and that of its table: the numbers of a table that is made anew begin anew.
type Number = (u64, u64);

/// Each rule by its number, and its chain.
fn numbers(rig: &Rig) -> BTreeMap<Number, String> {
    let output =
        rig.near.run(|| Command::new("nft").args(["-a", "list", "table", "ip", TABLE]).output().unwrap());
    assert!(output.status.success(), "{output:?}");
    let (mut table, mut chain, mut numbers) = (0, String::new(), BTreeMap::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((before, number)) = line.rsplit_once("# handle ") else { continue };
        let number = number.trim().parse().unwrap();
        match before.trim().trim_end_matches(" {").split_once(' ') {
            Some(("table", _)) => table = number,
            Some(("chain", name)) => chain = name.to_owned(),
            Some(_) | None => drop(numbers.insert((table, number), chain.clone())),
        }
    }
    numbers
}

/// Thousands of services with thousands of servers.
pub(crate) fn tables(options: &Options) {
    let servers = options.services * options.servers;
    println!(
        "{} services with {servers} servers, each checked every 10 s (TCP); our own rules\n",
        options.services
    );
    let rig = Rig::build();
    let _servers = Servers::start(&rig.far, &[80]);
    read(options, &rig);
    let first = services(&text(options, Variant::default()));
    let mut director = Director::start(&rig);
    let began = clock::now();
    let line = director.serve(&first);
    println!("| what | time |\n| --- | --- |");
    row("told in one line", format!("{:.1} MB", line as f64 / 1e6));
    let (count, each) = (options.services, options.servers);
    let is_whole = move |chains: &BTreeMap<String, usize>| {
        chains.get("services") == Some(&count)
            && chains.iter().filter(|(name, rules)| name.starts_with("to:") && **rules == each).count()
                == count
    };
    let at = settled(&rig, "all are in the kernel", is_whole);
    row("from there until all servers were asked and all rules are in the kernel", milliseconds(at - began));
    let (view, took) = director.pool();
    assert_eq!(view.services.len(), count);
    row("`systole pool`, all of it", milliseconds(took));
    row("memory, now / at most", memory(&director));
    reloads(options, &rig, usize::MAX, &mut |text| {
        director.serve(&services(text));
    });
    rest(options, &rig, &director);
    drop((director, rig));
    whole(options);
}

/// The same through the daemon, as an operator does it: a file, and `systole reload`.
fn whole(options: &Options) {
    let rig = Rig::build();
    let _servers = Servers::start(&rig.far, &[80]);
    let daemon = Daemon::start(&rig, &text(options, Variant::default()));
    let began = clock::now();
    let count = options.services;
    let at = settled(&rig, "all are in the kernel", move |chains| chains.get("services") == Some(&count));
    println!("| the daemon, with its director | |\n| --- | --- |");
    row("from its start until all rules are in the kernel", milliseconds(at - began));
    reloads(options, &rig, 5, &mut |text| daemon.reload(text));
}

/// How long the configuration takes to be read.
fn read(options: &Options, rig: &Rig) {
    let (text, path) = (text(options, Variant::default()), rig.folder.path().join("systole.toml"));
    fs::write(&path, &text).unwrap();
    let began = clock::now();
    drop(services(&text));
    let read = clock::now() - began;
    let output = Command::new(systole()).arg("check").arg("--config").arg(&path).output().unwrap();
    let check = clock::now() - began - read;
    println!("| what | |\n| --- | --- |");
    row("configuration", format!("{:.1} MB", text.len() as f64 / 1e6));
    row("read and judged in this process", milliseconds(read));
    row(&format!("`systole check`, exit {}", output.status.code().unwrap_or(-1)), milliseconds(check));
    println!();
}

/// One thing changed at a time, so many of them: when it is in the kernel, and which rules are not the same as before.
fn reloads(options: &Options, rig: &Rig, most: usize, tell: &mut dyn FnMut(&str)) {
    println!(
        "\n| one reload | told within | in the kernel after | last transaction after | transactions | rules new / gone | in the chains |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let (count, each) = (options.services, options.servers);
    let middle = format!("to:s{:04}", count / 2);
    let is_there = |chains: &BTreeMap<String, usize>, chain: &str, rules: usize| {
        chains.get(chain).copied().unwrap_or(0) == rules
    };
    let last = format!("to:s{:04}", count - 1);
    let whole = Variant::default();
    let changes: [(&str, Variant, IsSo); 7] = [
        ("nothing changed", whole, Box::new(|_| true)),
        ("one weight", Variant { weight: Some(3), ..whole }, Box::new(|_| true)),
        ("one server less, and the weight back", Variant { one_less: true, ..whole }, {
            let middle = middle.clone();
            Box::new(move |chains| is_there(chains, &middle, each - 1))
        }),
        ("one server more (it is asked first)", whole, {
            Box::new(move |chains| is_there(chains, &middle, each))
        }),
        ("one service less", Variant { more: -1, ..whole }, {
            let last = last.clone();
            Box::new(move |chains| is_there(chains, &last, 0))
        }),
        ("one service more (its servers are asked first)", whole, {
            Box::new(move |chains| is_there(chains, &last, each))
        }),
        ("a weight in each service", Variant { all: Some(3), ..whole }, Box::new(|_| true)),
    ];
    for (name, variant, is_so) in changes.into_iter().take(most) {
        let text = text(options, variant);
        let (before, generation) = (numbers(rig), self::generation(rig));
        let began = clock::now();
        tell(&text);
        let told = milliseconds(clock::now() - began);
        // A change without a different number of rules shows itself by its transaction.
        let changes_something = name != "nothing changed";
        let at = if changes_something { settled_after(rig, name, generation, is_so) } else { began };
        let took = if changes_something { milliseconds(at - began) } else { "-".to_owned() };
        let calm = calm(rig);
        let transactions = self::generation(rig).wrapping_sub(generation);
        let after = numbers(rig);
        let gone: Vec<_> = before.iter().filter(|(number, _)| !after.contains_key(number)).collect();
        let new: Vec<_> = after.iter().filter(|(number, _)| !before.contains_key(number)).collect();
        let mut chains: Vec<_> = gone.iter().chain(&new).map(|(_, chain)| chain.as_str()).collect();
        chains.sort_unstable();
        chains.dedup();
        let shown = if chains.len() > 4 { format!("{} chains", chains.len()) } else { chains.join(", ") };
        let all = if changes_something { milliseconds(calm - began) } else { "-".to_owned() };
        println!(
            "| {name} | {told} | {took} | {all} | {transactions} | {} / {} | {shown} |",
            new.len(),
            gone.len()
        );
    }
    println!();
}

fn settled_after(rig: &Rig, what: &str, generation: u32, is_so: IsSo) -> Span {
    rig.near.run(move || {
        let mut kernel = Nftables::open(TABLE).unwrap();
        let end = clock::now() + PATIENCE;
        while kernel.generation().unwrap() == generation && clock::now() < end {
            clock::wait(Span::micros(200));
        }
    });
    settled(rig, what, is_so)
}

/// When the last transaction was: none has come for a second since.
fn calm(rig: &Rig) -> Span {
    rig.near.run(|| {
        let mut kernel = Nftables::open(TABLE).unwrap();
        let (mut generation, mut last) = (kernel.generation().unwrap(), clock::now());
        while clock::now() < last + Span::seconds(1) {
            let now = kernel.generation().unwrap();
            if now != generation {
                (generation, last) = (now, clock::now());
            }
            clock::wait(Span::micros(200));
        }
        last
    })
}

fn generation(rig: &Rig) -> u32 {
    rig.near.run(|| Nftables::open(TABLE).unwrap().generation().unwrap())
}

/// What it costs while nothing happens but the checks.
fn rest(options: &Options, rig: &Rig, director: &Director) {
    let (before, began, generation) = (used(director.pid()), clock::now(), generation(rig));
    clock::wait(Span::seconds(options.seconds));
    let (after, seconds) = (used(director.pid()), (clock::now() - began).as_micros() as f64 / 1e6);
    let transactions = self::generation(rig).wrapping_sub(generation);
    let share = (after.nanoseconds - before.nanoseconds) as f64 / 1e9 / seconds * 100.0;
    println!("| at rest, for {seconds:.0} s | |\n| --- | --- |");
    row("servers that are up", director.up().to_string());
    row("CPU, checks and looks at the kernel together", format!("{share:.1} %"));
    row("memory, now / at most", memory(director));
    row("transactions", transactions.to_string());
    row("complaints", director.troubles().join("; "));
}

fn memory(director: &Director) -> String {
    let used = used(director.pid());
    format!("{} / {} MB", megabytes(used.proportional_kb), megabytes(used.most_kb))
}

fn row(what: &str, figure: String) {
    println!("| {what} | {figure} |");
}

fn milliseconds(span: Span) -> String {
    format!("{:.0} ms", span.as_micros() as f64 / 1_000.0)
}
