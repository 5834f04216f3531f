//! What is settled is what `ipvsadm` reads, and what `ipvsadm` changes is noticed.

use systole::config::{At, Forwarding, Persistence, Scheduler, Server, Service, Transport};
use systole::director::balancer::Balance;
use systole::director::balancer::ipvs::Ipvs;
use systole::director::table::Table;
use systole::net::ipvs::{self, SyncRole, Timeouts};
use systole::time::Span;

use crate::Test;
use crate::seen::{by_ipvsadm, by_us};
use crate::want::{all, on, server, service, settled, table, tcp};
use crate::world::{World, run};

pub(crate) const TESTS: &[Test] = &[
    ("tables_of_every_kind_are_what_ipvsadm_reads", every_kind),
    ("each_part_of_a_service_and_a_server_can_be_changed_in_its_place", each_part),
    ("what_ipvsadm_changes_is_told_and_mended", told_and_mended),
    ("a_foreign_service_is_left_alone", foreign),
    ("another_life_takes_away_what_the_earlier_one_left", another_life),
    ("what_the_kernel_refuses_is_said_in_words", refusals),
    ("timeouts_are_what_ipvsadm_reads", timeouts),
    ("daemons_start_change_and_stop", daemons),
];

const V4: [(&str, u32); 3] = [("10.2.0.11:80", 1), ("10.2.0.12:8080", 0), ("10.2.0.13:80", 70_000)];
const V6: [(&str, u32); 2] = [("[fd02::11]:80", 1), ("[fd02::12]:80", 9)];

fn persistent(service: Service, seconds: u64, mask: u8) -> Service {
    let persistence = Some(Persistence { timeout: Span::seconds(seconds), mask });
    Service { persistence, ..service }
}

fn flagged(at: At, name: &str, flags: [bool; 3]) -> Service {
    let scheduler = Some(Scheduler { name: name.to_owned(), flags });
    Service { scheduler, ..service(at, name) }
}

fn mixture() -> Vec<Table> {
    let ops = Service { one_packet: true, ..service(on("10.1.0.100:53", Transport::Udp), "rr") };
    vec![
        table(Service { scheduler: None, ..service(tcp("10.1.0.100:80"), "") }, Forwarding::Nat, &V4),
        table(flagged(tcp("10.1.0.100:443"), "mh", [true, true, false]), Forwarding::Direct, &V4),
        table(flagged(tcp("10.1.0.100:444"), "wrr", [true, false, true]), Forwarding::Tunnel, &V4),
        table(persistent(service(tcp("10.1.0.100:21"), "lc"), 360, 24), Forwarding::Nat, &V4),
        table(persistent(service(tcp("10.1.0.101:0"), "sed"), 60, 32), Forwarding::Direct, &[]),
        table(ops, Forwarding::Nat, &V4),
        table(service(on("10.1.0.100:5060", Transport::Sctp), "nq"), Forwarding::Nat, &V4),
        table(service(tcp("[fd01::100]:80"), "wlc"), Forwarding::Nat, &V6),
        table(persistent(service(tcp("[fd01::100]:81"), "rr"), 90, 64), Forwarding::Direct, &V6),
        // The servers of a service may be of the other family, if they get packets by tunnel.
        table(service(tcp("[fd01::100]:82"), "rr"), Forwarding::Tunnel, &V4[..1]),
        table(service(At::Mark { mark: 7, v6: false }, "rr"), Forwarding::Nat, &V4),
        table(persistent(service(At::Mark { mark: 7, v6: true }, "rr"), 90, 128), Forwarding::Direct, &V6),
    ]
}

fn every_kind(_: &World) {
    let tables = all(&mixture());
    let mut ipvs = settled(&tables);
    let read = by_ipvsadm();
    assert_eq!(by_us(), read);
    read.iter().for_each(|line| println!("  {line}"));
    assert_eq!(read.len(), 12 + 8 * 3 - 3 + 3 * 2 + 1);
    for line in [
        "TCP 10.1.0.100:80 wlc",
        "-> 10.2.0.13:80 Masq 70000 0 0",
        "TCP 10.1.0.100:443 mh (mh-fallback,mh-port)",
        "-> 10.2.0.12:443 Route 0 0 0",
        "TCP 10.1.0.100:444 wrr (flag-1,flag-3)",
        "TCP 10.1.0.100:21 lc persistent 360 mask 255.255.255.0",
        "TCP 10.1.0.101:0 sed persistent 60",
        "UDP 10.1.0.100:53 rr ops",
        "SCTP 10.1.0.100:5060 nq",
        "TCP [fd01::100]:81 rr persistent 90 mask 64",
        "-> [fd02::12]:81 Route 9 0 0",
        "FWM 7 rr",
        "FWM 7 IPv6 rr persistent 90",
    ] {
        assert!(read.iter().any(|read| read == line), "{line} is not in\n{}", read.join("\n"));
    }
    assert_eq!(ipvs.settle(&tables), Ok(vec![]));
    assert_eq!(by_ipvsadm(), read);
}

