//! What HAProxy has, what it shall have, and the steps from one to the other. Pure: here nothing is said, and nothing heard.
//!
//! Formats: the answer to `show servers state`, version 1, of HAProxy's management guide.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::director::table::Table;
use crate::types::hash_name;

/// HAProxy knows no greater weight.
pub(super) const WEIGHT_MOST: u32 = 256;

/// Servers that were added here have ids from here on, which HAProxy gives nobody by itself. So they are known again when
/// nobody remembers them any more, and no server of haproxy.cfg is ever deleted.
const FIRST_ID: u32 = 1 << 30;
/// Their ids end with the hash of their names: with consistent hashing a server's place comes from its id, and so a server
/// that is added again, or on another node, has the clients that it had. HAProxy counts 4,096 places to an id, in 32 bits.
const ID_MASK: u32 = (1 << 20) - 1;

/// The bits of the administrative state that somebody has set, not HAProxy by itself.
const FORCED_MAINTENANCE: u32 = 0x01;
const FORCED_DRAIN: u32 = 0x08;

/// A server of a backend, as HAProxy has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Present {
    /// HAProxy's own number for it.
    pub(super) id: u32,
    /// It was added here, and stands in no haproxy.cfg.
    pub(super) added: bool,
    /// `None`: it has none, as a server behind a unix socket.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) state: State,
    pub(super) weight: u32,
}

/// What a server may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// It gets connections.
    Ready,
    /// It keeps those that it has.
    Drain,
    /// It is out.
    Maint,
}

impl State {
    /// HAProxy's word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

/// A server that shall be in the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// As HAProxy counts; 0: it drains.
    pub(super) weight: u32,
}

/// What one service wants of its backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// By name.
    pub(super) servers: BTreeMap<String, Wanted>,
    /// Servers with these names are the service's, also while they are not wanted.
    pub(super) ours: BTreeSet<String>,
    /// And so is the one here, whatever haproxy.cfg calls it: it answers only while the others do not.
    pub(super) sorry: Option<SocketAddr>,
}

impl Share {
    /// Whether nobody else has a say in this server.
    pub(super) fn has(&self, name: &str, there: &Present) -> bool {
        let at = there.address.map(|address| SocketAddr::new(address, there.port));
        there.added || self.ours.contains(name) || (at.is_some() && at == self.sorry)
    }
}

/// One change. In the order in which they are made: whoever is to serve serves before anybody goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A server that is not there; it begins in maintenance.
    Add {
        server: String,
        at: SocketAddr,
        id: u32,
    },
    Address {
        server: String,
        at: SocketAddr,
    },
    Weight {
        server: String,
        weight: u32,
    },
    State {
        state: State,
        server: String,
    },
    /// One that was added here, and is in maintenance.
    Delete {
        server: String,
    },
}

impl Step {
    /// Whom it is about.
    pub(super) fn server(&self) -> &str {
        match self {
            Self::Add { server, .. }
            | Self::Address { server, .. }
            | Self::Weight { server, .. }
            | Self::State { server, .. }
            | Self::Delete { server } => server,
        }
    }

    /// As HAProxy is told. Names have been looked at by [`name_fault`].
    pub(super) fn command(&self, backend: &str) -> String {
        match self {
            Self::Add { server, at, id } => format!("add server {backend}/{server} {at} id {id}"),
            Self::Address { server, at } => {
                format!("set server {backend}/{server} addr {} port {}", at.ip(), at.port())
            }
            Self::Weight { server, weight } => format!("set server {backend}/{server} weight {weight}"),
            Self::State { server, state } => {
                format!("set server {backend}/{server} state {}", state.word())
            }
            Self::Delete { server } => format!("del server {backend}/{server}"),
        }
    }
}

/// What an answer to a step means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Done,
    /// Not yet: there are connections.
    Later,
    Failed,
}

