//! Who does not hear whom: two that do not hear each other while a third hears both, and an arbiter that is cut off.

use std::collections::BTreeSet;

use super::cluster::{CROSS, Cluster, DEADTIME, LAN};
use super::faults::{assert_none_twice, pass, whole_again};
use super::overlap::watch;

/// Each two of three voters are deaf to each other, or one of them to the other, while the third hears both and is heard.
/// Everybody has a majority still, so nothing moves. Then one of the two dies, and its buckets do.
pub(crate) fn pairs_apart(count: usize) {
    let mut cluster = Cluster::start(count, "");
    let (nodes, voters) = (cluster.nodes.clone(), cluster.everybody());
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    cluster.settle(&nodes);
    let watch = watch(&cluster);
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let (one, other) = (&voters[one], &voters[other]);
        for deaf in [vec![(one, other), (other, one)], vec![(one, other)], vec![(other, one)]] {
            let before = cluster.owners();
            for (ears, to) in &deaf {
                cluster.deafen(ears, to);
            }
            for (ears, to) in &deaf {
                cluster.wait_until("who is not heard is dead there", |cluster| is_dead(cluster, ears, to));
            }
            // Long enough for a lease to end and for another to be won.
            pass(&mut cluster, DEADTIME * 3);
            assert_eq!(cluster.owners(), before, "{deaf:?} do not hear each other, and something has moved");
            cluster.lab.machine_mut(one).unwrap().kill().unwrap();
            let all = before.len();
            cluster.wait_until("the others keep all", |cluster| {
                let kept = cluster.kept();
                kept[one].is_empty() && kept.values().map(BTreeSet::len).sum::<usize>() == all
            });
            for (ears, _) in &deaf {
                cluster.undeafen(ears);
            }
            cluster.boot(one);
            cluster.settle(&nodes);
        }
    }
    assert_none_twice(&watch.finish().unwrap());
}

/// As one daemon sees another.
fn is_dead(cluster: &Cluster, ears: &str, to: &str) -> bool {
    let output = cluster.ask(ears, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let nodes = status["nodes"].as_array().unwrap();
    nodes.iter().any(|node| node["name"] == to && node["liveness"] == "dead")
}

/// Two nodes go on without their arbiter; with it one of them loses its majority, and so does the other.
pub(crate) fn the_arbiter_is_cut_off() {
    let nodes = ["lb0", "lb1"];
    let mut cluster = Cluster::start(2, "");
    cluster.settle(&nodes);
    let watch = watch(&cluster);
    let before = cluster.owners();
    for networks in [&[LAN][..], &[CROSS], &[LAN, CROSS]] {
        for network in networks {
            cluster.lab.cut("witness", network).unwrap();
        }
        pass(&mut cluster, DEADTIME * 3);
        assert_eq!(cluster.owners(), before, "without {networks:?} of the arbiter something has moved");
        whole_again(&mut cluster, "witness", &nodes);
        assert_eq!(
            cluster.owners(),
            before,
            "{networks:?} of the arbiter came back, and something has moved"
        );
    }
    for node in nodes {
        for cut_off in ["witness", node] {
            cluster.lab.cut(cut_off, LAN).unwrap();
            cluster.lab.cut(cut_off, CROSS).unwrap();
        }
        cluster.wait_until("nobody has a majority, and nobody keeps anything", |cluster| {
            cluster.kept().values().all(BTreeSet::is_empty)
        });
        // The other alone takes nothing, however long it waits.
        pass(&mut cluster, DEADTIME * 3);
        assert!(cluster.owners().is_empty());
        // With the arbiter the other has a majority again, and everything.
        let other = nodes.into_iter().find(|other| *other != node).unwrap();
        whole_again(&mut cluster, "witness", &[other]);
        whole_again(&mut cluster, node, &nodes);
    }
    assert_none_twice(&watch.finish().unwrap());
}
