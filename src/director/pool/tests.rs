//! The pool, told what happened and asked what is wanted.

use std::collections::BTreeSet;

use super::*;
use crate::config::parse_toml;
use crate::types::NodeId;

const HEAD: &str = "[cluster]\n[node.a]\n[node.b]\n[link.x]\ninterface = \"x\"\nbroadcast = true\n\
                    [[group.web.resource]]\nagent = \"vip\"\nargs = [\"192.0.2.1/24/x\"]\n";

fn services(text: &str) -> Services {
    parse_toml("x", &format!("{HEAD}{text}")).unwrap_or_else(|report| panic!("{report}")).config.services
}

/// Two servers, one of which weighs 3.
fn two(more: &str) -> Services {
    services(&format!(
        "[service.web]\naddress = \"192.0.2.1:80\"\n{more}\ncheck = {{ kind = \"tcp\", rise = 2, fall = 3 }}\n\
         [service.web.server.one]\naddress = \"10.0.0.1:80\"\nweight = 3\n\
         [service.web.server.two]\naddress = \"10.0.0.2:80\"\n"
    ))
}

fn at(seconds: u64) -> Span {
    Span::seconds(seconds)
}

fn well() -> Verdict {
    Verdict::Well { answer: "connected".to_owned(), weight: None }
}

fn bad() -> Verdict {
    Verdict::Bad("refused".to_owned())
}

impl Pool {
    /// Each probe of this address is answered so.
    fn all(&mut self, address: &str, verdict: &Verdict, now: Span) -> Changes {
        let address: IpAddr = address.parse().unwrap();
        let ids: Vec<_> =
            self.probes().filter(|(_, probe)| probe.address == address).map(|(id, _)| id).collect();
        assert!(!ids.is_empty());
        let mut changes = Changes::default();
        for id in ids {
            let more = self.hear(id, verdict.clone(), Span::millis(1), now);
            changes.tables.extend(more.tables);
            changes.events.extend(more.events);
        }
        changes
    }

    /// Who is in the table.
    fn shares(&self) -> Vec<(String, u32)> {
        let table = self.table("web").unwrap();
        table.entries.into_iter().map(|(name, entry)| (name, entry.weight)).collect()
    }
}

fn started(services: &Services) -> Pool {
    let mut pool = Pool::new(Memory::default());
    pool.serve(services, at(0));
    pool.all("10.0.0.1", &well(), at(1));
    pool.all("10.0.0.2", &well(), at(1));
    pool
}

fn weight(name: &str, weight: u32) -> (String, u32) {
    (name.to_owned(), weight)
}

#[test]
fn nothing_is_wanted_before_everybody_was_asked_and_the_first_answer_decides() {
    let mut pool = Pool::new(Memory::default());
    pool.serve(&two(""), at(0));
    assert_eq!((pool.table("web"), pool.next_tick()), (None, Some(PATIENCE)));
    let changes = pool.all("10.0.0.1", &well(), at(1));
    assert_eq!(
        changes.events,
        [Event::Up { service: "web".to_owned(), server: "one".to_owned(), after: None }]
    );
    assert_eq!(pool.table("web"), None);
    let changes = pool.all("10.0.0.2", &bad(), at(1));
    assert_eq!((changes.events.len(), changes.tables), (1, BTreeSet::from(["web".to_owned()])));
    assert_eq!((pool.shares(), pool.next_tick()), (vec![weight("one", 3)], None));
}

#[test]
fn nobody_is_waited_for_for_ever_and_whoever_comes_later_is_in_when_he_has_answered() {
    let mut pool = Pool::new(Memory::default());
    pool.serve(&two(""), at(0));
    pool.all("10.0.0.1", &well(), at(1));
    assert_eq!(pool.tick(at(4)), Changes::default());
    assert!(pool.tick(at(5)).tables.contains("web"));
    assert_eq!(pool.shares(), [weight("one", 3)]);
    pool.all("10.0.0.2", &well(), at(6));
    assert_eq!(pool.shares(), [weight("one", 3), weight("two", 1)]);
}