/// HAProxy has no codes, only words: those of 2.6 and 3.0.
pub(super) fn judge(step: &Step, answer: &str) -> Judged {
    let begins = |words: &[&str]| words.iter().any(|word| answer.starts_with(word));
    let done = match step {
        Step::Weight { .. } | Step::State { .. } => answer.is_empty(),
        Step::Add { .. } => begins(&["New server registered"]),
        Step::Address { .. } => begins(&["IP changed", "port changed", "no need to change"]),
        Step::Delete { .. } => {
            if begins(&["Server still has connections", "Only servers in maintenance mode"]) {
                return Judged::Later;
            }
            begins(&["Server deleted", "No such server"])
        }
    };
    if done { Judged::Done } else { Judged::Failed }
}

/// The steps from what is there to what shall be. Whoever is neither wanted nor ours is left alone.
pub(super) fn diff(present: &BTreeMap<String, Present>, share: &Share) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut ids: BTreeSet<u32> = present.values().map(|server| server.id).collect();
    for (name, wanted) in &share.servers {
        let server = || name.clone();
        let at = SocketAddr::new(wanted.address, wanted.port);
        // A server that is added has HAProxy's usual weight, and waits in maintenance.
        let (weight, state) = match present.get(name) {
            None => {
                let id = free_id(name, &ids);
                ids.insert(id);
                steps.push(Step::Add { server: server(), at, id });
                (1, State::Maint)
            }
            Some(there) => {
                if there.address != Some(wanted.address) || there.port != wanted.port {
                    steps.push(Step::Address { server: server(), at });
                }
                (there.weight, there.state)
            }
        };
        let shall = if wanted.weight == 0 { State::Drain } else { State::Ready };
        // What drains keeps its weight: it means nothing, and comes back with the next one.
        if wanted.weight != 0 && weight != wanted.weight {
            steps.push(Step::Weight { server: server(), weight: wanted.weight });
        }
        if state != shall {
            steps.push(Step::State { server: server(), state: shall });
        }
    }
    let unwanted = present.iter().filter(|(name, _)| !share.servers.contains_key(*name));
    for (name, there) in unwanted.filter(|(name, there)| share.has(name, there)) {
        if there.state != State::Maint {
            steps.push(Step::State { server: name.clone(), state: State::Maint });
        }
        if there.added {
            steps.push(Step::Delete { server: name.clone() });
        }
    }
    steps.sort();
    steps
}

/// What is there when a step has been made.
pub(super) fn make(present: &mut BTreeMap<String, Present>, step: &Step) {
    if let Step::Add { server, at, id } = step {
        let added = Present {
            id: *id,
            added: true,
            address: Some(at.ip()),
            port: at.port(),
            state: State::Maint,
            weight: 1,
        };
        present.insert(server.clone(), added);
        return;
    }
    let Some(there) = present.get_mut(step.server()) else { return };
    match step {
        Step::Add { .. } => {}
        Step::Address { at, .. } => (there.address, there.port) = (Some(at.ip()), at.port()),
        Step::Weight { weight, .. } => there.weight = *weight,
        Step::State { state, .. } => there.state = *state,
        Step::Delete { server } => {
            present.remove(server);
        }
    }
}

/// An id for a server that is added: the same for the same name, as long as nobody has it.
fn free_id(name: &str, taken: &BTreeSet<u32>) -> u32 {
    let first = hash_name(name);
    let ids = (0..=ID_MASK).map(|more| FIRST_ID | (first.wrapping_add(more) & ID_MASK));
    ids.into_iter().find(|id| !taken.contains(id)).unwrap_or(FIRST_ID)
}

/// What a table wants of HAProxy. Weights above HAProxy's greatest are scaled down together, measured by the greatest
/// that is configured, so that the others do not move when that one goes: the shares stay, as far as whole numbers can
/// have them, and nobody's weight becomes 0, which would mean something else.
pub(super) fn share(table: &Table) -> Share {
    let configured = table.service.servers.values().map(|server| server.weight);
    let greatest = configured.chain(table.entries.values().map(|entry| entry.weight)).max().unwrap_or(0);
    let servers = table.entries.iter().map(|(name, entry)| {
        let weight = scale(entry.weight, greatest);
        (name.clone(), Wanted { address: entry.server.address, port: entry.server.port, weight })
    });
    let names = table.service.servers.keys().chain(table.entries.keys());
    let sorry = table.service.sorry.as_ref().map(|server| SocketAddr::new(server.address, server.port));
    Share { servers: servers.collect(), ours: names.cloned().collect(), sorry }
}

