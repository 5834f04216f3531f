//! A real HAProxy in front of real servers: who gets how much, who drains, who comes and goes, who meddles.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use systole::director::balancer::Balance;
use systole::director::balancer::haproxy::Haproxy as Balancer;
use systole::director::table::Tables;
use systole::lab::clock::{now, wait_for};
use systole::time::Span;

use crate::site::{self, Client, Crowd, Haproxy, Web, backend, count};
use crate::world::Test;

pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "haproxy_divides_three_backends_by_their_weights",
        run: three_backends_follow_their_weights,
        needs: site::present,
    },
    Test {
        name: "haproxy_scales_weights_that_it_does_not_know",
        run: weights_beyond_its_own_keep_their_shares,
        needs: site::present,
    },
    Test {
        name: "haproxy_loses_no_request_while_servers_drain_and_go",
        run: drain_loses_no_request,
        needs: site::present,
    },
    Test {
        name: "haproxy_keeps_what_is_out_out_until_it_is_wanted",
        run: what_is_out_comes_back,
        needs: site::present,
    },
    Test {
        name: "haproxy_is_mended_where_somebody_has_meddled",
        run: somebodys_changes_are_mended,
        needs: site::present,
    },
    Test {
        name: "haproxy_is_mended_after_it_was_started_anew",
        run: a_new_life_is_mended,
        needs: site::present,
    },
    Test {
        name: "haproxy_gets_and_loses_servers_while_it_runs",
        run: servers_come_and_go,
        needs: site::present,
    },
    Test {
        name: "haproxy_keeps_a_connection_of_a_server_that_goes",
        run: a_connection_outlives_its_server,
        needs: site::present,
    },
    Test {
        name: "haproxy_loses_what_was_added_with_its_service",
        run: a_service_that_goes_takes_its_servers,
        needs: site::present,
    },
    Test { name: "haproxy_takes_a_thousand_servers", run: a_thousand_servers, needs: site::present },
];

const ONE: &str = "    default_backend pool";

fn tables<const N: usize>(all: [(&str, systole::director::table::Table); N]) -> Tables {
    all.map(|(name, table)| (name.to_owned(), table)).into()
}

/// Nobody listens there, and nobody is asked.
fn nowhere(port: u16) -> SocketAddr {
    ([127, 0, 0, 9], port).into()
}

fn near(count: Option<&usize>, of: usize, share: f64) {
    let count = *count.unwrap_or(&0);
    #[allow(clippy::cast_precision_loss, reason = "small numbers")]
    let found = count as f64 / of as f64;
    assert!((found - share).abs() <= 0.02, "{count} of {of} are {found:.3}, and not {share:.3}");
}

fn three_backends_follow_their_weights() {
    let names = ["default", "blog", "admin"];
    let webs = names.map(|name| [Web::start(&format!("{name}1")), Web::start(&format!("{name}2"))]);
    let section = |(name, [one, two]): (&str, &[Web; 2])| {
        // What the file says of weights is not what is wanted.
        let (one, two) = (one.at, two.at);
        format!(
            "backend {name}\n    balance roundrobin\n    server one {one} weight 9\n    server two {two} weight 9\n"
        )
    };
    let sections: Vec<String> = names.into_iter().zip(&webs).map(section).collect();
    let haproxy = Haproxy::start(
        "    use_backend blog if { path_beg /blog }\n    use_backend admin if { path_beg /admin }\n    default_backend default",
        &sections.concat(),
    );
    let socket = haproxy.socket();
    let pool = |index: usize, weights: [u32; 2]| {
        let [one, two] = &webs[index];
        let servers = [("one", one.at, Some(weights[0])), ("two", two.at, Some(weights[1]))];
        backend(&socket, names[index], &servers)
    };
    let wanted = tables([("a", pool(0, [50, 100])), ("b", pool(1, [50, 100])), ("c", pool(2, [50, 100]))]);
    let mut balancer = Balancer::new().unwrap();
    assert_eq!(balancer.settle(&wanted).unwrap(), [""; 0]);
    let judge = |weights: [[u32; 2]; 3]| {
        for ((path, name), [one, two]) in
            [("/", "default"), ("/blog", "blog"), ("/admin", "admin")].into_iter().zip(weights)
        {
            let counts = count(haproxy.port, path, 4_000);
            println!("  {path} {one}:{two} gave {counts:?} of 4000");
            near(counts.get(&format!("{name}1")), 4_000, f64::from(one) / f64::from(one + two));
            near(counts.get(&format!("{name}2")), 4_000, f64::from(two) / f64::from(one + two));
        }
    };
    judge([[50, 100]; 3]);
    // While it runs, one of them is wanted otherwise; the others stay.
    balancer.change("b", &pool(1, [150, 50])).unwrap();
    judge([[50, 100], [150, 50], [50, 100]]);
    assert_eq!(haproxy.servers("admin")["one"], format!("{} ready 50", webs[2][0].at));
}