#[test]
fn it_takes_as_many_answers_in_a_row_as_the_check_says() {
    let mut pool = started(&two(""));
    for _ in 0..5 {
        assert_eq!(pool.all("10.0.0.2", &bad(), at(2)), Changes::default());
        assert_eq!(pool.all("10.0.0.2", &bad(), at(2)), Changes::default());
        assert_eq!(pool.all("10.0.0.2", &well(), at(2)), Changes::default());
    }
    pool.all("10.0.0.2", &bad(), at(3));
    pool.all("10.0.0.2", &bad(), at(3));
    let changes = pool.all("10.0.0.2", &bad(), at(3));
    assert!(matches!(&changes.events[..], [Event::Down { why, .. }] if why == "refused"), "{changes:?}");
    assert_eq!(pool.shares(), [weight("one", 3)]);
    assert_eq!(pool.all("10.0.0.2", &well(), at(9)), Changes::default());
    assert_eq!(pool.all("10.0.0.2", &bad(), at(9)), Changes::default());
    pool.all("10.0.0.2", &well(), at(10));
    let changes = pool.all("10.0.0.2", &well(), at(10));
    assert!(
        matches!(changes.events[..], [Event::Up { after: Some(after), .. }] if after == Span::seconds(7))
    );
    assert_eq!(pool.shares(), [weight("one", 3), weight("two", 1)]);
}

#[test]
fn a_quiesced_server_keeps_its_place_without_a_weight() {
    let mut pool = started(&two("when-down = \"quiesce\""));
    for _ in 0..3 {
        pool.all("10.0.0.2", &bad(), at(2));
    }
    assert_eq!(pool.shares(), [weight("one", 3), weight("two", 0)]);
}

#[test]
fn somebody_else_answers_while_too_few_are_well_and_until_enough_are_again() {
    let mut pool = started(&two("sorry = \"10.0.0.9:80\"\nquorum = 3\nhysteresis = 1"));
    for _ in 0..3 {
        pool.all("10.0.0.2", &bad(), at(2));
    }
    // Three are left, which is not below two.
    assert_eq!(pool.shares(), [weight("one", 3)]);
    let mut events = Vec::new();
    for _ in 0..3 {
        events.extend(pool.all("10.0.0.1", &bad(), at(2)).events);
    }
    assert!(events.contains(&Event::TooFew { service: "web".to_owned(), sorry: true }), "{events:?}");
    assert_eq!(pool.shares(), [weight("(sorry)", 1)]);
    for _ in 0..2 {
        pool.all("10.0.0.1", &well(), at(3));
    }
    // Three are less than four: it has no new connections yet, and keeps those it has.
    assert_eq!(pool.shares(), [weight("(sorry)", 1), weight("one", 0)]);
    pool.all("10.0.0.2", &well(), at(3));
    let changes = pool.all("10.0.0.2", &well(), at(3));
    assert!(changes.events.contains(&Event::Enough { service: "web".to_owned() }));
    assert_eq!(pool.shares(), [weight("one", 3), weight("two", 1)]);
}

#[test]
fn without_somebody_else_the_few_go_on() {
    let mut pool = started(&two("quorum = 4"));
    for _ in 0..3 {
        pool.all("10.0.0.2", &bad(), at(2));
    }
    assert_eq!(pool.shares(), [weight("one", 3)]);
    assert!(!pool.view(at(3)).services[0].has_enough);
}

/// The later ones are further back.
fn orders(all: &[(Option<&str>, &str, ServerWish)]) -> BTreeMap<ServersId, ServerOrder> {
    let order = |(number, (service, word, wish)): (u64, &(Option<&str>, &str, ServerWish))| {
        (ServersId::of(*service, word), ServerOrder { number, by: NodeId::of("a"), wish: *wish })
    };
    (1..).zip(all).map(order).collect()
}

