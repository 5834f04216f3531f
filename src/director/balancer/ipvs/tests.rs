//! The balancer against tables that behave as the kernel's do, and refuse what it refuses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::slice::from_ref;
use std::sync::Arc;

use proptest::prelude::*;

use crate::config::{self, Balancer, Scheduler, Server, Transport, WhenDown};
use crate::net::ipvs::{Method, Statistics, SyncDaemon, SyncPath, SyncRole};
use crate::time::Span;

use super::*;

const WEB: At = at(80);
const MAIL: At = at(25);
const MARKED: At = At::Mark { mark: 7, v6: false };

const fn at(port: u16) -> At {
    At::Address { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), port, protocol: Transport::Tcp }
}

fn place(last: u8) -> (IpAddr, u16) {
    (IpAddr::from([10, 0, 0, last]), 8080)
}

fn to(last: u8, weight: u32) -> Destination {
    let (address, port) = place(last);
    let wrapping = Wrapping::default();
    Destination { address, port, method: Method::Nat, wrapping, weight, upper: 0, lower: 0 }
}

fn plain(at: At) -> Service {
    let (scheduler_flags, one_packet, engine) = ([false; 3], false, String::new());
    Service { at, scheduler: "wlc".into(), scheduler_flags, one_packet, persistence: None, engine }
}

fn holds(at: At, servers: &[(u8, u32)]) -> Held {
    let destinations = servers.iter().map(|(last, weight)| (place(*last), to(*last, *weight))).collect();
    Held { service: plain(at), destinations }
}

fn tables_of(services: &[Held]) -> Places {
    services.iter().map(|held| (held.service.at, held.clone())).collect()
}

fn one_diff(present: &Held, wanted: &Held) -> Vec<Step> {
    let at = wanted.service.at;
    diff(&tables_of(from_ref(present)), &tables_of(from_ref(wanted)), &BTreeSet::from([at]))
}

fn remove(at: At, last: u8) -> Step {
    let (address, port) = place(last);
    Step::Remove(at, address, port)
}

// --- the difference --------------------------------------------------------------------------------------------------

#[test]
fn what_is_as_wanted_takes_no_step() {
    let web = holds(WEB, &[(1, 1), (2, 0)]);
    assert_eq!(one_diff(&web, &web), []);
    assert_eq!(diff(&Places::new(), &Places::new(), &BTreeSet::new()), []);
}

#[test]
fn a_new_service_is_made_before_its_servers_are_added() {
    let steps = diff(&Places::new(), &tables_of(&[holds(WEB, &[(1, 1), (2, 5)])]), &BTreeSet::from([WEB]));
    assert_eq!(steps, [Step::Make(plain(WEB)), Step::Add(WEB, to(1, 1)), Step::Add(WEB, to(2, 5))]);
}

#[test]
fn a_service_that_is_wanted_otherwise_is_altered_and_its_servers_stay() {
    let present = holds(WEB, &[(1, 1)]);
    let persistence = Some(Persistence { timeout_seconds: 60, mask: 24 });
    for service in [
        Service { scheduler: "mh".into(), ..plain(WEB) },
        Service { scheduler_flags: [false, true, false], ..plain(WEB) },
        Service { one_packet: true, ..plain(WEB) },
        Service { persistence, ..plain(WEB) },
        Service { engine: "sip".into(), ..plain(WEB) },
    ] {
        let wanted = Held { service: service.clone(), ..present.clone() };
        assert_eq!(one_diff(&present, &wanted), [Step::Alter(service)]);
        assert_eq!(one_diff(&wanted, &present), [Step::Alter(plain(WEB))]);
    }
}