fn weights_beyond_its_own_keep_their_shares() {
    let (one, two) = (Web::start("one"), Web::start("two"));
    let section = format!("backend pool\n    balance roundrobin\n    server one {}", one.at);
    let haproxy = Haproxy::start(ONE, &section);
    // The second is added: HAProxy says so in words, and this socket has a number before them.
    let servers = [("one", one.at, Some(15_000)), ("two", two.at, Some(60_000))];
    let mut balancer = Balancer::new().unwrap();
    balancer.settle(&tables([("a", backend(&haproxy.numbered_socket(), "pool", &servers))])).unwrap();
    assert!(haproxy.servers("pool")["one"].ends_with("ready 64"));
    let counts = count(haproxy.port, "/", 4_000);
    near(counts.get("one"), 4_000, 0.2);
    near(counts.get("two"), 4_000, 0.8);
}

fn drain_loses_no_request() {
    let (one, two) = (Web::start("one"), Web::start("two"));
    let haproxy =
        Haproxy::start(ONE, &format!("backend pool\n    balance roundrobin\n    server one {}\n", one.at));
    let (socket, mut balancer) = (haproxy.socket(), Balancer::new().unwrap());
    // The first stands in haproxy.cfg, the second does not.
    let pool = |first: Option<u32>, second: Option<u32>| {
        backend(&socket, "pool", &[("one", one.at, first), ("two", two.at, second)])
    };
    balancer.settle(&tables([("a", pool(Some(10), Some(10)))])).unwrap();
    let crowd = Crowd::start(haproxy.port);
    let mut quiet = 0;
    for _ in 0..5 {
        for (rests, goes, both) in [
            (pool(Some(0), Some(10)), pool(None, Some(10)), pool(Some(10), Some(10))),
            (pool(Some(10), Some(0)), pool(Some(10), None), pool(Some(10), Some(10))),
        ] {
            balancer.change("a", &rests).unwrap();
            thread::sleep(Duration::from_millis(100));
            let (first, second) = (one.asked(), two.asked());
            thread::sleep(Duration::from_millis(100));
            let (first, second) = (one.asked() - first, two.asked() - second);
            assert!(
                (first == 0) != (second == 0),
                "exactly one of them rests: {first} and {second} requests"
            );
            quiet += 1;
            balancer.change("a", &goes).unwrap();
            thread::sleep(Duration::from_millis(50));
            balancer.settle(&tables([("a", goes)])).unwrap();
            balancer.settle(&tables([("a", both)])).unwrap();
            let (first, second) = (one.asked(), two.asked());
            let again =
                wait_for(Span::seconds(5), || (one.asked() > first && two.asked() > second).then_some(()));
            assert!(again.is_some(), "both serve again: {:?}", haproxy.servers("pool"));
        }
    }
    let (asked, failures) = crowd.stop();
    println!("  {asked} requests while servers rested and went {quiet} times, {} failed", failures.len());
    assert_eq!(failures, [""; 0]);
    assert!(asked > 1_000);
}