#[test]
fn a_drained_server_ends_what_it_has_and_is_then_gone_until_it_is_wanted_again() {
    let mut pool = started(&two("drain = \"30s\""));
    pool.obey(orders(&[]), at(9));
    let drained = orders(&[(None, "10.0.0.1", ServerWish::Drain)]);
    let changes = pool.obey(drained.clone(), at(10));
    assert!(changes.tables.contains("web"));
    assert_eq!(pool.shares(), [weight("one", 0), weight("two", 1)]);
    assert_eq!(pool.next_tick(), Some(at(40)));
    // To say it again, in whatever words, gives no more time.
    assert_eq!(pool.obey(drained.clone(), at(20)), Changes::default());
    pool.obey(orders(&[(Some("web"), "one", ServerWish::Drain)]), at(39));
    assert_eq!(pool.tick(at(39)), Changes::default());
    assert!(pool.tick(at(40)).tables.contains("web"));
    assert_eq!((pool.shares(), pool.next_tick()), (vec![weight("two", 1)], None));
    // Another life is told, and gives it no time: nobody knows for how long it has been so.
    let mut next = Pool::new(Memory::default());
    next.obey(drained, at(50));
    next.serve(&two(""), at(50));
    next.all("10.0.0.1", &well(), at(51));
    next.all("10.0.0.2", &well(), at(51));
    assert_eq!(next.shares(), [weight("two", 1)]);
    next.obey(orders(&[]), at(52));
    assert_eq!(next.shares(), [weight("one", 3), weight("two", 1)]);
}

#[test]
fn of_two_orders_for_one_server_the_later_holds_in_whatever_words() {
    let mut pool = started(&two(""));
    let weighs = |service, word, weight| (service, word, ServerWish::Weight(weight));
    let mut all = Vec::new();
    for (order, weighs_now) in [
        (weighs(Some("web"), "one", 10), 10),
        (weighs(None, "10.0.0.1", 20), 20),
        (weighs(Some("web"), "10.0.0.1", 30), 30),
        (weighs(None, "one", 40), 40),
        (weighs(Some("other"), "one", 50), 40),
    ] {
        all.push(order);
        pool.obey(orders(&all), at(3));
        assert_eq!(pool.shares(), [weight("one", weighs_now), weight("two", 1)]);
    }
}

#[test]
fn a_weight_that_is_ordered_comes_before_that_of_the_check() {
    let mut pool = started(&two(""));
    pool.all("10.0.0.1", &Verdict::Well { answer: String::new(), weight: Some(20) }, at(2));
    assert_eq!(pool.shares(), [weight("one", 20), weight("two", 1)]);
    pool.obey(orders(&[(None, "one", ServerWish::Weight(5))]), at(3));
    assert_eq!(pool.shares(), [weight("one", 5), weight("two", 1)]);
    pool.obey(orders(&[]), at(3));
    assert_eq!(pool.shares(), [weight("one", 20), weight("two", 1)]);
}

#[test]
fn whoever_is_configured_no_more_has_time_to_end_what_he_has() {
    let mut pool = started(&two("drain = \"30s\""));
    let one =
        services("[service.web]\naddress = \"192.0.2.1:80\"\ndrain = \"20s\"\nservers = [\"10.0.0.3\"]\n");
    pool.serve(&one, at(100));
    assert_eq!(pool.shares(), [weight("one", 0), weight("two", 0)]);
    pool.all("10.0.0.3", &well(), at(101));
    assert_eq!(pool.shares(), [weight("10.0.0.3", 1), weight("one", 0), weight("two", 0)]);
    // One of them is wanted again.
    pool.serve(&two(""), at(110));
    pool.all("10.0.0.1", &well(), at(111));
    assert_eq!(pool.shares(), [weight("10.0.0.3", 0), weight("one", 3)]);
    let changes = pool.serve(&Services::new(), at(120));
    assert_eq!((changes.tables.len(), pool.table("web")), (1, None));
    assert_eq!(pool.probes().count(), 0);
}

#[test]
fn what_is_known_outlives_a_reload_that_does_not_touch_it() {
    let mut pool = started(&two(""));
    for _ in 0..3 {
        pool.all("10.0.0.2", &bad(), at(2));
    }
    let probes: Vec<_> = pool.probes().map(|(id, _)| id).collect();
    let changes = pool.serve(&two(""), at(3));
    assert_eq!(changes, Changes::default());
    assert_eq!(probes, pool.probes().map(|(id, _)| id).collect::<Vec<_>>());
    let changes = pool.serve(&two("scheduler = \"rr\""), at(3));
    assert_eq!((changes.tables.len(), changes.events.len()), (1, 0));
    assert_eq!(pool.shares(), [weight("one", 3)]);
}

