//! Frames, announcements and probes against the kernel's own network, in namespaces that each test makes.
//!
//! Two machines hang on a switch: us, with the interface `ours`, and them, with `theirs`. The cable of either can be pulled
//! at the machine, or cut behind the switch, where nobody's carrier shows it. That something does *not* come is judged by
//! what was sent after it and has come: frames do not overtake each other here.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::process::{Command, ExitCode};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};

use systole::net::announce::{Announcer, Pace};
use systole::net::frame::{self, Interface, Mac};
use systole::net::netlink::{Message, Netlink, Protocol};
use systole::net::probe::{Answerer, Heard, Prober};
use systole::net::sys;
use systole::time::Span;
use systole::types::GroupId;

const OURS: Mac = Mac([2, 0, 0, 0, 0, 0x0a]);
const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 0x0b]);
/// Of a machine that is not there any more.
const GONE: Mac = Mac([2, 0, 0, 0, 0, 0x0c]);

const US_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const THEM_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const VIP_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 80);
const NOBODY_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);
const US_LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const THEM_LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const US_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const THEM_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80);
const NOBODY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x99);

const GROUP: GroupId = GroupId(1);
const OTHER: GroupId = GroupId(2);

/// What is waited for comes at once; a machine that is busy with something else gets this long.
const PATIENCE_MS: u16 = 20_000;

/// The longest that a test waits before it asks again.
const ASK_AGAIN_MS: u16 = 50;