fn what_is_out_comes_back() {
    let (one, two, other) = (Web::start("one"), Web::start("two"), Web::start("other"));
    let section = format!(
        "backend pool\n    balance roundrobin\n    server one {} disabled\n    server two {} weight 7\n    server mine {}",
        one.at, two.at, other.at
    );
    let haproxy = Haproxy::start(ONE, &section);
    let (socket, mut balancer) = (haproxy.socket(), Balancer::new().unwrap());
    let pool = |first, second| backend(&socket, "pool", &[("one", one.at, first), ("two", two.at, second)]);
    let told = balancer.settle(&tables([("a", pool(Some(3), None))])).unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].ends_with("left alone, because the service knows nothing of it: mine"), "{told:?}");
    let expected = [("mine", other.at, "ready 1"), ("one", one.at, "ready 3"), ("two", two.at, "maint 7")];
    let expected = expected.map(|(name, at, state)| (name.to_owned(), format!("{at} {state}")));
    assert_eq!(haproxy.servers("pool"), expected.into());
    // It is told of the stranger once.
    assert_eq!(balancer.settle(&tables([("a", pool(None, Some(5)))])).unwrap(), [""; 0]);
    assert_eq!(haproxy.servers("pool")["one"], format!("{} maint 3", one.at));
    assert_eq!(haproxy.servers("pool")["two"], format!("{} ready 5", two.at));
    // A server that moves is the same server.
    let moved = backend(&socket, "pool", &[("one", one.at, None), ("two", one.at, Some(5))]);
    balancer.change("a", &moved).unwrap();
    assert_eq!(haproxy.servers("pool")["two"], format!("{} ready 5", one.at));
    assert_eq!(count(haproxy.port, "/", 60)["one"], 50, "five of six: the stranger has the weight 1");
}

fn somebodys_changes_are_mended() {
    let (one, two) = (Web::start("one"), Web::start("two"));
    let section = format!("backend pool\n    balance roundrobin\n    server one {}\n", one.at);
    let haproxy = Haproxy::start(ONE, &section);
    let (socket, mut balancer) = (haproxy.socket(), Balancer::new().unwrap());
    let wanted = tables([(
        "a",
        backend(
            &socket,
            "pool",
            &[("one", one.at, Some(50)), ("out", nowhere(1), None), ("two", two.at, Some(9))],
        ),
    )]);
    assert_eq!(balancer.settle(&wanted).unwrap(), [""; 0]);
    let before = haproxy.servers("pool");
    let meddle = |balancer: &mut Balancer, commands: &str, expected: &[String]| {
        haproxy.say(commands);
        let told = balancer.settle(&wanted).unwrap();
        assert_eq!(told.len(), expected.len(), "{commands}: {told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with("service a, backend pool of ") && told.ends_with(expected), "{told}");
        }
        assert_eq!(haproxy.servers("pool"), before, "{commands}");
        assert_eq!(balancer.settle(&wanted).unwrap(), [""; 0]);
    };
    let changed = |name: &str, what: String| format!("somebody has changed server {name}: its {what}");
    meddle(
        &mut balancer,
        "set server pool/one weight 7;set server pool/two state drain",
        &[
            changed("one", "weight was 7, and is 50 again".to_owned()),
            changed("two", "state was drain, and is ready again".to_owned()),
        ],
    );
    let address = format!("address was 127.0.0.3 port 9, and is 127.0.0.1 port {} again", one.at.port());
    meddle(&mut balancer, "set server pool/one addr 127.0.0.3 port 9", &[changed("one", address)]);
    meddle(
        &mut balancer,
        "set server pool/two state maint;del server pool/two",
        &["server two was gone, and is added again".to_owned(), String::new(), String::new()],
    );
}