#[test]
fn services_that_check_the_same_share_the_check() {
    let both = services(
        "[service.a]\naddress = \"192.0.2.1:80\"\nservers = [\"10.0.0.1:80\"]\n\
         [service.b]\naddress = \"192.0.2.1:81\"\nservers = [\"10.0.0.1:80\"]\n",
    );
    let mut pool = Pool::new(Memory::default());
    pool.serve(&both, at(0));
    assert_eq!(pool.probes().count(), 1);
    let changes = pool.all("10.0.0.1", &bad(), at(1));
    assert_eq!((changes.tables.len(), changes.events.len()), (2, 4));
}

#[test]
fn a_server_that_nobody_checks_is_well() {
    let unchecked =
        services("[service.web]\naddress = \"192.0.2.1:80\"\nservers = [\"10.0.0.1\"]\ncheck = false\n");
    let mut pool = Pool::new(Memory::default());
    pool.serve(&unchecked, at(0));
    assert_eq!(pool.shares(), [weight("10.0.0.1", 1)]);
}

#[test]
fn an_answer_to_what_is_not_asked_any_more_changes_nothing() {
    let mut pool = started(&two(""));
    let (id, _) = pool.probes().next().unwrap();
    let id = ProbeId(id.0);
    pool.serve(&Services::new(), at(2));
    assert_eq!(pool.hear(id, bad(), Span::ZERO, at(3)), Changes::default());
}

#[test]
fn what_cannot_be_asked_from_here_changes_nothing() {
    let mut pool = started(&two(""));
    for _ in 0..9 {
        assert_eq!(pool.all("10.0.0.1", &Verdict::untold("too many open files"), at(2)), Changes::default());
    }
    assert_eq!(pool.shares(), [weight("one", 3), weight("two", 1)]);
    let view = pool.view(at(3));
    let answer = view.services[0].servers[0].checks[0].answer.clone();
    assert_eq!(answer.as_deref(), Some("cannot check from here: too many open files"));
}

#[test]
fn a_server_of_a_service_has_it_in_its_kernel_only_while_it_holds_it() {
    let services = services(
        "[service.direct]\naddress = \"192.0.2.1:80\"\nforwarding = \"direct\"\ncheck = false\n\
         servers = [\"192.0.2.11\", \"192.0.2.12\"]\n\
         [service.nat]\naddress = \"192.0.2.1:81\"\ncheck = false\nservers = [\"192.0.2.11\"]\n",
    );
    let own = |address: IpAddr| address.to_string() == "192.0.2.11";
    let (here, elsewhere) = (BTreeSet::from([GroupId::of("web")]), BTreeSet::new());
    let mut pool = Pool::new(Memory::default());
    pool.serve(&services, at(1));
    let has = |pool: &Pool, name: &str| pool.wish(name).unwrap().1.is_some();
    assert!(pool.withhold(&here, own).tables.is_empty());
    assert!(has(&pool, "direct") && has(&pool, "nat"));
    assert_eq!(pool.withhold(&elsewhere, own).tables, BTreeSet::from(["direct".to_owned()]));
    assert!(!has(&pool, "direct") && has(&pool, "nat"));
    let view = pool.view(at(2));
    let shown = |name: &str| view.services.iter().find(|one| one.name == name).unwrap();
    assert!(shown("direct").is_withheld && shown("direct").servers.iter().all(|one| one.weight.is_none()));
    assert!(!shown("nat").is_withheld);
    assert!(pool.withhold(&elsewhere, own).tables.is_empty(), "nothing is new");
    assert_eq!(pool.withhold(&here, own).tables, BTreeSet::from(["direct".to_owned()]));
    assert!(has(&pool, "direct"));
    assert!(pool.withhold(&elsewhere, |_| false).tables.is_empty(), "another machine's address");
}