type Test = (&'static str, fn(&Network));

const TESTS: [Test; 16] = [
    ("a_neighbour_believes_either_form_of_arp", a_neighbour_believes_either_form_of_arp),
    ("a_neighbour_believes_an_advertisement", a_neighbour_believes_an_advertisement),
    ("five_hundred_addresses_arrive", five_hundred_addresses_arrive),
    (
        "a_living_address_answers_and_a_missing_one_does_not",
        a_living_address_answers_and_a_missing_one_does_not,
    ),
    ("a_question_from_no_address_is_answered_too", a_question_from_no_address_is_answered_too),
    ("an_address_that_is_spoken_as_answers_once_for_the_newest_round", spoken_as_answers_once),
    (
        "a_target_answers_with_its_round_and_its_ping_group",
        a_target_answers_with_its_round_and_its_ping_group,
    ),
    ("an_answer_counts_only_from_a_target_and_to_who_asked", an_answer_counts_only_from_a_target),
    ("nothing_answers_through_a_cut_cable", nothing_answers_through_a_cut_cable),
    ("no_address_answers_through_a_pulled_cable", no_address_answers_through_a_pulled_cable),
    ("this_machine_does_not_answer_for_itself", this_machine_does_not_answer_for_itself),
    ("a_rival_is_heard_and_a_question_is_no_rival", a_rival_is_heard_and_a_question_is_no_rival),
    ("who_has_an_address_is_found_before_it_is_claimed", who_has_an_address_is_found_before_it_is_claimed),
    (
        "nothing_is_open_where_nothing_is_asked_and_other_traffic_wakes_nobody",
        nothing_is_open_and_nobody_is_woken,
    ),
    ("who_speaks_as_another_address_wakes_nobody", who_speaks_as_another_address_wakes_nobody),
    ("an_interface_that_was_down_works_again_and_a_lost_one_is_said", an_interface_that_was_down_works_again),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    let tests: Vec<Test> = TESTS.into_iter().filter(|(name, _)| chosen(name)).collect();
    if let Err(reason) = may_make_namespaces() {
        println!("skipped, all of it: {reason}");
        println!("0 passed, 0 failed, {} skipped", tests.len());
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in &tests {
        // A namespace is entered by a thread, and left behind with it.
        let run = || panic::catch_unwind(AssertUnwindSafe(|| test(&Network::new()))).is_ok();
        let passed = std::thread::scope(|scope| scope.spawn(run).join().unwrap_or(false));
        println!("{} {name}", if passed { "passed" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    println!("{} passed, {failed} failed", tests.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Root may; an ordinary user may inside of a user namespace, where the kernel allows those.
fn may_make_namespaces() -> Result<(), String> {
    let here =
        File::open("/proc/thread-self/ns/net").map_err(|error| format!("/proc cannot be read: {error}"))?;
    if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
        return setns(here, CloneFlags::CLONE_NEWNET).map_err(|error| format!("cannot go back: {error}"));
    }
    let (user, group) = (nix::unistd::getuid(), nix::unistd::getgid());
    let flags = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET;
    unshare(flags).map_err(|error| {
        format!("network namespaces are not allowed here ({error}); run it as root, or allow user namespaces")
    })?;
    let write = |file: &str, text: String| fs::write(file, text).map_err(|error| format!("{file}: {error}"));
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {user} 1"))?;
    write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Two machines and a switch.
struct Network {
    us: OwnedFd,
    switch: OwnedFd,
    them: OwnedFd,
    interface: Interface,
}

impl Network {
    fn new() -> Self {
        let [switch, them, us] = [fresh(), fresh(), fresh()];
        let mac = OURS;
        let interface =
            Interface { index: 0, name: "ours".into(), mac, link_local: Some(US_LINK), forwards: false };
        let mut network = Self { us, switch, them, interface };
        network.switch("link add br0 type bridge mcast_snooping 0");
        network.switch("link set br0 up");
        network.cable(&network.us, "ours", OURS);
        network.cable(&network.them, "theirs", THEIRS);
        for (machine, name, addresses) in [
            (&network.us, "ours", [IpAddr::V4(US_V4), US_V6.into(), US_LINK.into()]),
            (&network.them, "theirs", [IpAddr::V4(THEM_V4), THEM_V6.into(), THEM_LINK.into()]),
        ] {
            addresses.into_iter().for_each(|address| add(machine, name, address));
        }
        enter(&network.us);
        network.interface.index = nix::net::if_::if_nametoindex("ours").unwrap();
        network
    }

    /// From a machine to the switch; the port there has the same name.
    fn cable(&self, machine: &OwnedFd, name: &str, mac: Mac) {
        let there = format!("/proc/{}/fd/{}", std::process::id(), machine.as_raw_fd());
        self.switch(&format!("link add {name} type veth peer name {name} address {mac} netns {there}"));
        self.plug(name, true);
        self.switch(&format!("link set {name} up"));
        ip(machine, &format!("link set {name} addrgenmode none up"));
        // The kernel tells the switch of a carrier in its own time; until then the port passes nothing.
        eventually("the port forwards", || {
            self.switch(&format!("-d link show {name}")).contains("state forwarding")
        });
        eventually("the interface works", || ip(machine, &format!("link show {name}")).contains("state UP"));
    }

    /// Puts a port of the switch in, or out: then its machine's carrier stays.
    fn plug(&self, port: &str, into: bool) {
        const NEW_LINK: u16 = 16;
        const UPPER: u16 = 10;
        enter(&self.switch);
        let upper = if into { nix::net::if_::if_nametoindex("br0").unwrap() } else { 0 };
        let mut fixed = [0; 16];
        fixed[4..8].copy_from_slice(&nix::net::if_::if_nametoindex(port).unwrap().to_ne_bytes());
        let message = Message::new(NEW_LINK, 0, &fixed).attr(UPPER, &upper.to_ne_bytes());
        Netlink::open(Protocol::Route).unwrap().request(message).unwrap();
        enter(&self.us);
    }

    fn us(&self, words: &str) -> String {
        ip(&self.us, words)
    }

    fn them(&self, words: &str) -> String {
        ip(&self.them, words)
    }

    fn switch(&self, words: &str) -> String {
        ip(&self.switch, words)
    }

    /// Their interface, for what is to be sent from there.
    fn theirs(&self) -> Interface {
        enter(&self.them);
        let index = nix::net::if_::if_nametoindex("theirs").unwrap();
        enter(&self.us);
        Interface { index, name: "theirs".into(), mac: THEIRS, link_local: Some(THEM_LINK), forwards: false }
    }

    fn they_send(&self, frame: &[u8]) {
        let index = self.theirs().index;
        enter(&self.them);
        send(index, frame);
        enter(&self.us);
    }

    /// What they believe of an address: the hardware address, if any.
    fn they_believe(&self, address: IpAddr) -> String {
        self.them(&format!("neigh show {address} dev theirs"))
    }
}

fn fresh() -> OwnedFd {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    File::open("/proc/thread-self/ns/net").unwrap().into()
}

fn enter(namespace: &OwnedFd) {
    setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
}

/// The program `ip`, there; the thread is with us again afterwards only if it was before.
fn ip(namespace: &OwnedFd, words: &str) -> String {
    let back = File::open("/proc/thread-self/ns/net").unwrap();
    enter(namespace);
    let output = Command::new("ip").args(words.split(' ')).output();
    setns(back, CloneFlags::CLONE_NEWNET).unwrap();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Adds an address, and waits until the kernel answers for it: it joins the group of IPv6 in its own time.
fn add(machine: &OwnedFd, name: &str, address: IpAddr) {
    let IpAddr::V6(six) = address else {
        ip(machine, &format!("addr add {address}/24 dev {name}"));
        return;
    };
    ip(machine, &format!("addr add {six}/64 dev {name} nodad"));
    let [.., a, b, c] = six.octets();
    let group = format!(" ff02::1:ff{a:02x}:{:x} ", u16::from_be_bytes([b, c]));
    eventually("the group is joined", || {
        let joined = ip(machine, &format!("-6 maddr show dev {name}")).replace('\n', " ").contains(&group);
        joined && ip(machine, &format!("-6 addr show dev {name} tentative")).is_empty()
    });
}

fn send(index: u32, frame: &[u8]) {
    let socket = sys::packet_socket(index, 0).unwrap();
    assert_eq!(nix::unistd::write(&socket, frame).unwrap(), frame.len());
}

/// Waits until there is something to read, or a time is over; whether there is.
fn ready(prober: &Prober, wait_ms: u16) -> bool {
    poll(&mut [PollFd::new(prober.as_fd(), PollFlags::POLLIN)], PollTimeout::from(wait_ms)).unwrap() == 1
}

fn read(prober: &mut Prober, heard: &mut Vec<Heard>) {
    prober.read(|one| heard.push(one)).unwrap();
}

/// All that is heard until this is among it.
fn hear_until(prober: &mut Prober, wanted: impl Fn(&Heard) -> bool) -> Vec<Heard> {
    let mut heard = Vec::new();
    while !heard.iter().any(&wanted) {
        assert!(ready(prober, PATIENCE_MS), "it never came; heard: {heard:?}");
        read(prober, &mut heard);
    }
    heard
}

fn answer(round: u64, from: Answerer) -> Heard {
    Heard::Answer { round, from }
}

fn address(round: u64, group: GroupId) -> Heard {
    answer(round, Answerer::Address(group))
}

/// Asks again and again, from this round on, until a target answers; all that was heard on the way.
fn ask_until_answered(network: &Network, prober: &mut Prober, from: u64, target: IpAddr) -> Vec<Heard> {
    let mut heard = Vec::new();
    for round in from..from + u64::from(PATIENCE_MS / ASK_AGAIN_MS) {
        // A cable that has just been mended may refuse the first questions.
        let _ =
            prober.ask(round, &network.interface, &[(OTHER, THEM_V4.into())], &[vec![target]], Span::ZERO);
        if ready(prober, ASK_AGAIN_MS) {
            read(prober, &mut heard);
        }
        let target =
            |one: &Heard| matches!(one, Heard::Answer { round, from: Answerer::Target(0) } if *round >= from);
        if heard.iter().any(target) {
            return heard;
        }
    }
    panic!("no round from {from} on was answered: {heard:?}");
}

/// Polls for what the kernel of the other side does on its own time.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..PATIENCE_MS / 10 {
        if holds() {
            return;
        }
        poll(&mut [], PollTimeout::from(10_u16)).unwrap();
    }
    panic!("never happened: {what}");
}

/// Everything that an announcer has to say, at once.
fn say_all(announcer: &mut Announcer) -> u64 {
    let mut frames = 0;
    while let Some(due) = announcer.next_due() {
        let sent = announcer.run(due);
        assert!(sent.failures.is_empty(), "{:?}", sent.failures);
        frames += sent.frames;
    }
    frames
}

fn prober() -> Prober {
    Prober::new(0x5eed_0000_1234_abcd).unwrap()
}

// --- announcements ---------------------------------------------------------------------------------------------------

fn a_neighbour_believes_either_form_of_arp(network: &Network) {
    for frame in [frame::gratuitous_request(OURS, VIP_V4), frame::gratuitous_reply(OURS, VIP_V4)] {
        network.them(&format!("neigh replace {VIP_V4} lladdr {GONE} dev theirs nud reachable"));
        assert!(network.they_believe(VIP_V4.into()).contains(&GONE.to_string()));
        send(network.interface.index, &frame);
        eventually("they learn our hardware address", || {
            network.they_believe(VIP_V4.into()).contains(&OURS.to_string())
        });
    }
}

fn a_neighbour_believes_an_advertisement(network: &Network) {
    network.them(&format!("neigh replace {VIP_V6} lladdr {GONE} dev theirs nud reachable"));
    let mut announcer = Announcer::new(Pace { repeats: Vec::new(), ..Pace::default() });
    announcer.announce(GROUP, &[(network.interface.clone(), VIP_V6.into())], Span::ZERO);
    assert_eq!(say_all(&mut announcer), 1);
    eventually("they learn our hardware address", || {
        network.they_believe(VIP_V6.into()).contains(&OURS.to_string())
    });
}

fn five_hundred_addresses_arrive(network: &Network) {
    let vips: Vec<Ipv4Addr> =
        (0..500_u16).map(|at| Ipv4Addr::new(10, 1, at.to_be_bytes()[0], at.to_be_bytes()[1])).collect();
    for vip in &vips {
        network.them(&format!("neigh replace {vip} lladdr {GONE} dev theirs nud stale"));
    }
    let mut announcer = Announcer::new(Pace::default());
    let addresses: Vec<(Interface, IpAddr)> =
        vips.iter().map(|vip| (network.interface.clone(), IpAddr::V4(*vip))).collect();
    announcer.announce(GROUP, &addresses, Span::ZERO);
    assert_eq!(say_all(&mut announcer), 4_000, "four bursts of two forms");
    eventually("all of them are believed", || {
        let table = network.them("neigh show dev theirs");
        table.lines().filter(|line| line.starts_with("10.1.") && line.contains(&OURS.to_string())).count()
            == 500
    });
}

// --- probes ----------------------------------------------------------------------------------------------------------

fn a_living_address_answers_and_a_missing_one_does_not(network: &Network) {
    let mut prober = prober();
    let pairs: [[IpAddr; 2]; 2] = [[NOBODY_V4.into(), THEM_V4.into()], [NOBODY_V6.into(), THEM_V6.into()]];
    for (round, [missing, living]) in (1..).zip(pairs) {
        prober.ask(round, &network.interface, &[(OTHER, missing), (GROUP, living)], &[], Span::ZERO).unwrap();
        let heard = hear_until(&mut prober, |one| *one == address(round, GROUP));
        assert_eq!(heard, [address(round, GROUP)]);
    }
}

fn a_question_from_no_address_is_answered_too(network: &Network) {
    let mut prober = prober();
    let nameless = Interface { link_local: None, ..network.interface.clone() };
    prober.ask(1, &nameless, &[(GROUP, THEM_V6.into())], &[], Span::ZERO).unwrap();
    hear_until(&mut prober, |one| *one == address(1, GROUP));
    assert!(
        !network.they_believe(US_LINK.into()).contains(&OURS.to_string()),
        "they must not have learnt of us"
    );
}

fn spoken_as_answers_once(network: &Network) {
    let mut prober = prober();
    for round in [1, 2] {
        prober.ask(round, &network.interface, &[(GROUP, VIP_V4.into())], &[], Span::ZERO).unwrap();
    }
    network.they_send(&frame::arp_question(THEIRS, Ipv4Addr::UNSPECIFIED, VIP_V4));
    for _ in 0..2 {
        network.they_send(&frame::gratuitous_request(THEIRS, VIP_V4));
    }
    // It asks for another, and says by that who it is.
    network.they_send(&frame::arp_question(THEIRS, VIP_V4, NOBODY_V4));
    let mut heard = hear_until(&mut prober, |one| *one == address(2, GROUP));
    prober.ask(3, &network.interface, &[(OTHER, THEM_V4.into())], &[], Span::ZERO).unwrap();
    heard.extend(hear_until(&mut prober, |one| *one == address(3, OTHER)));
    assert_eq!(heard, [address(2, GROUP), address(3, OTHER)]);
    prober.ask(4, &network.interface, &[(GROUP, VIP_V4.into())], &[], Span::ZERO).unwrap();
    network.they_send(&frame::arp_question(THEIRS, VIP_V4, NOBODY_V4));
    hear_until(&mut prober, |one| *one == address(4, GROUP));
}

fn a_target_answers_with_its_round_and_its_ping_group(network: &Network) {
    let mut prober = prober();
    let targets: [Vec<IpAddr>; 4] = [
        vec![THEM_V4.into()],
        vec![NOBODY_V4.into()],
        vec![NOBODY_V6.into(), THEM_V6.into()],
        vec![THEM_LINK.into()],
    ];
    for round in [7, 8] {
        prober.ask(round, &network.interface, &[], &targets, Span::ZERO).unwrap();
        let mut expected: BTreeSet<usize> = [0, 2, 3].into();
        while !expected.is_empty() {
            assert!(ready(&prober, PATIENCE_MS), "round {round}: {expected:?} did not answer");
            let mut heard = Vec::new();
            read(&mut prober, &mut heard);
            for one in heard {
                let Heard::Answer { round: answered, from: Answerer::Target(place) } = one else {
                    panic!("{one:?}")
                };
                assert_eq!(answered, round);
                assert!(expected.remove(&place), "group {place} answered, and was not to, or not twice");
            }
        }
    }
}

fn an_answer_counts_only_from_a_target(network: &Network) {
    // The filters in the kernel go by the last 16 bits: they let the answers of either through to both.
    let [mut ours, mut another] = [0x1_0000_abcd, 0x2_0000_abcd].map(|token| Prober::new(token).unwrap());
    let targets = [vec![IpAddr::V4(THEM_V4)]];
    let heard = |prober: &mut Prober, round| {
        let heard = hear_until(prober, |one| *one == answer(round, Answerer::Target(0)));
        assert_eq!(heard, [answer(round, Answerer::Target(0))]);
    };
    ours.ask(1, &network.interface, &[], &targets, Span::ZERO).unwrap();
    heard(&mut ours, 1);
    another.ask(2, &network.interface, &[], &targets, Span::ZERO).unwrap();
    heard(&mut another, 2);
    ours.ask(3, &network.interface, &[], &targets, Span::ZERO).unwrap();
    heard(&mut ours, 3);
    // It answers, and is no target any more.
    ours.ask(4, &network.interface, &[], &targets, Span::ZERO).unwrap();
    assert!(ready(&ours, PATIENCE_MS));
    ours.ask(5, &network.interface, &[], &[vec![THEM_V6.into()]], Span::ZERO).unwrap();
    heard(&mut ours, 5);
}

/// Asks through a cable that is broken, mends it, and gives what answered to the broken rounds.
fn answers_to_a_broken_cable(network: &Network, whole: impl Fn(bool)) -> Vec<Heard> {
    let mut prober = prober();
    let questions = [(GROUP, IpAddr::V4(VIP_V4)), (GROUP, VIP_V6.into())];
    let targets = [vec![IpAddr::V4(THEM_V4)]];
    ask_until_answered(network, &mut prober, 1, THEM_V4.into());
    for (round, question) in (900..).zip(questions) {
        add(&network.them, "theirs", question.1);
        prober.ask(round, &network.interface, &[question], &[], Span::ZERO).unwrap();
        hear_until(&mut prober, |one| *one == address(round, GROUP));
    }
    whole(false);
    for round in [1_000, 1_001, 1_002] {
        // Whether the kernel refuses it or loses it: there is no answer.
        let _ = prober.ask(round, &network.interface, &questions, &targets, Span::ZERO);
    }
    whole(true);
    let mut heard = ask_until_answered(network, &mut prober, 2_000, THEM_V4.into());
    heard.retain(|one| matches!(one, Heard::Answer { round, .. } if *round < 2_000));
    heard
}

fn nothing_answers_through_a_cut_cable(network: &Network) {
    let answered = answers_to_a_broken_cable(network, |whole| network.plug("theirs", whole));
    assert_eq!(answered, []);
}

fn no_address_answers_through_a_pulled_cable(network: &Network) {
    let mut answered = answers_to_a_broken_cable(network, |whole| {
        network.switch(if whole { "link set ours up" } else { "link set ours down" });
    });
    // With the carrier went the hardware address of the target: the kernel keeps pings back until it is known again.
    answered.retain(|one| !matches!(one, Heard::Answer { from: Answerer::Target(_), .. }));
    assert_eq!(answered, []);
}

fn this_machine_does_not_answer_for_itself(network: &Network) {
    let second = Mac([2, 0, 0, 0, 0, 0x1a]);
    network.cable(&network.us, "second", second);
    network.us(&format!("addr add {VIP_V4}/32 dev second"));
    let mut prober = prober();
    let questions = |group| [(group, IpAddr::V4(VIP_V4)), (group, US_V4.into())];
    let them = (GroupId(9), IpAddr::V4(THEM_V4));
    // Linux answers through `second` for either address, so there is something to be deaf to.
    prober.ask(1, &network.interface, &questions(GROUP), &[], Span::ZERO).unwrap();
    hear_until(&mut prober, |one| *one == address(1, GROUP));
    prober.own([OURS, second].into());
    let mut all = questions(OTHER).to_vec();
    all.push(them);
    prober.hold(&network.interface, &[VIP_V4.into(), US_V4.into()]).unwrap();
    read(&mut prober, &mut Vec::new());
    prober.ask(2, &network.interface, &all, &[vec![US_V4.into(), VIP_V4.into()]], Span::ZERO).unwrap();
    let heard = hear_until(&mut prober, |one| *one == address(2, GroupId(9)));
    assert_eq!(heard, [address(2, GroupId(9))]);
}

// --- rivals ----------------------------------------------------------------------------------------------------------

fn a_rival_is_heard_and_a_question_is_no_rival(network: &Network) {
    let mut prober = prober();
    let interface = network.interface.index;
    prober.hold(&network.interface, &[VIP_V4.into(), VIP_V6.into()]).unwrap();
    network.they_send(&frame::arp_question(THEIRS, Ipv4Addr::UNSPECIFIED, VIP_V4));
    network.they_send(&frame::arp_question(THEIRS, THEM_V4, VIP_V4));
    network.they_send(&frame::neighbour_question(THEIRS, None, VIP_V6));
    network.they_send(&frame::gratuitous_request(THEIRS, NOBODY_V4));
    for (frame, vip) in [
        (frame::gratuitous_request(THEIRS, VIP_V4), IpAddr::V4(VIP_V4)),
        (frame::gratuitous_reply(GONE, VIP_V4), VIP_V4.into()),
        (frame::unsolicited_advertisement(THEIRS, VIP_V6, false), VIP_V6.into()),
    ] {
        let mac = frame::source(&frame).unwrap();
        network.they_send(&frame);
        let heard = hear_until(&mut prober, |_| true);
        assert_eq!(heard, [Heard::Rival { interface, address: vip, mac }]);
    }
    prober.hold(&network.interface, &[]).unwrap();
    network.they_send(&frame::gratuitous_request(THEIRS, VIP_V4));
    prober.ask(1, &network.interface, &[(GROUP, THEM_V4.into())], &[], Span::ZERO).unwrap();
    assert_eq!(hear_until(&mut prober, |_| true), [address(1, GROUP)]);
}

fn who_has_an_address_is_found_before_it_is_claimed(network: &Network) {
    let mut prober = prober();
    let interface = network.interface.index;
    for vip in [IpAddr::V4(VIP_V4), VIP_V6.into()] {
        let living = if vip.is_ipv4() { IpAddr::V4(THEM_V4) } else { THEM_V6.into() };
        let found = |address| Heard::Owner { interface, address, mac: THEIRS };
        prober.seek(&network.interface, vip).unwrap();
        prober.seek(&network.interface, living).unwrap();
        assert_eq!(hear_until(&mut prober, |_| true), [found(living)], "nobody has the other yet");
        prober.forget(living);
        add(&network.them, "theirs", vip);
        prober.seek(&network.interface, vip).unwrap();
        assert_eq!(hear_until(&mut prober, |_| true), [found(vip)]);
        prober.forget(vip);
    }
}

// --- what it costs ---------------------------------------------------------------------------------------------------

fn open_sockets() -> usize {
    let files = fs::read_dir("/proc/thread-self/fd").unwrap();
    let target = |file: io::Result<fs::DirEntry>| fs::read_link(file.unwrap().path()).ok();
    files.filter_map(target).filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

fn nothing_is_open_and_nobody_is_woken(network: &Network) {
    let before = open_sockets();
    let open = || open_sockets() - before;
    let mut prober = prober();
    let everything = [(GROUP, IpAddr::V4(THEM_V4)), (GROUP, THEM_V6.into())];
    let targets = [vec![THEM_V4.into(), THEM_V6.into()]];
    assert_eq!((open(), prober.next_due()), (0, None));
    prober.ask(1, &network.interface, &everything, &targets, Span::seconds(5)).unwrap();
    assert_eq!(open(), 4);
    prober.hold(&network.interface, &[VIP_V4.into()]).unwrap();
    let due = prober.next_due().unwrap();
    prober.run(due - Span(1));
    assert_eq!(open(), 4, "another round may follow");
    prober.run(due);
    // Whoever has the time for it closes them.
    assert_eq!(prober.take_spent().len(), 3);
    assert_eq!((open(), prober.next_due()), (1, None), "rivals are still listened for");
    prober.hold(&network.interface, &[]).unwrap();
    assert_eq!(prober.take_spent().len(), 1);
    assert_eq!(open(), 0);

    // They ping us, and everybody knows where everybody is: nothing of it is for us.
    prober.hold(&network.interface, &[VIP_V4.into(), VIP_V6.into()]).unwrap();
    for machine in [&network.us, &network.them] {
        let (name, mac, v4, v6) = if machine.as_raw_fd() == network.us.as_raw_fd() {
            ("ours", THEIRS, THEM_V4, THEM_V6)
        } else {
            ("theirs", OURS, US_V4, US_V6)
        };
        ip(machine, &format!("neigh replace {v4} lladdr {mac} dev {name} nud permanent"));
        ip(machine, &format!("neigh replace {v6} lladdr {mac} dev {name} nud permanent"));
    }
    read(&mut prober, &mut Vec::new());
    let theirs = network.theirs();
    enter(&network.them);
    let mut other = Prober::new(1).unwrap();
    for (round, target) in (1..).zip([IpAddr::V4(US_V4), US_V6.into()]) {
        other.ask(round, &theirs, &[], &[vec![target]], Span::ZERO).unwrap();
        hear_until(&mut other, |one| *one == answer(round, Answerer::Target(0)));
    }
    enter(&network.us);
    assert!(!ready(&prober, 0), "a ping that was for the kernel has woken us");
    network.they_send(&frame::arp_question(THEIRS, Ipv4Addr::UNSPECIFIED, VIP_V4));
    network.they_send(&frame::neighbour_question(THEIRS, None, VIP_V6));
    assert!(!ready(&prober, 0), "a question from no address has woken us");
}

/// Whoever speaks as another address is nothing to us, until that one is listened for, too; and so for a long list.
fn who_speaks_as_another_address_wakes_nobody(network: &Network) {
    let mut prober = prober();
    prober.hold(&network.interface, &[VIP_V4.into(), VIP_V6.into()]).unwrap();
    let interface = network.interface.index;
    let mut stranger = Prober::new(2).unwrap();
    stranger.hold(&network.interface, &[NOBODY_V4.into(), NOBODY_V6.into()]).unwrap();
    let speak = |address: IpAddr| {
        network.they_send(&match address {
            IpAddr::V4(address) => frame::gratuitous_request(THEIRS, address),
            IpAddr::V6(address) => frame::unsolicited_advertisement(THEIRS, address, false),
        });
        Heard::Rival { interface, address, mac: THEIRS }
    };
    for other in [IpAddr::V4(NOBODY_V4), NOBODY_V6.into()] {
        let heard = speak(other);
        hear_until(&mut stranger, |one| *one == heard);
        assert!(!ready(&prober, 0), "{other} is nothing to us, and has woken us");
    }
    for many in [1, 200] {
        let held = (1..=many).flat_map(|one| [Ipv4Addr::new(10, 9, 8, one).into(), v6(one).into()]);
        let held: Vec<IpAddr> = held.chain([NOBODY_V4.into(), NOBODY_V6.into()]).collect();
        prober.hold(&network.interface, &held).unwrap();
        for address in [held[0], held[1], NOBODY_V4.into(), NOBODY_V6.into()] {
            let heard = speak(address);
            assert_eq!(hear_until(&mut prober, |_| true), [heard], "{many} others are held");
        }
    }
}

fn v6(last: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, last.into())
}

fn an_interface_that_was_down_works_again(network: &Network) {
    let announce = |announcer: &mut Announcer| {
        announcer.announce(GROUP, &[(network.interface.clone(), VIP_V4.into())], Span::ZERO);
        announcer.run(Span::ZERO)
    };
    let mut announcer = Announcer::new(Pace { repeats: Vec::new(), ..Pace::default() });
    let mut prober = prober();
    prober.hold(&network.interface, &[VIP_V4.into()]).unwrap();
    assert_eq!(announce(&mut announcer).frames, 2);
    network.us("link set ours down");
    assert_eq!(announce(&mut announcer).failures.len(), 1);
    assert!(prober.ask(1, &network.interface, &[(GROUP, THEM_V4.into())], &[], Span::ZERO).is_err());
    network.us("link set ours up");
    // What the interface leaves behind with a socket when it goes is no reason to lose the first question after that.
    network.us("link set ours down");
    network.us("link set ours up");
    eventually("the interface works again", || network.us("link show ours").contains("state UP"));
    prober.ask(2, &network.interface, &[(GROUP, THEM_V4.into())], &[], Span::ZERO).unwrap();
    eventually("announcements leave again", || announce(&mut announcer).failures.is_empty());
    ask_until_answered(network, &mut prober, 3, THEM_V4.into());
    let theirs = network.theirs();
    network.they_send(&frame::gratuitous_request(THEIRS, VIP_V4));
    let rival = Heard::Rival { interface: network.interface.index, address: VIP_V4.into(), mac: theirs.mac };
    hear_until(&mut prober, |one| *one == rival);
    network.us("link del ours");
    let failures = announce(&mut announcer).failures;
    assert_eq!(failures.len(), 1);
    assert!(failures[0].to_string().contains("through ours: "), "{}", failures[0]);
    let said = prober.ask(9, &network.interface, &[(GROUP, THEM_V4.into())], &[], Span::ZERO).unwrap_err();
    assert!(said.to_string().starts_with("cannot ask or listen through ours: "), "{said}");
    read(&mut prober, &mut Vec::new());
    assert!(!ready(&prober, 0), "a lost interface must not wake anybody for ever");
}