fn a_new_life_is_mended() {
    let (one, two) = (Web::start("one"), Web::start("two"));
    let section = format!(
        "backend pool\n    balance roundrobin\n    server one {}\n    server out {}",
        one.at,
        nowhere(1)
    );
    let mut haproxy = Haproxy::start(ONE, &section);
    let (socket, mut balancer) = (haproxy.socket(), Balancer::new().unwrap());
    let pool = |weight| {
        backend(
            &socket,
            "pool",
            &[("one", one.at, Some(weight)), ("two", two.at, Some(9)), ("out", nowhere(1), None)],
        )
    };
    let wanted = tables([("a", pool(50))]);
    balancer.settle(&wanted).unwrap();
    let before = haproxy.servers("pool");
    haproxy.stop();
    let why = balancer.settle(&wanted).unwrap_err().0;
    assert!(why.starts_with("service a: ") && why.contains("HAProxy does not run"), "{why}");
    assert!(why.contains(&format!("`stats socket {} level admin`", socket.display())), "{why}");
    assert!(balancer.change("a", &pool(50)).is_err());
    haproxy.start_again();
    let told = balancer.settle(&wanted).unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("HAProxy was started anew") && told[0].contains("3 of its servers"), "{told:?}");
    assert_eq!(haproxy.servers("pool"), before);
    // Nobody noticed that it was away: a change runs into it, and the next settling mends it.
    haproxy.start_again();
    let why = balancer.change(
        "a",
        &backend(
            &socket,
            "pool",
            &[("one", one.at, Some(50)), ("two", two.at, Some(8)), ("out", nowhere(1), None)],
        ),
    );
    assert!(why.unwrap_err().0.contains("was answered \"No such server.\""));
    let told = balancer.settle(&wanted).unwrap();
    assert!(told.len() == 1 && told[0].contains("HAProxy was started anew"), "{told:?}");
    assert_eq!(haproxy.servers("pool"), before);
}

fn servers_come_and_go() {
    let webs: Vec<Web> = (0..5).map(|index| Web::start(&format!("web{index}"))).collect();
    let haproxy = Haproxy::start(ONE, "backend pool\n    balance leastconn\n");
    let (socket, names) = (haproxy.socket(), ["web0", "web1", "web2", "web3", "web4"]);
    let pool = |present: &[usize]| {
        let server = |index: &usize| (names[*index], webs[*index].at, Some(10));
        backend(&socket, "pool", &present.iter().map(server).collect::<Vec<_>>())
    };
    let mut balancer = Balancer::new().unwrap();
    balancer.settle(&tables([("a", pool(&[0, 1]))])).unwrap();
    let crowd = Crowd::start(haproxy.port);
    for present in [&[0, 1, 2][..], &[1, 2, 3], &[2, 3, 4], &[0, 4], &[0, 1, 2, 3, 4], &[3]] {
        balancer.change("a", &pool(present)).unwrap();
        thread::sleep(Duration::from_millis(100));
        for (name, state) in haproxy.servers("pool") {
            let wanted = present.iter().any(|index| names[*index] == name);
            assert!(state.contains(if wanted { "ready 10" } else { "maint 10" }), "{name}: {state}");
        }
    }
    let (asked, failures) = crowd.stop();
    println!("  {asked} requests while servers came and went, {} failed", failures.len());
    assert_eq!(failures, [""; 0]);
    // Connections that HAProxy keeps for later count as well, for some seconds. A director that was started anew knows
    // what it may delete.
    let mut another = Balancer::new().unwrap();
    let wanted = tables([("a", pool(&[3]))]);
    let alone = wait_for(Span::seconds(20), || {
        assert_eq!(another.settle(&wanted).unwrap(), [""; 0]);
        (haproxy.servers("pool").len() == 1).then_some(())
    });
    assert!(alone.is_some(), "{:?}", haproxy.servers("pool"));
}

