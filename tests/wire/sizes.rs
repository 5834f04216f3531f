//! How many bytes a beat takes: `cargo test --test wire sizes -- --nocapture` prints the tables.

use systole::wire::{Datagram, body, limits};

use crate::beats;

/// A peer that is heard: its hash, and three numbers of five bytes.
const BYTES_PER_NODE: f64 = 20.0;
/// A group that is claimed and granted: its hash twice, two epochs, phase and length of the lease.
const BYTES_PER_GROUP: f64 = 21.0;
/// What each further part says again, spread over the bytes it carries.
const PARTS: f64 = 56.0 / 1_344.0;

fn sealed(nodes: usize, groups: usize) -> Vec<Datagram> {
    beats::alice().seal(&beats::healthy(nodes, groups, 10_000_000)).expect("within the limits")
}

fn bytes(datagrams: &[Datagram]) -> usize {
    datagrams.iter().map(Vec::len).sum()
}

#[test]
fn a_beat_of_8_nodes_and_32_groups_fits_one_datagram_at_its_worst() {
    let datagrams = sealed(8, 32);
    println!("8 nodes, 32 groups, all held and granted by one: {} bytes", bytes(&datagrams));
    assert_eq!(datagrams.len(), 1);
}

#[test]
fn beats_grow_by_a_bounded_number_of_bytes_for_each_node_and_group() {
    let counts = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1_000];
    println!(
        "\n| nodes | groups | datagrams | bytes | a node | a group |\n| --- | --- | --- | --- | --- | --- |"
    );
    for pair in counts.windows(2) {
        let (fewer, more) = (pair[0], pair[1]);
        let base = bytes(&sealed(fewer, fewer)) as f64;
        let growth = |nodes, groups| (bytes(&sealed(nodes, groups)) as f64 - base) / (more - fewer) as f64;
        let (per_node, per_group) = (growth(more, fewer), growth(fewer, more));
        let datagrams = sealed(more, more);
        let (parts, total) = (datagrams.len(), bytes(&datagrams));
        println!("| {more} | {more} | {parts} | {total} | {per_node:.1} | {per_group:.1} |");
        // Where a part begins, its header is one step of 56 bytes.
        let step = 56.0 / (more - fewer) as f64;
        assert!(per_node <= BYTES_PER_NODE * (1.0 + PARTS) + step, "{more} nodes: {per_node}");
        assert!(per_group <= BYTES_PER_GROUP * (1.0 + PARTS) + step, "{more} groups: {per_group}");
        assert!(datagrams.iter().all(|datagram| datagram.len() <= limits::DATAGRAM_BYTES));
    }
}

#[test]
fn numbers_of_variable_size_save_more_than_a_quarter() {
    println!("\n| nodes | groups | body, standard | body, legacy |\n| --- | --- | --- | --- |");
    for (nodes, groups) in [(2, 1), (2, 8), (8, 32), (128, 128)] {
        let beat = beats::healthy(nodes, groups, 10_000_000);
        let mut standard = Vec::new();
        body::encode(&beat, &mut standard).expect("within the limits");
        let (standard, legacy) = (standard.len(), body::legacy_bytes(&beat));
        println!("| {nodes} | {groups} | {standard} | {legacy} |");
        assert!(standard * 4 < legacy * 3, "{standard} of {legacy}");
    }
}
