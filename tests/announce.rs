//! `systole check --announce` in namespaces that each test makes: us, them at the other end of a cable, and they are our
//! gateway. Whatever it finds, and however it ends, the address is not there afterwards.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the message")]

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::process::{Child, Command, ExitCode, Output, Stdio};

use nix::poll::{PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use systole::net::frame::Mac;
use systole::net::route::{Address, End, Gateway, Route};

const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 0x0b]);
const US: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const THEM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const SPARE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 80));
/// Of a network that they have no way back to.
const STRANGE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 80));

/// What is waited for comes at once; a machine that is busy with something else gets so many looks, a millisecond apart.
const LOOKS: u32 = 20_000;

type Test = (&'static str, fn(&Cable));

const TESTS: [Test; 6] = [
    ("an_address_that_somebody_has_is_refused_with_who_has_it", somebody_has_it),
    ("an_address_of_this_machine_is_refused", this_machine_has_it),
    ("a_spare_address_is_announced_reached_and_taken_away", a_spare_address),
    ("an_address_that_the_gateway_does_not_answer_is_a_failure", not_let_through),
    ("what_nobody_can_be_asked_is_said_to_be_unchecked", nobody_to_ask),
    ("an_interruption_leaves_nothing_behind", an_interruption),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    let tests: Vec<Test> = TESTS.into_iter().filter(|(name, _)| chosen(name)).collect();
    if !nix::unistd::geteuid().is_root() {
        println!("skipped, all of it: network namespaces and raw sockets need root");
        println!("0 passed, 0 failed, {} skipped", tests.len());
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, test) in &tests {
        // A namespace is entered by a thread, and left behind with it.
        let run = || panic::catch_unwind(AssertUnwindSafe(|| test(&Cable::new()))).is_ok();
        let passed = std::thread::scope(|scope| scope.spawn(run).join().unwrap_or(false));
        println!("{} {name}", if passed { "passed" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    println!("{} passed, {failed} failed", tests.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Two machines and what is between them; the thread is with us.
struct Cable {
    _them: OwnedFd,
    ours: u32,
}

impl Cable {
    fn new() -> Self {
        let them = fresh();
        let us = fresh();
        let mut route = Route::open().unwrap();
        let end = End { name: "ours", mac: None, namespace: None };
        let peer = End { name: "theirs", mac: Some(THEIRS), namespace: Some(them.as_fd()) };
        route.add_veth(end, peer, None).unwrap();
        let ours = up(&mut route, "ours", US);
        setns(&them, CloneFlags::CLONE_NEWNET).unwrap();
        up(&mut Route::open().unwrap(), "theirs", THEM);
        setns(us, CloneFlags::CLONE_NEWNET).unwrap();
        Self { _them: them, ours }
    }

    fn with_gateway(&self) {
        Route::open().unwrap().add_default_route(Gateway { index: self.ours, address: THEM }).unwrap();
    }

    fn has(&self, address: IpAddr) -> bool {
        Route::open().unwrap().addresses().unwrap().iter().any(|there| there.address == address)
    }
}

fn fresh() -> OwnedFd {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    File::open("/proc/thread-self/ns/net").unwrap().into()
}

fn up(route: &mut Route, name: &str, address: IpAddr) -> u32 {
    let index = route.link(name).unwrap().index;
    route.set_up(index, true).unwrap();
    route.add_address(&Address::new(index, address, 24)).unwrap();
    index
}

fn begin(address: IpAddr, more: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
    command.args(["check", "--announce", &address.to_string()]).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Code, and all that was said.
fn end(child: Child) -> (i32, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.code().unwrap_or(-1), said)
}

/// Whether the address stood at some time while the command ran, and how it ended.
fn watched(cable: &Cable, mut child: Child, address: IpAddr) -> (bool, i32, String) {
    let mut stood = false;
    for _ in 0..LOOKS {
        stood |= cable.has(address);
        if child.try_wait().unwrap().is_some() {
            break;
        }
        poll(&mut [], PollTimeout::from(1_u8)).unwrap();
    }
    let (code, said) = end(child);
    (stood, code, said)
}

fn somebody_has_it(cable: &Cable) {
    let (stood, code, said) = watched(cable, begin(THEM, &[]), THEM);
    assert!(!stood, "it must not be added beside another");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("{THEM} is in use: {THEIRS} answers for it on ours")), "{said}");
}

fn this_machine_has_it(cable: &Cable) {
    let (code, said) = end(begin(US, &[]));
    assert!(code == 2 && said.contains("stands on this machine already"), "{said}");
    assert!(cable.has(US), "and it still does");
}

fn a_spare_address(cable: &Cable) {
    cable.with_gateway();
    let (stood, code, said) = watched(cable, begin(SPARE, &[]), SPARE);
    assert_eq!(code, 0, "{said}");
    assert!(stood && !cable.has(SPARE));
    assert!(said.contains(&format!("nobody else has {SPARE}")), "{said}");
    assert!(said.contains("announced: 6 frames left through ours"), "{said}");
    assert!(said.contains(&format!("the gateway {THEM} answers a ping from {SPARE}")), "{said}");
    assert!(said.contains("not checked, for one machine cannot see it"), "{said}");
}

fn not_let_through(cable: &Cable) {
    cable.with_gateway();
    let (code, said) = end(begin(STRANGE, &["--interface", "ours"]));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("answers this machine, but not {STRANGE}")), "{said}");
    assert!(!cable.has(STRANGE));
}

fn nobody_to_ask(cable: &Cable) {
    let (code, said) = end(begin(SPARE, &[]));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("not checked, whether anybody reaches it: there is no gateway"), "{said}");
    assert!(!cable.has(SPARE));
}

fn an_interruption(cable: &Cable) {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let child = begin(SPARE, &[]);
        let stands = (0..LOOKS).any(|_| {
            poll(&mut [], PollTimeout::from(1_u8)).unwrap();
            cable.has(SPARE)
        });
        assert!(stands, "it is never added");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let (code, said) = end(child);
        assert!(code == 1 && said.contains("interrupted"), "{signal}: {code} {said}");
        assert!(!cable.has(SPARE), "{signal}: it was left behind");
    }
}
