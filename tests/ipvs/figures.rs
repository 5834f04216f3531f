//! How long it takes with 2,000 services of ten servers each. It is printed, beside what `ipvsadm` takes for the same, and
//! judged by a person; but what must not depend on the machine is demanded: that a change does not wait for a look.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use systole::config::{At, Forwarding, Transport};
use systole::director::balancer::Balance;
use systole::director::balancer::ipvs::Ipvs;
use systole::director::table::{Table, Tables};

use crate::Test;
use crate::seen::{by_ipvsadm, by_us};
use crate::want::{service, table};
use crate::world::{Space, World, run};

pub(crate) const TESTS: &[Test] = &[("two_thousand_services", two_thousand)];

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

fn restore(lines: &str) {
    let mut text = String::new();
    lines.lines().for_each(|line| writeln!(text, "{line}").unwrap());
    let mut child = Command::new("ipvsadm").arg("-R").stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}