fn scale(weight: u32, greatest: u32) -> u32 {
    if weight == 0 || greatest <= WEIGHT_MOST {
        return weight;
    }
    let (weight, greatest) = (u64::from(weight), u64::from(greatest));
    let scaled = (weight * u64::from(WEIGHT_MOST) + greatest / 2) / greatest;
    u32::try_from(scaled).map_or(WEIGHT_MOST, |scaled| scaled.clamp(1, WEIGHT_MOST))
}

/// The answer to `show servers state BACKEND`, by the servers' names.
pub(super) fn parse(answer: &str) -> Result<BTreeMap<String, Present>, String> {
    let mut lines = answer.lines();
    let first = lines.next().unwrap_or_default();
    if first.starts_with("Can't find backend") {
        return Err("haproxy.cfg has no such backend: write `backend NAME` with the same name".to_owned());
    }
    if first != "1" {
        let said = super::talk::cut(first);
        return Err(format!(
            "HAProxy writes the state of its servers in a way that is not known here (it begins with \"{said}\" and not with \"1\"): this HAProxy is newer than what was tried"
        ));
    }
    let head = lines.next().and_then(|line| line.strip_prefix('#')).unwrap_or_default();
    let columns: Vec<&str> = head.split_whitespace().collect();
    let mut found = BTreeMap::new();
    for line in lines.filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let fields: BTreeMap<&str, &str> = columns.iter().copied().zip(line.split(' ')).collect();
        let (name, server) = server(&fields).ok_or_else(|| {
            format!("HAProxy wrote a line that is no server's: \"{}\"", super::talk::cut(line))
        })?;
        found.insert(name, server);
    }
    Ok(found)
}

fn server(fields: &BTreeMap<&str, &str>) -> Option<(String, Present)> {
    let number = |name: &str| fields.get(name)?.parse::<u32>().ok();
    let id = number("srv_id")?;
    let admin = number("srv_admin_state")?;
    let state = if admin & FORCED_MAINTENANCE != 0 {
        State::Maint
    } else if admin & FORCED_DRAIN != 0 {
        State::Drain
    } else {
        State::Ready
    };
    let server = Present {
        id,
        added: id & !ID_MASK == FIRST_ID && number("srv_f_forced_id")? == 1,
        address: fields.get("srv_addr")?.parse().ok(),
        port: u16::try_from(number("srv_port")?).ok()?,
        state,
        weight: number("srv_uweight")?,
    };
    Some(((*fields.get("srv_name")?).to_owned(), server))
}

/// Which life of HAProxy this is, of the answer to `show info`; what was set in another is gone.
pub(super) fn life(answer: &str) -> String {
    let is_of_it = |line: &&str| line.starts_with("Pid:") || line.starts_with("Start_time_sec:");
    answer.lines().filter(is_of_it).collect::<Vec<_>>().join(" ")
}

