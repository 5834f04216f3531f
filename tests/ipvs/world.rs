//! Five network namespaces: a director with a client in front of it and two real servers behind it, and a switch with two
//! bridges. The client also has a cable to the bridge of the servers: there they answer it without the director.
//!
//! | | front | back |
//! | --- | --- | --- |
//! | director | `eth0` 10.1.0.1, fd01::1 | `eth1` 10.2.0.1, fd02::1 |
//! | client | `eth0` 10.1.0.2, fd01::2 | `eth1` 10.2.0.2, fd02::2 |
//! | servers | | `eth1` 10.2.0.11 and .12, fd02::11 and ::12, by default through the director |
//!
//! Clients send to 100 in both networks (translated in front, direct in the back), and to 101 and 102 in front for marks.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use crate::peer;

/// A network namespace, which a process of ours keeps.
pub(crate) struct Space {
    keeper: Child,
}

impl Space {
    /// A server lives in each of them: it answers with this name.
    pub(crate) fn new(name: &str) -> Self {
        let name = name.to_owned();
        let spawn = move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            run("ip link set lo up");
            let own = std::env::current_exe().unwrap();
            Command::new(own).args([peer::SERVE, &name]).stdout(Stdio::null()).spawn().unwrap()
        };
        Self { keeper: thread::spawn(spawn).join().unwrap() }
    }

    /// Does it in there.
    pub(crate) fn enter<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let space = File::open(format!("/proc/{}/ns/net", self.keeper.id())).unwrap();
        let inside = || {
            setns(space, CloneFlags::CLONE_NEWNET).unwrap();
            what()
        };
        thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    fn set(&self, lines: &[&str]) {
        self.enter(|| {
            for line in lines {
                match line.split_once(" = ") {
                    Some((name, value)) => fs::write(format!("/proc/sys/net/{name}"), value).unwrap(),
                    None => drop(run(line)),
                }
            }
        });
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

pub(crate) struct World {
    pub(crate) director: Space,
    pub(crate) client: Space,
    _others: [Space; 3],
}

impl World {
    pub(crate) fn build() -> Self {
        let [director, client, r1, r2, switch] = ["director", "client", "r1", "r2", "switch"].map(Space::new);
        switch.set(&["ip link add front type bridge", "ip link add back type bridge"]);
        switch.set(&["ip link set front up", "ip link set back up"]);
        let cables = [
            (&director, "front", "eth0"),
            (&director, "back", "eth1"),
            (&client, "front", "eth0"),
            (&client, "back", "eth1"),
            (&r1, "back", "eth1"),
            (&r2, "back", "eth1"),
        ];
        for (number, (space, bridge, interface)) in cables.into_iter().enumerate() {
            let peer = format!("peer name {interface} netns {}", space.keeper.id());
            // `ip` takes the beginning of a word: the whole one is not the house's.
            let port = format!("ip link set port{number} mast {bridge} up");
            switch.set(&[&format!("ip link add port{number} type veth {peer}"), &port]);
            space.set(&[&format!("ip link set {interface} up")]);
        }
        director.set(&["ipv4/ip_forward = 1", "ipv6/conf/all/forwarding = 1"]);
        director.set(&addresses(&["10.1.0.1/24", "fd01::1/64"], "eth0"));
        director.set(&addresses(&["10.2.0.1/24", "fd02::1/64"], "eth1"));
        for last in ["100", "101", "102"] {
            let (v4, v6) = (format!("10.1.0.{last}/32"), format!("fd01::{last}/128"));
            director.set(&addresses(&[&v4, &v6], "eth0"));
        }
        director.set(&addresses(&["10.2.0.100/32", "fd02::100/128"], "eth1"));
        client.set(&addresses(&["10.1.0.2/24", "fd01::2/64"], "eth0"));
        client.set(&addresses(&["10.2.0.2/24", "fd02::2/64"], "eth1"));
        for (server, last) in [(&r1, "11"), (&r2, "12")] {
            // What is direct arrives for an address that the server has and must not claim.
            server.set(&["ipv4/conf/all/arp_ignore = 1", "ipv4/conf/all/arp_announce = 2"]);
            let (v4, v6) = (format!("10.2.0.{last}/24"), format!("fd02::{last}/64"));
            server.set(&addresses(&[&v4, &v6], "eth1"));
            server.set(&addresses(&["10.2.0.100/32", "fd02::100/128"], "lo"));
            server.set(&["ip route add default via 10.2.0.1", "ip -6 route add default via fd02::1"]);
        }
        Self { director, client, _others: [r1, r2, switch] }
    }
}

fn addresses(addresses: &[&str], interface: &str) -> Vec<&'static str> {
    let line = |address: &&str| {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        &*format!("ip address add {address} dev {interface}{nodad}").leak()
    };
    addresses.iter().map(line).collect()
}

/// Runs a command of plain words in the namespace of this thread. It must succeed; what it prints comes back.
pub(crate) fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