#[test]
fn a_server_that_is_wanted_otherwise_is_set_in_its_place() {
    let present = holds(WEB, &[(1, 3), (2, 3)]);
    let wrapping = Wrapping { kind: 2, ..Wrapping::default() };
    for wanted in [
        to(1, 0),
        to(1, 4),
        Destination { method: Method::Direct, ..to(1, 3) },
        Destination { upper: 100, ..to(1, 3) },
        Destination { upper: 100, lower: 10, ..to(1, 3) },
        Destination { wrapping, ..to(1, 3) },
    ] {
        let mut after = present.clone();
        after.destinations.insert(place(1), wanted.clone());
        assert_eq!(one_diff(&present, &after), [Step::Set(WEB, wanted)]);
    }
}

#[test]
fn who_comes_and_who_gets_more_is_before_who_gets_less_and_who_goes() {
    let present = holds(WEB, &[(1, 5), (2, 0), (3, 5), (9, 1)]);
    let wanted = holds(WEB, &[(1, 1), (2, 5), (3, 5), (4, 2)]);
    let steps =
        [Step::Add(WEB, to(4, 2)), Step::Set(WEB, to(2, 5)), Step::Set(WEB, to(1, 1)), remove(WEB, 9)];
    assert_eq!(one_diff(&present, &wanted), steps);
}

#[test]
fn a_service_of_ours_that_is_gone_is_deleted_last_and_a_foreign_one_is_left_alone() {
    let foreign = at(22);
    let present = tables_of(&[holds(MAIL, &[(1, 1)]), holds(foreign, &[(1, 1)]), holds(WEB, &[])]);
    let wanted = tables_of(&[holds(WEB, &[(1, 1)]), holds(MARKED, &[])]);
    let ours = BTreeSet::from([MAIL, WEB, MARKED, at(110)]);
    let steps = [Step::Add(WEB, to(1, 1)), Step::Make(plain(MARKED)), Step::Delete(MAIL)];
    assert_eq!(diff(&present, &wanted, &ours), steps);
}

fn any_held() -> impl Strategy<Value = Option<Held>> {
    let servers = proptest::collection::btree_map(1_u8..8, 0_u32..3, 0..7);
    proptest::option::of((servers, 0_u8..3).prop_map(|(servers, scheduler)| {
        let servers: Vec<_> = servers.into_iter().collect();
        let mut held = holds(WEB, &servers);
        held.service.scheduler = ["wlc", "rr", "mh"][usize::from(scheduler)].into();
        held
    }))
}

fn serving(places: &Places) -> usize {
    let held = places.get(&WEB);
    held.map_or(0, |held| held.destinations.values().filter(|to| to.weight > 0).count())
}

proptest! {
    #[test]
    fn the_steps_lead_there_and_no_moment_has_fewer_servers_than_before_or_after(
        before in any_held(), after in any_held(),
    ) {
        let before = tables_of(&before.into_iter().collect::<Vec<_>>());
        let after = tables_of(&after.into_iter().collect::<Vec<_>>());
        let ours = BTreeSet::from([WEB]);
        let mut places = before.clone();
        let fewest = serving(&before).min(serving(&after));
        for step in diff(&before, &after, &ours) {
            diff::record(&mut places, &step);
            prop_assert!(serving(&places) >= fewest, "{step:?}");
        }
        prop_assert_eq!(&places, &after);
        prop_assert_eq!(diff(&places, &after, &ours), Vec::new());
    }
}

// --- what the tables say ---------------------------------------------------------------------------------------------

fn server(last: u8) -> Server {
    let (address, port) = place(last);
    let (weight, limits, checks) = (1, (0, 0), Vec::new());
    Server { address, port, weight, forwarding: Forwarding::Nat, limits, checks }
}

fn configured(at: At) -> config::Service {
    config::Service {
        at,
        group: None,
        balancer: Balancer::Ipvs,
        scheduler: None,
        persistence: None,
        one_packet: false,
        servers: BTreeMap::new(),
        sorry: None,
        quorum: 1,
        hysteresis: 0,
        when_down: WhenDown::Remove,
        drain: Span::seconds(0),
    }
}

fn table_with(service: config::Service, servers: Vec<(Server, u32)>) -> Table {
    let entry = |(server, weight)| Entry { server: Arc::new(server), weight };
    let entries = (1..).map(|number: u32| format!("s{number}")).zip(servers.into_iter().map(entry)).collect();
    Table { service: Arc::new(service), entries }
}