fn each_part(_: &World) {
    let at = tcp("10.1.0.100:80");
    let limited = |limits| {
        let server = Server { limits, ..server("10.2.0.11:80".parse().unwrap(), Forwarding::Nat) };
        let mut table = table(service(at, "rr"), Forwarding::Nat, &[("10.2.0.11:80", 5)]);
        table.entries.values_mut().for_each(|entry| entry.server = server.clone().into());
        table
    };
    let one = |service: Service, forwarding| table(service, forwarding, &[("10.2.0.11:80", 5)]);
    let plain = one(service(at, "rr"), Forwarding::Nat);
    let mut ipvs = settled(&all(std::slice::from_ref(&plain)));
    let before = by_ipvsadm();
    for (changed, line) in [
        (one(service(at, "mh"), Forwarding::Nat), "TCP 10.1.0.100:80 mh"),
        (one(flagged(at, "rr", [false, true, false]), Forwarding::Nat), "TCP 10.1.0.100:80 rr (flag-2)"),
        (one(Service { one_packet: true, ..service(at, "rr") }, Forwarding::Nat), "TCP 10.1.0.100:80 rr ops"),
        (
            one(persistent(service(at, "rr"), 9, 8), Forwarding::Nat),
            "TCP 10.1.0.100:80 rr persistent 9 mask 255.0.0.0",
        ),
        (one(service(at, "rr"), Forwarding::Direct), "-> 10.2.0.11:80 Route 5 0 0"),
        (one(service(at, "rr"), Forwarding::Tunnel), "-> 10.2.0.11:80 Tunnel 5 0 0"),
        (table(service(at, "rr"), Forwarding::Nat, &[("10.2.0.11:80", 0)]), "-> 10.2.0.11:80 Masq 0 0 0"),
        (limited((100, 80)), "-> 10.2.0.11:80 100 80 0 0"),
    ] {
        ipvs.change("s0", &changed).unwrap();
        let thresholds = words("ipvsadm -L -n --thresholds");
        assert_eq!(by_us(), by_ipvsadm());
        assert!(
            by_ipvsadm().iter().chain(&thresholds).any(|read| read == line),
            "{line}: {:?}",
            by_ipvsadm()
        );
        ipvs.change("s0", &plain).unwrap();
        assert_eq!(by_ipvsadm(), before, "after {line}");
    }
    assert_eq!(ipvs.settle(&all(&[plain])), Ok(vec![]));
}