/// Why HAProxy cannot call anything so; `None` if it can. Whatever else stood in a command would be one of its own.
pub(super) fn name_fault(name: &str) -> Option<String> {
    let bad = name.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.' | ':'));
    match bad {
        Some(bad) => Some(format!("{bad:?} cannot stand in a name of HAProxy's, as in {name:?}")),
        None => name.is_empty().then(|| "a name of HAProxy's cannot be empty".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{At, Balancer, Forwarding, Server, Service, Transport, WhenDown};
    use crate::director::table::Entry;
    use crate::time::Span;

    const HEAD: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n";

    fn there(state: State, weight: u32, port: u16, added: bool) -> Present {
        let id = if added { FIRST_ID | u32::from(port) } else { u32::from(port) };
        Present { id, added, address: Some([127, 0, 0, 1].into()), port, state, weight }
    }

    fn wanted(weight: u32, port: u16) -> Wanted {
        Wanted { address: [127, 0, 0, 1].into(), port, weight }
    }

    fn wants(servers: &[(&str, Wanted)], ours: &[&str]) -> Share {
        let servers = servers.iter().map(|(name, wanted)| ((*name).to_owned(), *wanted)).collect();
        Share { servers, ours: ours.iter().map(|name| (*name).to_owned()).collect(), sorry: None }
    }

    fn has(servers: &[(&str, Present)]) -> BTreeMap<String, Present> {
        servers.iter().map(|(name, there)| ((*name).to_owned(), there.clone())).collect()
    }

    fn commands(present: &BTreeMap<String, Present>, share: &Share) -> Vec<String> {
        diff(present, share).iter().map(|step| step.command("b")).collect()
    }

    fn machine(weight: u32) -> Arc<Server> {
        let (address, limits) = ([127, 0, 0, 1].into(), (0, 0));
        Arc::new(Server {
            address,
            port: 80,
            weight,
            forwarding: Forwarding::Nat,
            limits,
            checks: Vec::new(),
        })
    }

    fn table(weights: &[(&str, u32, Option<u32>)]) -> Table {
        let service = Service {
            at: At::Address { address: [127, 0, 0, 1].into(), port: 80, protocol: Transport::Tcp },
            group: None,
            balancer: Balancer::Haproxy { socket: "/socket".into(), backend: "b".to_owned() },
            scheduler: None,
            persistence: None,
            one_packet: false,
            servers: weights.iter().map(|(name, weight, _)| ((*name).to_owned(), machine(*weight))).collect(),
            sorry: None,
            quorum: 1,
            hysteresis: 0,
            when_down: WhenDown::Remove,
            drain: Span::ZERO,
        };
        let entry = |(name, weight, now): &(&str, u32, Option<u32>)| {
            now.map(|now| ((*name).to_owned(), Entry { server: machine(*weight), weight: now }))
        };
        Table { service: Arc::new(service), entries: weights.iter().filter_map(entry).collect() }
    }

    #[test]
    fn the_state_of_servers_is_read_as_2_6_and_3_0_write_it() {
        let text = format!(
            "{HEAD}3 b 1 one 127.0.0.1 2 0 50 50 1 1 0 2 0 0 0 0 - 9001 - 0 0 - - 0\n\
             3 b 2 off 127.0.0.1 0 5 1 1 1 1 0 0 8 0 0 0 - 1 - 0 0 - - 0\n\
             3 b 3 two ::1 0 8 100 100 1 8 2 0 6 0 0 0 - 9002 - 0 0 - - 0\n\
             3 b 4 file - 2 0 1 1 1 1 0 2 0 0 0 0 - 0 - 0 0 - - 0\n\
             3 b 1073741829 added 127.0.0.1 0 1 20 20 0 1 0 0 0 0 0 1 - 9004 - 0 0 - - 0\n\
             3 b 1073741830 odd 127.0.0.1 0 0 20 20 0 1 0 0 0 0 0 0 - 9004 - 0 0 - - 0\n"
        );
        let found = parse(&text).unwrap();
        let of = |name: &str| found.get(name).unwrap().clone();
        assert_eq!(of("one"), Present { id: 1, ..there(State::Ready, 50, 9001, false) });
        assert_eq!((of("off").state, of("two").state), (State::Maint, State::Drain));
        assert_eq!(of("two").address, Some("::1".parse().unwrap()));
        assert_eq!(of("file").address, None);
        assert!(of("added").added && !of("odd").added, "an id that HAProxy gave by itself is not ours");
        // A stopped server that HAProxy's own checks found down is wanted as it is: that is not an administrator's word.
        let down = format!("{HEAD}3 b 2 two ::1 0 32 100 100 1 8 2 0 6 0 0 0 - 9002 - 0 0 - - 0\n");
        assert_eq!(parse(&down).unwrap()["two"].state, State::Ready);
    }

    #[test]
    fn what_is_not_known_is_said_and_not_guessed() {
        let why = |text: &str| parse(text).unwrap_err();
        assert!(why("2\n# be_id\n").contains("begins with \"2\" and not with \"1\""));
        assert!(why("").contains("begins with \"\""));
        assert!(why("Can't find backend.\n").contains("no such backend"));
        assert!(why(&format!("{HEAD}3 b x one 127.0.0.1 2 0 50\n")).contains("no server's"));
        assert!(why("1\nthree b\n3 b 1 one").contains("no server's"));
        assert_eq!(parse(HEAD).unwrap(), BTreeMap::new(), "a backend may be empty");
    }

    #[test]
    fn what_is_as_it_should_be_needs_nothing() {
        let present = has(&[
            ("one", there(State::Ready, 50, 1, false)),
            ("rests", there(State::Drain, 7, 2, false)),
            ("out", there(State::Maint, 1, 3, false)),
            ("foreign", there(State::Ready, 1, 4, false)),
        ]);
        let share = wants(&[("one", wanted(50, 1)), ("rests", wanted(0, 2))], &["one", "rests", "out"]);
        assert_eq!(diff(&present, &share), []);
    }

    #[test]
    fn each_difference_has_its_command_and_nobody_goes_before_all_serve() {
        let present = has(&[
            ("a", there(State::Ready, 50, 1, false)),
            ("b", there(State::Ready, 50, 2, false)),
            ("c", there(State::Maint, 1, 3, false)),
            ("d", there(State::Ready, 1, 4, true)),
            ("e", there(State::Maint, 1, 5, true)),
            ("f", there(State::Ready, 9, 6, false)),
        ]);
        let share = wants(
            &[("a", wanted(0, 1)), ("c", wanted(60, 33)), ("new", wanted(9, 7)), ("mute", wanted(0, 8))],
            &["a", "b", "c"],
        );
        let id = |name: &str| FIRST_ID | (hash_name(name) & ID_MASK);
        assert_eq!(
            commands(&present, &share),
            [
                format!("add server b/mute 127.0.0.1:8 id {}", id("mute")).as_str(),
                format!("add server b/new 127.0.0.1:7 id {}", id("new")).as_str(),
                "set server b/c addr 127.0.0.1 port 33",
                "set server b/c weight 60",
                "set server b/new weight 9",
                "set server b/c state ready",
                "set server b/new state ready",
                "set server b/a state drain",
                "set server b/mute state drain",
                "set server b/b state maint",
                "set server b/d state maint",
                "del server b/d",
                "del server b/e",
            ]
        );
    }

    #[test]
    fn a_server_of_ipv6_is_added_and_moved() {
        let address = "2001:db8::1".parse().unwrap();
        let share = wants(&[("six", Wanted { address, port: 80, weight: 1 })], &[]);
        let added = commands(&BTreeMap::new(), &share);
        assert!(added[0].starts_with("add server b/six [2001:db8::1]:80 id "), "{added:?}");
        assert_eq!(added[1..], ["set server b/six state ready"]);
        let moved = commands(&has(&[("six", there(State::Ready, 1, 80, false))]), &share);
        assert_eq!(moved, ["set server b/six addr 2001:db8::1 port 80"]);
    }

    #[test]
    fn the_sorry_server_is_ours_whatever_haproxy_calls_it() {
        let present = has(&[("sorry-page", there(State::Ready, 1, 99, false))]);
        let mut share = wants(&[], &[]);
        assert_eq!(diff(&present, &share), []);
        share.sorry = Some("127.0.0.1:99".parse().unwrap());
        assert_eq!(commands(&present, &share), ["set server b/sorry-page state maint"]);
    }

    #[test]
    fn two_names_never_have_one_id() {
        let first = free_id("name", &BTreeSet::new());
        let second = free_id("name", &BTreeSet::from([first]));
        assert_eq!(second & !ID_MASK, FIRST_ID);
        assert!(first != second && first == free_id("name", &BTreeSet::from([second])));
    }

    #[test]
    fn weights_beyond_haproxy_s_are_scaled_together_and_none_becomes_zero() {
        let weights = |table: &Table| -> Vec<u32> {
            share(table).servers.values().map(|wanted| wanted.weight).collect()
        };
        assert_eq!(weights(&table(&[("a", 50, Some(50)), ("b", 256, Some(256))])), [50, 256]);
        assert_eq!(weights(&table(&[("a", 500, Some(500)), ("b", 1000, Some(1000))])), [128, 256]);
        let most = &table(&[("a", 1, Some(1)), ("b", 65_535, Some(65_535)), ("c", 9, Some(0))]);
        assert_eq!(weights(most), [1, 256, 0]);
        // Whoever stays keeps his weight when the greatest goes, and a check may ask for more than is configured.
        assert_eq!(weights(&table(&[("a", 500, Some(500)), ("b", 1000, None)])), [128]);
        assert_eq!(weights(&table(&[("a", 1, Some(512)), ("b", 256, Some(256))])), [256, 128]);
    }

    #[test]
    fn a_life_is_known_by_its_process_and_its_beginning() {
        let text = "Name: HAProxy\nPid: 16226\nUptime_sec: 195\nStart_time_sec: 1795376304\n";
        assert_eq!(life(text), "Pid: 16226 Start_time_sec: 1795376304");
    }

    #[test]
    fn no_name_can_carry_a_command() {
        for good in ["web1", "a_b-c.d", "192.0.2.1:80"] {
            assert_eq!(name_fault(good), None);
        }
        for bad in ["", "a b", "a;b", "a\nb", "a/b", "\\"] {
            assert!(name_fault(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn an_answer_means_what_it_means_to_this_step() {
        let server = || "s".to_owned();
        let delete = Step::Delete { server: server() };
        let weight = Step::Weight { server: server(), weight: 3 };
        let address = Step::Address { server: server(), at: "127.0.0.1:1".parse().unwrap() };
        assert_eq!(judge(&delete, "Server deleted."), Judged::Done);
        assert_eq!(judge(&delete, "No such server."), Judged::Done);
        let later = "Server still has connections attached to it, cannot remove it.";
        assert_eq!(judge(&delete, later), Judged::Later);
        assert_eq!(judge(&weight, ""), Judged::Done);
        assert_eq!(judge(&weight, "No such server."), Judged::Failed);
        assert_eq!(judge(&address, "no need to change the addr by 'stats socket command'"), Judged::Done);
        // It ends as a success does.
        let refused = "Update for the current server address family is only supported through configuration file by 'stats socket command'";
        assert_eq!(judge(&address, refused), Judged::Failed);
    }

    fn any_present() -> impl Strategy<Value = Present> {
        let state = prop_oneof![Just(State::Ready), Just(State::Drain), Just(State::Maint)];
        (state, 0_u32..=256, 1_u16..4, any::<bool>())
            .prop_map(|(state, weight, port, added)| there(state, weight, port, added))
    }

    proptest! {
        #[test]
        fn the_steps_lead_to_what_is_wanted(
            present in proptest::collection::btree_map("[a-f]", any_present(), 0..6),
            servers in proptest::collection::btree_map("[a-f]", (0_u32..=256, 1_u16..4), 0..6),
            ours in proptest::collection::btree_set("[a-f]", 0..6),
        ) {
            let servers = servers.into_iter().map(|(name, (weight, port))| (name, wanted(weight, port)));
            let share = Share { servers: servers.collect(), ours, sorry: None };
            let mut after = present.clone();
            for step in diff(&present, &share) {
                make(&mut after, &step);
            }
            prop_assert_eq!(diff(&after, &share), []);
            let foreign = |name: &String, there: &Present| !share.servers.contains_key(name) && !share.has(name, there);
            for (name, there) in present.iter().filter(|(name, there)| foreign(name, there)) {
                prop_assert_eq!(after.get(name), Some(there), "a stranger was touched");
            }
        }
    }
}
