//! The instances of a cloned group: how they are shared out, and what a death moves.

use super::*;

fn instance(index: usize, count: usize) -> Instance {
    let number = |number: usize| u16::try_from(number).expect("there are few");
    Instance::new(GroupId::of("web"), number(index), number(count))
}

fn clones(count: usize) -> Vec<Group> {
    let instance =
        |index| Group { clone_of: Some(instance(index, count)), ..group(&format!("web:{index}"), &[]) };
    (0..count).map(instance).collect()
}

fn spread(lab: &Lab, count: usize) -> BTreeMap<String, usize> {
    let mut spread = BTreeMap::new();
    for holder in (0..count).filter_map(|index| lab.holder(&format!("web:{index}"))) {
        *spread.entry(holder).or_default() += 1;
    }
    spread
}

#[test]
fn clones_spread_evenly_and_the_death_of_a_node_moves_only_its_own() {
    let mut lab = settled(clones(6));
    let even = |count: usize| ["lb0", "lb1", "lb2"].map(|node| (node.to_owned(), count)).into();
    assert_eq!(spread(&lab, 6), even(2));
    let moves = lab.moves();
    lab.crash("lb2");
    lab.run_for(Span::seconds(3));
    assert_eq!(spread(&lab, 6), [("lb0".to_owned(), 3), ("lb1".to_owned(), 3)].into());
    assert_eq!(lab.moves() - moves, 2);
    lab.boot(NodeId::of("lb2"), 2);
    lab.run_for(Span::seconds(5));
    assert_eq!(spread(&lab, 6), even(2));
    assert_eq!(lab.moves() - moves, 4);
}

#[test]
fn instances_follow_weights_and_limits_whatever_else_the_nodes_own() {
    let weighted = |of: Instance| Instance { weights: [(NodeId::of("lb0"), 2)].into(), most: Some(6), ..of };
    let clones = clones(12).into_iter().map(|group| {
        let clone_of = group.clone_of.clone().map(weighted);
        Group { clone_of, ..group }
    });
    let others = (0..5).map(|number| group(&format!("mail{number}"), &["lb0"]));
    let mut lab = settled(clones.chain(others));
    let of = |lab: &Lab, node: &str| spread(lab, 12).get(node).copied().unwrap_or_default();
    assert_eq!(["lb0", "lb1", "lb2"].map(|node| of(&lab, node)), [6, 3, 3]);
    let before: Vec<_> = (0..12).map(|index| lab.holder(&format!("web:{index}"))).collect();
    lab.crash("lb2");
    lab.run_for(Span::seconds(20));
    assert_eq!(["lb0", "lb1"].map(|node| of(&lab, node)), [6, 6]);
    for (index, before) in before.iter().enumerate().filter(|(_, node)| node.as_deref() != Some("lb2")) {
        assert_eq!(lab.holder(&format!("web:{index}")), *before, "web:{index} has moved");
    }
    lab.crash("lb1");
    lab.run_for(Span::seconds(20));
    assert_eq!(spread(&lab, 12), BTreeMap::new(), "one of three has no majority");
}

#[test]
fn what_no_node_may_have_more_of_displaces_nothing_that_runs() {
    let limited = |group: Group| {
        let clone_of = group.clone_of.clone().map(|of| Instance { most: Some(5), ..of });
        Group { clone_of, ..group }
    };
    let mut lab = settled(clones(12).into_iter().map(limited));
    let before: Vec<_> = (0..12).map(|index| lab.holder(&format!("web:{index}"))).collect();
    let moves = lab.moves();
    lab.crash("lb2");
    lab.run_for(Span::seconds(20));
    assert_eq!(spread(&lab, 12), [("lb0".to_owned(), 5), ("lb1".to_owned(), 5)].into());
    assert_eq!(lab.moves() - moves, 2, "two are taken over, two nobody may have, and nothing else moves");
    for (index, before) in before.iter().enumerate().filter(|(_, node)| node.as_deref() != Some("lb2")) {
        assert_eq!(lab.holder(&format!("web:{index}")), *before, "web:{index}");
    }
    lab.boot(NodeId::of("lb2"), 2);
    lab.run_for(Span::seconds(5));
    assert_eq!(spread(&lab, 12).values().sum::<usize>(), 12);
}

#[test]
fn a_node_that_returns_waits_before_instances_move_to_it_and_without_failback_none_do() {
    let delayed = |group: Group| Group { failback_delay: Span::seconds(4), ..group };
    let lasting = |group: Group| Group { failback: false, ..group };
    for (change, in_the_end) in [(delayed as fn(Group) -> Group, [2, 2, 2]), (lasting, [3, 3, 0])] {
        let mut lab = settled(clones(6).into_iter().map(change));
        lab.run_for(Span::seconds(5));
        let of = |lab: &Lab| {
            let spread = spread(lab, 6);
            ["lb0", "lb1", "lb2"].map(|node| spread.get(node).copied().unwrap_or_default())
        };
        assert_eq!(of(&lab), [2, 2, 2]);
        lab.crash("lb2");
        lab.run_for(Span::seconds(3));
        lab.boot(NodeId::of("lb2"), 2);
        lab.run_for(Span::micros(3_900_000));
        assert_eq!(of(&lab), [3, 3, 0], "it has not been fit for as long as they wait");
        lab.run_for(Span::seconds(2));
        assert_eq!(of(&lab), in_the_end);
    }
}

/// What a status says before a plug is pulled is what happens afterwards.
#[test]
fn a_takeover_is_as_it_was_foretold() {
    for most in [None, Some(5)] {
        let limited = |group: Group| {
            let clone_of = group.clone_of.clone().map(|of| Instance { most, ..of });
            Group { clone_of, ..group }
        };
        let others = [group("mail", &["lb2", "lb1"]), group("dns", &[])];
        let mut lab = settled(clones(12).into_iter().map(limited).chain(others));
        let foretold = lab.cores[&NodeId::of("lb2")].takeovers();
        assert_eq!(foretold.len(), lab.cores[&NodeId::of("lb2")].claims().count());
        let nobody = foretold.values().filter(|taken| taken.is_err()).count();
        assert_eq!(nobody, most.map_or(0, |_| 2));
        lab.crash("lb2");
        lab.run_for(Span::seconds(20));
        for (group, taken) in foretold {
            let name = lab.config.groups[&group].name.clone();
            let holder = lab.holder(&name);
            let wanted = taken.ok().map(|node| lab.config.nodes[&node].name.clone());
            assert_eq!(holder, wanted, "{name}");
        }
    }
}