fn words(command: &str) -> Vec<String> {
    run(command).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn told_and_mended(_: &World) {
    let tables = all(&mixture());
    let mut ipvs = settled(&tables);
    let before = by_ipvsadm();
    let cases = [
        (
            "ipvsadm -d -t 10.1.0.100:80 -r 10.2.0.11:80",
            "removed server 10.2.0.11:80 from service s0 (tcp 10.1.0.100:80)",
        ),
        (
            "ipvsadm -a -t 10.1.0.100:80 -r 10.2.0.19:80 -m -w 4",
            "added server 10.2.0.19:80 to service s0 (tcp 10.1.0.100:80)",
        ),
        (
            "ipvsadm -e -t 10.1.0.100:80 -r 10.2.0.12:8080 -m -w 4",
            "changed server 10.2.0.12:8080 of service s0 (tcp 10.1.0.100:80): weight 4 in place of 0",
        ),
        (
            "ipvsadm -e -t [fd01::100]:80 -r [fd02::11]:80 -g -w 1 -x 9 -y 8",
            "changed server [fd02::11]:80 of service s7 (tcp [fd01::100]:80): forwarding direct in place of nat, upper \
             limit 9 in place of 0, lower limit 8 in place of 0",
        ),
        ("ipvsadm -D -f 7", "deleted service s10 (mark 7)"),
        (
            "ipvsadm -E -t 10.1.0.100:80 -s rr -p 70 -M 255.255.0.0",
            "changed service s0 (tcp 10.1.0.100:80): scheduler rr in place of wlc, persistence 70 s with mask 16 in place \
             of none",
        ),
        (
            "ipvsadm -E -t 10.1.0.100:80 -s wlc -p 70 -M 255.0.255.0",
            "changed service s0 (tcp 10.1.0.100:80): persistence 70 s with a mask that is no prefix in place of none",
        ),
        (
            "ipvsadm -e -t 10.1.0.100:444 -r 10.2.0.11:444 -i --tun-type gue --tun-port 6080 -w 1",
            "changed server 10.2.0.11:444 of service s2 (tcp 10.1.0.100:444): tunnel type 1 in place of 0, tunnel port 6080 \
             in place of 0",
        ),
    ];
    for (command, what) in cases {
        run(command);
        assert_ne!(words("ipvsadm -S -n"), Vec::<String>::new());
        assert_eq!(ipvs.settle(&tables), Ok(vec![format!("somebody else has {what}")]), "{command}");
        assert_eq!(by_ipvsadm(), before, "{command}");
        assert_eq!(ipvs.settle(&tables), Ok(vec![]), "{command}");
    }
    run("ipvsadm -C");
    assert_eq!(ipvs.settle(&tables).unwrap().len(), 12);
    assert_eq!(by_ipvsadm(), before);
}

fn foreign(_: &World) {
    run("ipvsadm -A -t 10.1.0.200:99 -s lblc -p 11");
    run("ipvsadm -a -t 10.1.0.200:99 -r 10.2.0.11:99 -g -w 3");
    let theirs = by_ipvsadm();
    let mut ipvs = settled(&all(&mixture()));
    run("ipvsadm -a -t 10.1.0.200:99 -r 10.2.0.12:99 -g -w 3");
    assert_eq!(ipvs.settle(&all(&mixture()[..1])), Ok(vec![]));
    assert_eq!(ipvs.settle(&all(&[])), Ok(vec![]));
    run("ipvsadm -d -t 10.1.0.200:99 -r 10.2.0.12:99");
    assert_eq!(by_ipvsadm(), theirs);
    // Wanted by us, it is ours, also in going.
    assert_eq!(
        ipvs.settle(&all(&[table(service(tcp("10.1.0.200:99"), "rr"), Forwarding::Nat, &V4[..1])])),
        Ok(vec![])
    );
    assert_eq!(by_ipvsadm(), ["TCP 10.1.0.200:99 rr", "-> 10.2.0.11:80 Masq 1 0 0"]);
    assert_eq!(ipvs.settle(&all(&[])), Ok(vec![]));
    assert_eq!(by_ipvsadm(), [""; 0]);
}

fn another_life(_: &World) {
    run("ipvsadm -A -t 10.1.0.200:99 -s rr");
    let mut first = settled(&all(&mixture()));
    first.change("extra", &table(service(tcp("10.1.0.100:9"), "rr"), Forwarding::Nat, &V4)).unwrap();
    let ours = first.ours().clone();
    drop(first);
    let mut second = Ipvs::open(ours).unwrap();
    assert_eq!(second.settle(&all(&mixture()[..1])), Ok(vec![]));
    let read = by_ipvsadm();
    assert_eq!(read.len(), 5, "{read:?}");
    assert_eq!(read[0], "TCP 10.1.0.100:80 wlc");
    assert_eq!(read[4], "TCP 10.1.0.200:99 rr");
}

fn refusals(_: &World) {
    let mut ipvs = settled(&all(&[]));
    let at = tcp("10.1.0.100:80");
    let good = table(service(tcp("10.1.0.100:81"), "rr"), Forwarding::Nat, &V4);
    for (refused, why) in [
        (
            table(service(at, "best"), Forwarding::Nat, &V4),
            "this kernel has no scheduler \"best\", nor a module ip_vs_best",
        ),
        (
            table(service(at, "rr"), Forwarding::Nat, &V6[..1]),
            "server [fd02::11]:80: it is of another family than its service: that takes a tunnel, and no daemon that tells \
             of connections",
        ),
        (
            table(service(at, "rr"), Forwarding::Nat, &[("224.0.0.1:80", 1)]),
            "server 224.0.0.1:80: the kernel takes 224.0.0.1 for no address of a server: it is one of broadcast, multicast \
             or a single link",
        ),
        (
            table(service(at, "rr"), Forwarding::Nat, &[("10.2.0.11:80", u32::MAX)]),
            "server 10.2.0.11:80: weight 4294967295 or limits 0 and 0 are out of range: the second limit is the lower one",
        ),
    ] {
        let error = ipvs.settle(&all(&[refused, good.clone()])).unwrap_err().0;
        assert_eq!(error, format!("IPVS: service s0 (tcp 10.1.0.100:80): {why}"));
        assert!(by_ipvsadm().contains(&"-> 10.2.0.13:80 Masq 70000 0 0".to_owned()), "the other is settled");
        ipvs.settle(&all(&[])).unwrap();
    }
}

fn timeouts(_: &World) {
    let mut kernel = ipvs::Ipvs::open().unwrap();
    kernel.set_timeouts(Timeouts { tcp: 1_000, tcp_end: 60, udp: 0 }).unwrap();
    assert_eq!(kernel.timeouts().unwrap(), Timeouts { tcp: 1_000, tcp_end: 60, udp: 300 });
    assert_eq!(run("ipvsadm -L --timeout").trim(), "Timeout (tcp tcpfin udp): 1000 60 300");
    kernel.set_timeouts(Timeouts { tcp: 900, tcp_end: 120, udp: 300 }).unwrap();
}

/// The daemons' lines: the first word of each, without which both look alike, begins so.
fn daemon_lines() -> Vec<(&'static str, String)> {
    let lines = words("ipvsadm -L --daemon");
    let kind = |line: &str| if line.starts_with("backup ") { "receives" } else { "sends" };
    let rest = |line: &str| line.split_once(' ').unwrap().1.to_owned();
    lines.iter().filter(|line| !line.is_empty()).map(|line| (kind(line), rest(line))).collect()
}

fn daemons(_: &World) {
    let line = |interface: &str, id: u8| format!("sync daemon (mcast={interface}, syncid={id}");
    let lines = |wanted: &[(&str, String)]| {
        let read = daemon_lines();
        assert_eq!(read.len(), wanted.len(), "{read:?}");
        for ((kind, begins), (read_kind, read)) in wanted.iter().zip(&read) {
            assert!(kind == read_kind && read.starts_with(begins), "{kind} {begins}: {read_kind} {read}");
        }
    };
    let mut ipvs = settled(&all(&[]));
    lines(&[]);
    ipvs.stop_sync(SyncRole::Sends).unwrap();
    ipvs.sync(SyncRole::Sends, "eth1", 7).unwrap();
    lines(&[("sends", line("eth1", 7))]);
    ipvs.sync(SyncRole::Receives, "eth1", 0).unwrap();
    lines(&[("sends", line("eth1", 7)), ("receives", line("eth1", 0))]);
    // It stays what it is, and is replaced by what it is not.
    ipvs.sync(SyncRole::Sends, "eth1", 7).unwrap();
    ipvs.sync(SyncRole::Sends, "eth0", 255).unwrap();
    lines(&[("sends", line("eth0", 255)), ("receives", line("eth1", 0))]);
    let seen = ipvs.sync_daemons().unwrap();
    assert_eq!(
        seen.iter().map(|daemon| (daemon.role, daemon.id)).collect::<Vec<_>>(),
        [(SyncRole::Sends, 255), (SyncRole::Receives, 0)]
    );
    let tunnel = table(service(tcp("[fd01::100]:82"), "rr"), Forwarding::Tunnel, &V4[..1]);
    let error = ipvs.settle(&all(&[tunnel])).unwrap_err().0;
    assert!(error.contains("no daemon that tells of connections"), "{error}");
    ipvs.stop_sync(SyncRole::Sends).unwrap();
    ipvs.stop_sync(SyncRole::Receives).unwrap();
    ipvs.stop_sync(SyncRole::Receives).unwrap();
    lines(&[]);
    let error = ipvs.sync(SyncRole::Receives, "eth9", 1).unwrap_err().0;
    assert_eq!(
        error,
        "IPVS: the daemon that receives connections does not start: there is no interface eth9"
    );
}
