//! How long it takes with 2,000 services of ten servers each. It is printed, beside what `ipvsadm` takes for the same, and
//! judged by a person; but what must not depend on the machine is demanded: that a change does not wait for a look.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use systole::config::{At, Forwarding, Transport};
use systole::director::balancer::Balance;
use systole::director::balancer::ipvs::Ipvs;
use systole::director::table::{Table, Tables};
use systole::lab::clock;
use systole::time::Span;

use crate::Test;
use crate::seen::{by_ipvsadm, by_us};
use crate::site::{PATIENCE, program};
use crate::want::{service, table};
use crate::world::{Space, World, run};

pub(crate) const TESTS: &[Test] = &[
    ("two_thousand_services", two_thousand),
    ("a_reload_of_two_thousand_services_touches_what_is_changed", |_| reloads()),
];

const SERVICES: u16 = 2_000;
const SERVERS: u8 = 10;

fn large() -> Tables {
    (0..SERVICES).map(|number| (format!("s{number:04}"), one(number, 1))).collect()
}

fn one(number: u16, weight: u32) -> Table {
    let [high, low] = number.to_be_bytes();
    let at = At::Address { address: IpAddr::from([10, 100, high, low]), port: 80, protocol: Transport::Tcp };
    let servers: Vec<(String, u32)> =
        (1..=SERVERS).map(|server| (format!("10.{}.{high}.{low}:80", 110 + server), weight)).collect();
    let servers: Vec<(&str, u32)> = servers.iter().map(|(at, weight)| (at.as_str(), *weight)).collect();
    table(service(at, "wlc"), Forwarding::Nat, &servers)
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn timed<T>(what: &str, run: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let done = run();
    let took = began.elapsed();
    println!("  {what}: {:.1} ms", took.as_secs_f64() * 1_000.0);
    (done, took)
}

fn two_thousand(_: &World) {
    let tables = large();
    let mut ipvs = Ipvs::open(Default::default()).unwrap();
    let (told, _) = timed("2,000 services with 20,000 servers settled first", || ipvs.settle(&tables));
    assert_eq!(told, Ok(vec![]));
    let (told, look) = timed("settled again, nothing to do", || ipvs.settle(&tables));
    assert_eq!(told, Ok(vec![]));
    let changed = one(1_234, 2);
    // Of a hundred, as one alone is too quick for this clock.
    let (_, hundred) = timed("one service with ten servers changed, a hundred times", || {
        for weight in (1..=100).rev() {
            ipvs.change("s1234", &one(1_234, weight + 1)).unwrap();
        }
    });
    assert!(hundred / 100 < look / 10, "a change looks at what it does not change");
    let (_, one_message) = timed("one server changed: one message", || {
        let mut table = changed.clone();
        table.entries.values_mut().next().unwrap().weight = 0;
        ipvs.change("s1234", &table).unwrap();
    });
    assert!(one_message < look / 10);
    let read = by_ipvsadm();
    assert_eq!(read.len(), usize::from(SERVICES) * (1 + usize::from(SERVERS)));
    assert_eq!(by_us(), read);
    let _ = timed("read by `ipvsadm -L -n`", || run("ipvsadm -L -n"));
    let saved = run("ipvsadm -S -n");
    run("ipvsadm -C");
    // The kernel remembers what was removed for a minute or two, and searches it for each server that is added.
    let (told, _) = timed("settled after `ipvsadm -C`", || ipvs.settle(&tables));
    assert_eq!(told.unwrap().len(), 1_000, "what is more says nothing new");
    let (told, _) = timed("all of it taken away", || ipvs.settle(&Tables::new()));
    assert_eq!(told, Ok(vec![]));
    assert_eq!(by_ipvsadm(), [""; 0]);
    // Where nothing was removed before, as at our first time.
    Space::new("fresh").enter(|| {
        let _ = timed("the same set by `ipvsadm -R`", || restore(&saved));
        assert_eq!(by_ipvsadm(), read);
    });
}

/// The configuration of as many, a weight of one of which is this.
fn text(keys: &Path, weight: u32) -> String {
    let address = |number: u16| Ipv4Addr::from(0xac1f_0100 + u32::from(number / 10));
    let addresses: Vec<_> =
        (0..SERVICES).step_by(10).map(|number| format!("\"{}/16\"", address(number))).collect();
    let mut text = format!(
        "[cluster]\nname = \"large\"\nkeys = \"{}\"\n[node.a]\n[node.b]\n[link.x]\ninterface = \"c0\"\n\
         broadcast = true\n[[group.web.resource]]\nagent = \"vip\"\n\
         params = {{ address = [{}], interface = \"c0\" }}\n",
        keys.display(),
        addresses.join(", ")
    );
    for number in 0..SERVICES {
        let [high, low] = number.to_be_bytes();
        let port = 8_000 + number % 10;
        writeln!(
            text,
            "[service.s{number:04}]\naddress = \"{}:{port}\"\nscheduler = \"wlc\"\ncheck = false\n\
             [service.s{number:04}.server]",
            address(number)
        )
        .unwrap();
        for server in 1..=SERVERS {
            let weight = if (number, server) == (MIDDLE, 1) { weight } else { 1 };
            writeln!(
                text,
                "r{server} = {{ address = \"10.{}.{high}.{low}:80\", weight = {weight} }}",
                110 + server
            )
            .unwrap();
        }
    }
    text
}

/// The service of which something is changed.
const MIDDLE: u16 = SERVICES / 2;

/// A daemon, which ends with its director.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id().try_into().unwrap()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn reloads() {
    Space::new("large").enter(|| {
        run("ip link add c0 type veth peer name c1");
        run("ip address add 172.30.0.1/30 dev c0");
        ["c0", "c1"].iter().for_each(|interface| drop(run(&format!("ip link set {interface} up"))));
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("keys"), "1 00112233445566778899aabbccddeeff\n").unwrap();
        fs::set_permissions(path("keys"), fs::Permissions::from_mode(0o600)).unwrap();
        let configure = |weight| fs::write(path("systole.toml"), text(&path("keys"), weight)).unwrap();
        configure(1);
        let mut command = Command::new(program());
        command.arg("run").arg("--config").arg(path("systole.toml")).args(["--node", "a"]);
        command.arg("--run-dir").arg(path("run")).arg("--state-dir").arg(path("state"));
        let log = fs::File::create(path("log")).unwrap();
        let (began, child) = (clock::now(), command.stdout(log.try_clone().unwrap()).stderr(log).spawn());
        let _daemon = Daemon(child.unwrap());
        let lines = usize::from(SERVICES) * (1 + usize::from(SERVERS));
        let wait = |what: &str, is_so: &dyn Fn() -> bool| {
            let seen = clock::wait_for(PATIENCE, || is_so().then_some(()));
            seen.unwrap_or_else(|| panic!("{what}: {}", fs::read_to_string(path("log")).unwrap()));
        };
        wait("all are in the kernel", &|| by_ipvsadm().len() == lines);
        println!("  from the daemon's start until `ipvsadm` reads all of them: {}", clock::now() - began);
        let before = by_ipvsadm();
        for (what, is_new) in [("one weight changed", true), ("nothing changed since", false)] {
            let weight = 7;
            configure(weight);
            let _ = timed(&format!("`systole reload`, {what}"), || {
                let mut command = Command::new(program());
                assert!(command.arg("reload").arg("--run-dir").arg(path("run")).status().unwrap().success());
            });
            let asked = clock::now();
            wait(what, &|| weights().contains(&weight));
            if is_new {
                println!("  from there until it is in the kernel: {}", clock::now() - asked);
            }
            // The next look at the whole is ten seconds after the last one at most.
            clock::wait(Span::seconds(11));
            let after = by_ipvsadm();
            let different = before.iter().zip(&after).filter(|(before, after)| before != after);
            assert_eq!((different.count(), after.len()), (1, lines), "{what}");
        }
        assert!(
            !fs::read_to_string(path("log")).unwrap().contains("somebody else"),
            "nothing had to be mended"
        );
    });
}

/// The weights of the servers of the service in the middle, in the kernel.
fn weights() -> Vec<u32> {
    let mut kernel = systole::net::ipvs::Ipvs::open().unwrap();
    let address = IpAddr::from((0xac1f_0100 + u32::from(MIDDLE / 10)).to_be_bytes());
    let at = At::Address { address, port: 8_000 + MIDDLE % 10, protocol: Transport::Tcp };
    kernel.destinations(at).unwrap().into_iter().map(|seen| seen.destination.weight).collect()
}

fn restore(lines: &str) {
    let mut text = String::new();
    lines.lines().for_each(|line| writeln!(text, "{line}").unwrap());
    let mut child = Command::new("ipvsadm").arg("-R").stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}