fn table(at: At, servers: &[(u8, u32)]) -> Table {
    table_with(configured(at), servers.iter().map(|(last, weight)| (server(*last), *weight)).collect())
}

fn wanted(tables: &[(&str, Table)]) -> Tables {
    tables.iter().map(|(name, table)| ((*name).to_owned(), table.clone())).collect()
}

#[test]
fn a_service_is_what_its_configuration_says() {
    assert_eq!(held(&table(WEB, &[(1, 1), (2, 0)])), holds(WEB, &[(1, 1), (2, 0)]));
    let timeout = Span::millis(1_500);
    let service = config::Service {
        scheduler: Some(Scheduler { name: "sh".into(), flags: [true, false, false] }),
        persistence: Some(config::Persistence { timeout, mask: 24 }),
        one_packet: true,
        ..configured(MARKED)
    };
    let expected = Service {
        scheduler: "sh".into(),
        scheduler_flags: [true, false, false],
        // Of whole seconds it gets the next, and not none.
        persistence: Some(Persistence { timeout_seconds: 2, mask: 24 }),
        one_packet: true,
        ..plain(MARKED)
    };
    assert_eq!(held(&table_with(service.clone(), Vec::new())).service, expected);
    let persistence = Some(config::Persistence { timeout: Span::micros(0), mask: 24 });
    let service = config::Service { persistence, ..service };
    let seconds = held(&table_with(service, Vec::new())).service.persistence.unwrap().timeout_seconds;
    assert_eq!(seconds, 1, "0 would be none");
}

