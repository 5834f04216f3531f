//! Whether a bucket is ever kept by two nodes at once, as the kernels tell.
//!
//! Kernels cannot be read at one moment. So each is read in turn, again and again, and what a kernel keeps in two of its
//! readings it kept between: whoever keeps the same in a reading that lies between these two, keeps it at the same time.

use std::collections::{BTreeMap, BTreeSet};

use nix::sys::signal::Signal;
use systole::lab::{Stop, Work, clock};
use systole::net::nft::{Batch, Family, Nftables};
use systole::time::Span;

use super::cluster::{Bucket, Cluster, kept_by};

const BETWEEN: Span = Span::micros(500);

/// What was kept at some moment between two.
struct Reading {
    began: Span,
    ended: Span,
    kept: BTreeSet<Bucket>,
}

/// A bucket that two nodes kept at once.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Overlap {
    pub(crate) bucket: Bucket,
    pub(crate) nodes: [String; 2],
}

/// What was found, and how often each kernel was read.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) overlaps: BTreeSet<Overlap>,
    pub(crate) rounds: usize,
}

/// Looks on, until it is asked what it has found.
pub(crate) fn watch(cluster: &Cluster) -> Work<Found> {
    let open = |node: &String| {
        let space = cluster.lab.machine(node).unwrap().space();
        (node.clone(), space.run(|| Nftables::open("systole").unwrap()))
    };
    let kernels: Vec<(String, Nftables)> = cluster.nodes.iter().map(open).collect();
    let space = cluster.lab.machine(&cluster.nodes[0]).unwrap().space();
    space.work("overlaps", move |stop| look(kernels, stop)).unwrap()
}

fn look(mut kernels: Vec<(String, Nftables)>, stop: &Stop) -> Found {
    let mut found = Found::default();
    let mut last: BTreeMap<String, Reading> = BTreeMap::new();
    while !stop.is_set() {
        for (node, kernel) in &mut kernels {
            let began = clock::now();
            let kept = kept_by(kernel);
            let reading = Reading { began, ended: clock::now(), kept };
            if let Some(before) = last.get(node) {
                let others = last.iter().filter(|(other, _)| *other != node);
                for (other, between) in others {
                    if between.began < before.ended || between.ended > reading.began {
                        continue;
                    }
                    let both = before.kept.intersection(&reading.kept);
                    for bucket in both.filter(|bucket| between.kept.contains(bucket)) {
                        let nodes = [node.clone(), other.clone()];
                        found.overlaps.insert(Overlap { bucket: *bucket, nodes });
                    }
                }
            }
            last.insert(node.clone(), reading);
        }
        found.rounds += 1;
        // Whoever reads all the time keeps the daemons from writing.
        clock::wait(BETWEEN);
    }
    found
}

/// A check that cannot fail shows nothing: another node's bucket is put into a kernel, for half a second.
pub(crate) fn a_bucket_kept_twice_is_found() {
    let mut cluster = Cluster::start(3, "");
    cluster.settle(&["lb0", "lb1", "lb2"]);
    let (bucket, owner) = cluster.owners().into_iter().next().unwrap();
    let thief = cluster.nodes.iter().find(|node| **node != owner).unwrap().clone();
    // Its own daemon would take it away again.
    cluster.lab.machine_mut(&thief).unwrap().signal_all(Signal::SIGSTOP).unwrap();
    let watch = watch(&cluster);
    let space = cluster.lab.machine(&thief).unwrap().space();
    space.run(move || {
        let mut kernel = Nftables::open("systole").unwrap();
        let mut batch: Batch = kernel.batch();
        let key = systole::net::nft::Key::numbered(bucket.0, bucket.1);
        batch.add(Family::Ip, "buckets", &[key], Some(500));
        kernel.commit(batch, None).unwrap();
    });
    cluster.wait_until("it is over", |cluster| !cluster.kept()[&thief].contains(&bucket));
    let found = watch.finish().unwrap();
    println!("    {} rounds; found: {:?}", found.rounds, found.overlaps);
    assert!(found.overlaps.iter().any(|overlap| overlap.bucket == bucket), "{:?}", found.overlaps);
    assert!(found.overlaps.iter().all(|overlap| overlap.bucket == bucket), "{:?}", found.overlaps);
}