fn a_connection_outlives_its_server() {
    let (one, two) = (Web::start("one"), Web::start("two"));
    let section =
        format!("backend pool\n    balance roundrobin\n    http-reuse never\n    server one {}\n", one.at);
    let haproxy = Haproxy::start(ONE, &section);
    let (socket, mut balancer) = (haproxy.socket(), Balancer::new().unwrap());
    let pool = |first, second| backend(&socket, "pool", &[("one", one.at, first), ("two", two.at, second)]);
    balancer.settle(&tables([("a", pool(Some(0), Some(1)))])).unwrap();
    let port = haproxy.port;
    let slow = thread::spawn(move || Client::connect(port).get("/slow"));
    assert!(wait_for(Span::seconds(5), || (two.asked() > 0).then_some(())).is_some());
    let without = tables([("a", pool(Some(1), None))]);
    // It is out at once, and stays as long as somebody is being answered.
    assert_eq!(balancer.settle(&without).unwrap(), [""; 0]);
    assert!(haproxy.servers("pool")["two"].contains(" maint "), "{:?}", haproxy.servers("pool"));
    assert_eq!(Client::connect(port).get("/"), Ok("one".to_owned()));
    assert_eq!(balancer.settle(&without).unwrap(), [""; 0]);
    assert_eq!(haproxy.servers("pool").len(), 2);
    assert_eq!(slow.join().unwrap(), Ok("two".to_owned()));
    let gone = wait_for(Span::seconds(20), || {
        assert_eq!(balancer.settle(&without).unwrap(), [""; 0]);
        (haproxy.servers("pool").len() == 1).then_some(())
    });
    assert!(gone.is_some(), "{:?}", haproxy.servers("pool"));
}

fn a_service_that_goes_takes_its_servers() {
    let (one, two) = (Web::start("one"), Web::start("two"));
    let section = format!("backend pool\n    balance roundrobin\n    server one {}\n", one.at);
    let mut haproxy = Haproxy::start(ONE, &section);
    let (socket, mut balancer) = (haproxy.socket(), Balancer::new().unwrap());
    let pool = backend(&socket, "pool", &[("one", one.at, Some(40)), ("two", two.at, Some(9))]);
    balancer.settle(&tables([("a", pool.clone())])).unwrap();
    assert_eq!(haproxy.servers("pool").len(), 2);
    assert_eq!(balancer.settle(&Tables::new()).unwrap(), [""; 0]);
    let left = [("one".to_owned(), format!("{} ready 40", one.at))];
    assert_eq!(haproxy.servers("pool"), left.into());
    // And nobody asks again: whatever is at that socket now is not ours.
    haproxy.stop();
    fs::remove_file(&socket).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    assert_eq!(balancer.settle(&Tables::new()).unwrap(), [""; 0]);
    drop(listener);
    haproxy.start_again();
    // HAProxy that ends with its service is missed by nobody.
    balancer.settle(&tables([("a", pool)])).unwrap();
    haproxy.stop();
    assert_eq!(balancer.settle(&Tables::new()).unwrap(), [""; 0]);
}

fn a_thousand_servers() {
    let haproxy = Haproxy::start(ONE, "backend pool\n    balance roundrobin\n");
    let (socket, mut balancer) = (haproxy.socket(), Balancer::new().unwrap());
    let names: Vec<String> = (0..1_000).map(|index| format!("server{index}")).collect();
    let pool = |weight: Option<u32>, first: Option<u32>| {
        let weight = |index: usize| if index == 0 { first } else { weight };
        let server = |(index, name)| {
            (
                std::convert::identity::<&String>(name).as_str(),
                nowhere(u16::try_from(index + 1).unwrap()),
                weight(index),
            )
        };
        backend(&socket, "pool", &names.iter().enumerate().map(server).collect::<Vec<_>>())
    };
    let timed = |what: &str, work: &mut dyn FnMut()| {
        let began = now();
        work();
        println!("  {what}: {}", now() - began);
    };
    let settled = tables([("a", pool(Some(5), Some(5)))]);
    timed("1,000 servers are added", &mut || assert_eq!(balancer.settle(&settled).unwrap(), [""; 0]));
    timed("1,000 are as they should be", &mut || assert_eq!(balancer.settle(&settled).unwrap(), [""; 0]));
    timed("one of them is changed", &mut || balancer.change("a", &pool(Some(5), Some(6))).unwrap());
    timed("1,000 weights are changed", &mut || balancer.change("a", &pool(Some(7), Some(7))).unwrap());
    timed("1,000 drain", &mut || balancer.change("a", &pool(Some(0), Some(0))).unwrap());
    assert_eq!(haproxy.servers("pool").values().filter(|state| state.ends_with("drain 7")).count(), 1_000);
    timed("1,000 go", &mut || balancer.change("a", &pool(None, None)).unwrap());
    assert_eq!(haproxy.servers("pool").len(), 0);
}