#[test]
fn a_server_is_what_its_configuration_says() {
    let limits = (100, 80);
    for (at, forwarding, method, port) in [
        (WEB, Forwarding::Nat, Method::Nat, 8080),
        // Nobody writes another port into these packets.
        (WEB, Forwarding::Direct, Method::Direct, 80),
        (WEB, Forwarding::Tunnel, Method::Tunnel, 80),
        (MARKED, Forwarding::Direct, Method::Direct, 8080),
        (MARKED, Forwarding::Nat, Method::Nat, 8080),
    ] {
        let held = held(&table_with(configured(at), vec![(Server { forwarding, limits, ..server(1) }, 9)]));
        let expected = Destination { method, port, upper: 100, lower: 80, ..to(1, 9) };
        assert_eq!(held.destinations.into_values().collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn two_names_for_one_server_are_one_destination() {
    for weights in [[(1, 5), (1, 0)], [(1, 0), (1, 5)]] {
        assert_eq!(held(&table(WEB, &weights)), holds(WEB, &[(1, 5)]));
    }
}

// --- settling --------------------------------------------------------------------------------------------------------

/// What can go wrong at one message.
type Wrong = Box<dyn FnMut(&Step) -> Option<i32> + Send>;

/// Tables that behave as the kernel's.
#[derive(Default)]
struct Fake {
    places: Places,
    looks: usize,
    done: Vec<Step>,
    wrong: Option<Wrong>,
    /// Changes by others, one between each two batches of ours.
    others: Vec<Vec<Step>>,
    lost: bool,
}

impl Fake {
    fn do_one(&mut self, step: &Step) -> Option<i32> {
        let place = self.places.get(&step.at());
        let error = match step {
            Step::Make(_) => place.map(|_| libc::EEXIST),
            Step::Alter(_) | Step::Delete(_) => place.is_none().then_some(libc::ESRCH),
            Step::Add(_, to) => match place {
                None => Some(libc::ESRCH),
                Some(held) => held.destinations.contains_key(&diff::place(to)).then_some(libc::EEXIST),
            },
            Step::Set(_, Destination { address, port, .. }) | Step::Remove(_, address, port) => match place {
                None => Some(libc::ESRCH),
                Some(held) => (!held.destinations.contains_key(&(*address, *port))).then_some(libc::ENOENT),
            },
        };
        let error = self.wrong.as_mut().and_then(|wrong| wrong(step)).or(error);
        if error.is_none() {
            diff::record(&mut self.places, step);
        }
        error
    }

    fn by_another(&mut self, step: Step) {
        diff::record(&mut self.places, &step);
    }
}

impl KernelTables for Fake {
    fn find_again(&mut self) -> Result<(), OpenError> {
        Ok(())
    }

    fn services(&mut self) -> io::Result<Vec<ServiceSeen>> {
        let seen =
            |held: &Held| ServiceSeen { service: held.service.clone(), statistics: Statistics::default() };
        Ok(self.places.values().map(seen).collect())
    }

    fn service(&mut self, at: At) -> io::Result<Option<ServiceSeen>> {
        self.looks += 1;
        Ok(self.services()?.into_iter().find(|seen| seen.service.at == at))
    }

    fn destinations(&mut self, at: At) -> io::Result<Vec<DestinationSeen>> {
        self.looks += 1;
        let statistics = Statistics::default();
        let seen = |destination: Destination| DestinationSeen {
            destination,
            active: 0,
            inactive: 0,
            persistent: 0,
            statistics,
        };
        let held = self.places.get(&at).map(|held| held.destinations.values().cloned().map(seen).collect());
        Ok(held.unwrap_or_default())
    }

    fn apply(&mut self, steps: &[Step]) -> io::Result<Vec<(usize, io::Error)>> {
        if let Some(others) = (!self.others.is_empty()).then(|| self.others.remove(0)) {
            others.into_iter().for_each(|step| self.by_another(step));
        }
        self.done.extend_from_slice(steps);
        let failed: Vec<_> =
            steps.iter().enumerate().filter_map(|(at, step)| Some((at, self.do_one(step)?))).collect();
        if self.lost {
            return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
        }
        Ok(failed.into_iter().map(|(at, error)| (at, io::Error::from_raw_os_error(error))).collect())
    }
}

fn balancer(present: &[Held], earlier: &[At]) -> Ipvs<Fake> {
    let fake = Fake { places: tables_of(present), ..Fake::default() };
    Ipvs::with(fake, earlier.iter().copied().collect())
}

#[test]
fn it_settles_and_then_has_nothing_more_to_do() {
    let mut ipvs = balancer(&[], &[]);
    let tables = wanted(&[("web", table(WEB, &[(1, 1), (2, 1)])), ("mail", table(MAIL, &[(1, 1)]))]);
    assert_eq!(ipvs.settle(&tables), Ok(vec![]));
    assert_eq!(ipvs.kernel.places, tables_of(&[holds(WEB, &[(1, 1), (2, 1)]), holds(MAIL, &[(1, 1)])]));
    ipvs.kernel.done.clear();
    assert_eq!(ipvs.settle(&tables), Ok(vec![]));
    assert_eq!(ipvs.kernel.done, []);
    assert_eq!(*ipvs.ours(), BTreeSet::from([WEB, MAIL]));
}

#[test]
fn what_is_wanted_no_more_goes_and_is_ours_no_more() {
    let mut ipvs = balancer(&[], &[]);
    let both = wanted(&[("web", table(WEB, &[(1, 1)])), ("mail", table(MAIL, &[(1, 1)]))]);
    ipvs.settle(&both).unwrap();
    assert_eq!(ipvs.settle(&wanted(&[("web", table(WEB, &[(1, 1)]))])), Ok(vec![]));
    assert_eq!(ipvs.kernel.places, tables_of(&[holds(WEB, &[(1, 1)])]));
    assert_eq!(*ipvs.ours(), BTreeSet::from([WEB]));
    // Somebody makes one in its place: it is his.
    ipvs.kernel.by_another(Step::Make(plain(MAIL)));
    assert_eq!(ipvs.settle(&wanted(&[("web", table(WEB, &[(1, 1)]))])), Ok(vec![]));
    assert!(ipvs.kernel.places.contains_key(&MAIL));
}

#[test]
fn what_an_earlier_life_left_goes_unless_it_is_wanted_and_nobody_is_blamed() {
    let left = [holds(WEB, &[(1, 1), (9, 1)]), holds(MAIL, &[(1, 1)]), holds(at(22), &[(1, 1)])];
    let mut ipvs = balancer(&left, &[WEB, MAIL, at(110)]);
    assert_eq!(ipvs.settle(&wanted(&[("web", table(WEB, &[(1, 1)]))])), Ok(vec![]));
    assert_eq!(ipvs.kernel.done, [remove(WEB, 9), Step::Delete(MAIL)]);
    assert_eq!(*ipvs.ours(), BTreeSet::from([WEB]), "the one on port 110 has been gone before");
}

#[test]
fn a_foreign_service_is_not_even_looked_into_and_one_in_our_place_is_taken_over() {
    let mut ipvs = balancer(&[holds(at(22), &[(1, 1)]), holds(WEB, &[(5, 5)])], &[]);
    assert_eq!(ipvs.settle(&wanted(&[("web", table(WEB, &[(1, 1)]))])), Ok(vec![]));
    assert_eq!(ipvs.kernel.looks, 1);
    assert_eq!(ipvs.kernel.places, tables_of(&[holds(at(22), &[(1, 1)]), holds(WEB, &[(1, 1)])]));
}

#[test]
fn what_others_change_is_told_and_mended() {
    let mut ipvs = balancer(&[], &[]);
    let tables = wanted(&[
        ("web", table(WEB, &[(1, 3), (2, 3), (3, 3)])),
        ("mail", table(MAIL, &[(1, 1)])),
        ("marked", table(MARKED, &[(1, 1)])),
    ]);
    ipvs.settle(&tables).unwrap();
    let before = ipvs.kernel.places.clone();
    let persistence = Some(Persistence { timeout_seconds: 60, mask: 32 });
    for step in [
        remove(WEB, 1),
        Step::Set(WEB, Destination { method: Method::Direct, upper: 7, ..to(2, 9) }),
        Step::Add(WEB, to(4, 1)),
        Step::Delete(MAIL),
        Step::Alter(Service { scheduler: "rr".into(), persistence, ..plain(MARKED) }),
    ] {
        ipvs.kernel.by_another(step);
    }
    let web = "service web (tcp 192.0.2.1:80)";
    let told = vec![
        "somebody else has deleted service mail (tcp 192.0.2.1:25)".to_owned(),
        format!("somebody else has removed server 10.0.0.1:8080 from {web}"),
        format!(
            "somebody else has changed server 10.0.0.2:8080 of {web}: weight 9 in place of 3, forwarding direct in place of \
             nat, upper limit 7 in place of 0"
        ),
        format!("somebody else has added server 10.0.0.4:8080 to {web}"),
        "somebody else has changed service marked (mark 7): scheduler rr in place of wlc, persistence 60 s with mask 32 in \
         place of none"
            .to_owned(),
    ];
    assert_eq!(ipvs.settle(&tables), Ok(told));
    assert_eq!(ipvs.kernel.places, before);
    assert_eq!(ipvs.settle(&tables), Ok(vec![]));
}

#[test]
fn what_others_change_is_told_even_if_it_is_wanted_otherwise_by_now() {
    let mut ipvs = balancer(&[], &[]);
    ipvs.settle(&wanted(&[("web", table(WEB, &[(1, 3)]))])).unwrap();
    ipvs.kernel.by_another(Step::Set(WEB, to(1, 8)));
    let told = "somebody else has changed server 10.0.0.1:8080 of service web (tcp 192.0.2.1:80): weight 8 in place of 3";
    assert_eq!(ipvs.settle(&wanted(&[("shop", table(WEB, &[(1, 8)]))])), Ok(vec![told.to_owned()]));
}

#[test]
fn a_change_is_its_own_steps_and_no_look() {
    let mut ipvs = balancer(&[], &[]);
    ipvs.settle(&wanted(&[("web", table(WEB, &[(1, 3), (2, 3)])), ("mail", table(MAIL, &[(1, 1)]))]))
        .unwrap();
    (ipvs.kernel.looks, ipvs.kernel.done) = (0, Vec::new());
    ipvs.change("web", &table(WEB, &[(1, 3), (2, 0)])).unwrap();
    ipvs.change("web", &table(WEB, &[(1, 3), (2, 0)])).unwrap();
    ipvs.change("web", &table(WEB, &[(1, 3)])).unwrap();
    assert_eq!(ipvs.kernel.done, [Step::Set(WEB, to(2, 0)), remove(WEB, 2)]);
    assert_eq!(ipvs.kernel.looks, 0);
    let tables = wanted(&[("web", table(WEB, &[(1, 3)])), ("mail", table(MAIL, &[(1, 1)]))]);
    assert_eq!(ipvs.settle(&tables), Ok(vec![]), "our own changes are not somebody else's");
}

#[test]
fn a_change_of_what_was_never_settled_looks_first() {
    let mut ipvs = balancer(&[holds(WEB, &[(7, 1)])], &[]);
    ipvs.change("web", &table(WEB, &[(1, 3)])).unwrap();
    ipvs.change("mail", &table(MAIL, &[(1, 3)])).unwrap();
    assert_eq!(ipvs.kernel.places, tables_of(&[holds(WEB, &[(1, 3)]), holds(MAIL, &[(1, 3)])]));
    assert_eq!(*ipvs.ours(), BTreeSet::from([WEB, MAIL]));
}

#[test]
fn a_change_of_the_place_makes_the_new_one_before_the_old_one_goes() {
    let mut ipvs = balancer(&[], &[]);
    ipvs.settle(&wanted(&[("web", table(WEB, &[(1, 3)])), ("mail", table(MAIL, &[(1, 3)]))])).unwrap();
    ipvs.kernel.done.clear();
    ipvs.change("web", &table(at(8080), &[(1, 3)])).unwrap();
    assert_eq!(
        ipvs.kernel.done,
        [Step::Make(plain(at(8080))), Step::Add(at(8080), to(1, 3)), Step::Delete(WEB)]
    );
    assert_eq!(*ipvs.ours(), BTreeSet::from([MAIL, at(8080)]));
    // A place that has another name by now stays.
    ipvs.change("post", &table(MAIL, &[(1, 3)])).unwrap();
    ipvs.change("mail", &table(at(26), &[(1, 3)])).unwrap();
    assert!(ipvs.kernel.places.contains_key(&MAIL));
}

#[test]
fn a_change_finds_what_others_did_and_only_they_are_blamed_at_the_next_settling() {
    let mut ipvs = balancer(&[], &[]);
    ipvs.settle(&wanted(&[("web", table(WEB, &[(1, 3), (2, 3)]))])).unwrap();
    ipvs.kernel.by_another(remove(WEB, 2));
    ipvs.change("web", &table(WEB, &[(1, 5), (2, 5)])).unwrap();
    assert_eq!(ipvs.kernel.places, tables_of(&[holds(WEB, &[(1, 5), (2, 5)])]));
    ipvs.kernel.by_another(Step::Delete(WEB));
    ipvs.change("web", &table(WEB, &[(1, 5), (2, 6)])).unwrap();
    let told = [
        "somebody else has removed server 10.0.0.2:8080 from service web (tcp 192.0.2.1:80)",
        "somebody else has deleted service web (tcp 192.0.2.1:80)",
    ];
    let tables = wanted(&[("web", table(WEB, &[(1, 5), (2, 6)]))]);
    assert_eq!(ipvs.settle(&tables).unwrap(), told);
    assert_eq!(ipvs.settle(&tables).unwrap(), [""; 0]);
}

#[test]
fn a_change_that_others_were_quicker_with_or_made_impossible_is_made() {
    let mut ipvs = balancer(&[], &[]);
    ipvs.settle(&wanted(&[("web", table(WEB, &[(1, 3), (2, 3)]))])).unwrap();
    (ipvs.kernel.looks, ipvs.kernel.done) = (0, Vec::new());
    ipvs.kernel.by_another(remove(WEB, 2));
    ipvs.change("web", &table(WEB, &[(1, 3)])).unwrap();
    assert_eq!((ipvs.kernel.looks, ipvs.kernel.done.len()), (0, 1), "it is gone, as it should be");
    ipvs.kernel.by_another(Step::Delete(WEB));
    ipvs.change("web", &table(WEB, &[(1, 3), (3, 3)])).unwrap();
    assert_eq!(ipvs.kernel.places, tables_of(&[holds(WEB, &[(1, 3), (3, 3)])]));
    ipvs.kernel.by_another(Step::Add(WEB, to(4, 1)));
    ipvs.change("web", &table(WEB, &[(1, 3), (3, 3), (4, 3)])).unwrap();
    assert_eq!(ipvs.kernel.places, tables_of(&[holds(WEB, &[(1, 3), (3, 3), (4, 3)])]));
}

#[test]
fn who_changes_something_between_look_and_step_is_followed_and_not_for_ever() {
    let mut ipvs = balancer(&[], &[]);
    let tables = wanted(&[("web", table(WEB, &[(1, 3), (2, 3)]))]);
    ipvs.kernel.others = vec![vec![Step::Make(plain(WEB)), Step::Add(WEB, to(1, 1))]];
    ipvs.settle(&tables).unwrap();
    assert_eq!(ipvs.kernel.places, tables_of(&[holds(WEB, &[(1, 3), (2, 3)])]));
    // One who always deletes what was made.
    ipvs.kernel.wrong = Some(Box::new(|step| matches!(step, Step::Set(..)).then_some(libc::ENOENT)));
    let error = ipvs.settle(&wanted(&[("web", table(WEB, &[(1, 4)]))])).unwrap_err().0;
    let why = "server 10.0.0.1:8080: somebody else changes its service at the same time";
    assert_eq!(error, format!("IPVS: service web (tcp 192.0.2.1:80): {why}"));
    ipvs.kernel.wrong = None;
    ipvs.settle(&wanted(&[("web", table(WEB, &[(1, 4)]))])).unwrap();
    assert_eq!(ipvs.kernel.places, tables_of(&[holds(WEB, &[(1, 4)])]));
}

#[test]
fn a_step_that_is_refused_stops_no_other_service_and_is_tried_again() {
    let mut ipvs = balancer(&[], &[]);
    let scheduler = Some(Scheduler { name: "best".into(), flags: [false; 3] });
    let best = config::Service { scheduler, ..configured(MAIL) };
    let tables = wanted(&[
        ("web", table(WEB, &[(1, 3)])),
        ("mail", table_with(best, vec![(server(1), 1), (server(2), 1)])),
    ]);
    let unknown = |step: &Step| {
        let is_it = matches!(step, Step::Make(service) if service.scheduler == "best");
        is_it.then_some(libc::ENOENT)
    };
    ipvs.kernel.wrong = Some(Box::new(unknown));
    let error = ipvs.settle(&tables).unwrap_err().0;
    let why = "this kernel has no scheduler \"best\", nor a module ip_vs_best";
    assert_eq!(error, format!("IPVS: service mail (tcp 192.0.2.1:25): {why}"));
    assert_eq!(ipvs.kernel.places, tables_of(&[holds(WEB, &[(1, 3)])]));
    let makes =
        ipvs.kernel.done.iter().filter(|step| step.at() == MAIL && matches!(step, Step::Make(_))).count();
    assert_eq!(makes, 1, "what follows from a refusal is nobody else's doing");
    ipvs.kernel.wrong = None;
    assert_eq!(ipvs.settle(&tables), Ok(vec![]));
    assert_eq!(ipvs.kernel.places.len(), 2);
}

#[test]
fn a_service_that_cannot_be_deleted_stays_ours() {
    let mut ipvs = balancer(&[], &[]);
    ipvs.settle(&wanted(&[("web", table(WEB, &[]))])).unwrap();
    ipvs.kernel.wrong = Some(Box::new(|step| matches!(step, Step::Delete(_)).then_some(libc::EPERM)));
    ipvs.settle(&Tables::new()).unwrap_err();
    assert!(ipvs.ours().contains(&WEB));
    ipvs.kernel.wrong = None;
    ipvs.settle(&Tables::new()).unwrap();
    assert!(ipvs.ours().is_empty() && ipvs.kernel.places.is_empty());
}

#[test]
fn when_answers_are_lost_the_next_change_looks_and_nobody_is_blamed() {
    let mut ipvs = balancer(&[], &[]);
    ipvs.settle(&wanted(&[("web", table(WEB, &[(1, 3)]))])).unwrap();
    ipvs.kernel.lost = true;
    ipvs.change("web", &table(WEB, &[(2, 3)])).unwrap_err();
    ipvs.kernel.lost = false;
    ipvs.change("web", &table(WEB, &[(2, 4)])).unwrap();
    assert_eq!(ipvs.kernel.places, tables_of(&[holds(WEB, &[(2, 4)])]));
    assert_eq!(ipvs.settle(&wanted(&[("web", table(WEB, &[(2, 4)]))])), Ok(vec![]));
}

// --- the words -------------------------------------------------------------------------------------------------------

#[test]
fn a_refusal_says_what_to_look_for() {
    let v6 = Destination { address: IpAddr::V6(Ipv6Addr::LOCALHOST), ..to(1, 1) };
    let limits = Destination { upper: 1, lower: 2, ..to(1, 3) };
    for (step, error, part) in [
        (Step::Add(WEB, v6), libc::EINVAL, "server [::1]:8080: it is of another family than its service"),
        (
            Step::Add(WEB, to(1, 1)),
            libc::EINVAL,
            "server 10.0.0.1:8080: the kernel takes 10.0.0.1 for no address",
        ),
        (Step::Set(WEB, limits), libc::ERANGE, "weight 3 or limits 1 and 2 are out of range"),
        (Step::Add(WEB, to(1, 1)), libc::ENOMEM, "Cannot allocate memory"),
        (Step::Make(plain(WEB)), libc::EPERM, "only root may change it: it takes CAP_NET_ADMIN"),
        (Step::Make(plain(WEB)), libc::EAFNOSUPPORT, "this kernel's IPVS has no IPv6"),
        (Step::Delete(WEB), libc::EPERM, "it cannot be deleted"),
    ] {
        let failed = [(step, io::Error::from_raw_os_error(error))];
        let words = words::refused(&failed, |at| words::service(Some("web"), at)).0;
        assert!(
            words.starts_with("IPVS: service web (tcp 192.0.2.1:80): ") && words.contains(part),
            "{words}"
        );
    }
    let failed: Vec<_> =
        (1..=5).map(|port| (Step::Delete(at(port)), io::Error::from_raw_os_error(libc::EPERM))).collect();
    let words = words::refused(&failed, |at| words::service(None, at)).0;
    assert!(words.ends_with("; and 2 more services"), "{words}");
}

#[test]
fn a_daemon_that_does_not_start_says_why() {
    let (interface, path) = ("eth9".to_owned(), SyncPath::default());
    let daemon = SyncDaemon { role: SyncRole::Sends, interface, id: 3, path };
    for (error, why) in [
        (libc::ENODEV, "there is no interface eth9"),
        (libc::EADDRNOTAVAIL, "interface eth9 has no address of IPv4"),
        (libc::EINVAL, "a service has servers of another family"),
        (libc::EPERM, "only root may"),
        (libc::ENOMEM, "over eth9 with number 3: "),
    ] {
        let words = sync::refused(&daemon, &io::Error::from_raw_os_error(error)).0;
        let begins = format!("IPVS: the daemon that sends connections does not start: {why}");
        assert!(words.starts_with(&begins), "{words}");
    }
}
