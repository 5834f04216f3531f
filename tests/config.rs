//! Configurations that are wrong, each beside the exact text it produces, and configurations that are right, each beside
//! what it means. `SYSTOLE_BLESS=1 cargo test --test config` writes what is expected anew: read the difference.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "in a test a panic is the message")]

#[path = "config/rounds.rs"]
mod rounds;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use systole::cluster::{Core, Effect, Effects, Input, Outcome, Start, Stored};
use systole::config::heartbeat::directives;
use systole::config::keys::KeyRing;
use systole::config::{
    Cast, Config, Differs, Group, HeartbeatFiles, Loaded, Reach, Report, Severity, TiebreakMethod,
    parse_heartbeat, parse_toml,
};
use systole::rng::Rng;
use systole::time::{Moment, Span};
use systole::types::{GroupId, Incarnation, Marks, NodeId};

/// What stands in `tests/config/FOLDER`: a file, or the files of a Heartbeat directory.
struct Case {
    name: String,
    path: PathBuf,
    texts: Texts,
}

#[derive(Clone)]
enum Texts {
    Toml(String),
    Heartbeat { ha_cf: String, haresources: String, authkeys: Option<String> },
    Keys(String),
}

impl Texts {
    fn read(path: &Path) -> Self {
        let text = |path: PathBuf| fs::read_to_string(path).ok();
        if path.is_dir() {
            return Self::Heartbeat {
                ha_cf: text(path.join("ha.cf")).unwrap_or_default(),
                haresources: text(path.join("haresources")).unwrap_or_default(),
                authkeys: text(path.join("authkeys")),
            };
        }
        let content = text(path.to_owned()).unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "keys") {
            Self::Keys(content)
        } else {
            Self::Toml(content)
        }
    }

    /// Reads it; of a key file only the report counts.
    fn parse(&self, name: &str) -> Result<Option<Loaded>, Report> {
        match self {
            Self::Toml(text) => parse_toml(name, text).map(Some),
            Self::Keys(text) => KeyRing::parse(name, text).map(|_| None),
            Self::Heartbeat { ha_cf, haresources, authkeys } => parse_heartbeat(&HeartbeatFiles {
                directory: Path::new(name),
                ha_cf,
                haresources,
                authkeys: authkeys.as_deref(),
            })
            .map(Some),
        }
    }
}

fn cases(folder: &str) -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(folder);
    let mut cases = Vec::new();
    for entry in fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() || matches!(extension, Some("toml" | "keys")) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            cases.push(Case { name, texts: Texts::read(&path), path });
        }
    }
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

/// Compares with a file, or writes it when asked to; says what is wrong.
fn compare(path: &Path, found: &str) -> Option<String> {
    if std::env::var_os("SYSTOLE_BLESS").is_some_and(|value| value == "1") {
        fs::write(path, found).unwrap();
        return None;
    }
    match fs::read_to_string(path) {
        Ok(expected) if expected == found => None,
        Ok(expected) => {
            Some(format!("{} differs\n--- expected\n{expected}--- found\n{found}", path.display()))
        }
        Err(_) => Some(format!("{} is missing; SYSTOLE_BLESS=1 writes it", path.display())),
    }
}

/// Files that belong to no case: left over from one that was renamed.
fn strays(folder: &str, expected: &BTreeSet<PathBuf>) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(folder);
    let files = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| !path.is_dir() && !expected.contains(path))
        .filter(|path| path.extension().is_none_or(|extension| extension != "toml" && extension != "keys"))
        .map(|path| format!("{} belongs to no configuration", path.display()))
        .collect()
}

#[test]
fn every_wrong_configuration_says_exactly_what_is_expected() {
    let cases = cases("wrong");
    assert!(cases.len() >= 45, "{}", cases.len());
    let mut complaints = Vec::new();
    let mut expected = BTreeSet::new();
    for case in cases {
        let path = case.path.with_extension("expected");
        match case.texts.parse(&case.name) {
            Ok(_) => complaints.push(format!("{} is not refused", case.name)),
            Err(report) => {
                assert!(report.count(Severity::Mistake) + report.left_out > 0, "{}", case.name);
                complaints.extend(compare(&path, &report.render(false)));
            }
        }
        expected.insert(path);
    }
    complaints.extend(strays("wrong", &expected));
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_right_configuration_means_exactly_what_is_expected() {
    let cases = cases("right");
    assert!(cases.len() >= 20, "{}", cases.len());
    let mut complaints = Vec::new();
    let mut expected = BTreeSet::new();
    for case in cases {
        let (meaning, warnings) = (case.path.with_extension("json"), case.path.with_extension("warnings"));
        match case.texts.parse(&case.name) {
            Err(report) => complaints.push(format!("{} is refused:\n{report}", case.name)),
            Ok(loaded) => {
                let loaded = loaded.expect("no key files among the right ones");
                let json = serde_json::to_string_pretty(&loaded.config).unwrap();
                let again: Config = serde_json::from_str(&json).unwrap();
                assert_eq!(again, loaded.config, "{}", case.name);
                complaints.extend(compare(&meaning, &(json + "\n")));
                if !loaded.warnings.is_empty() {
                    complaints.extend(compare(&warnings, &loaded.warnings.render(false)));
                    expected.insert(warnings);
                }
            }
        }
        expected.insert(meaning);
    }
    complaints.extend(strays("right", &expected));
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_help_stands_behind_every_mistake_and_every_warning() {
    for case in cases("wrong").into_iter().chain(cases("right")) {
        let report = match case.texts.parse(&case.name) {
            Ok(loaded) => loaded.expect("no key files among the right ones").warnings,
            Err(report) => report,
        };
        for diagnostic in report.diagnostics {
            assert!(!diagnostic.help.is_empty(), "{}: {}", case.name, diagnostic.message);
        }
    }
}

/// The directives of Heartbeat's manual, written out by hand.
const DIRECTIVES: &str = "node cluster keepalive deadtime warntime initdead deadping hopfudge hbgenmethod autojoin \
    uuidfrom quorum_server max_rexmit_delay serial baud bcast udp mcast mcast6 ucast ucast6 ping ping6 ping_group \
    hbaping rds tipc udpport auto_failback nice_failback stonith stonith_host crm pacemaker crm_daemon_dir \
    crmd_spawns_pengine record_config_changes record_pengine_inputs enable_config_writes respawn failfast apiauth env \
    use_apphbd watchdog realtime rtprio memreserve debug logfacility logfile debugfile use_logd conn_logd_time \
    syslogmsgfmt log_badpack coredumps coreroot msgfmt compression compression_threshold traditional_compression";

#[test]
fn every_directive_of_heartbeat_is_known_by_name() {
    let by_hand: BTreeSet<&str> = DIRECTIVES.split_whitespace().collect();
    let known: BTreeSet<&str> = directives::DIRECTIVES.iter().map(|directive| directive.name).collect();
    assert_eq!(by_hand, known);
    assert_eq!(known.len(), directives::DIRECTIVES.len(), "one is there twice");
}

#[test]
fn every_directive_of_heartbeat_is_carried_over_or_explained() {
    for directive in directives::DIRECTIVES {
        let ha_cf = format!("{}\n", directive.name);
        let files =
            HeartbeatFiles { directory: Path::new("ha.d"), ha_cf: &ha_cf, haresources: "", authkeys: None };
        // Alone it is incomplete or explained, and in each case there is a word on it.
        let report = parse_heartbeat(&files).expect_err("there are no nodes");
        let told = report.diagnostics.iter().any(|one| one.place.end > 0 && one.place.start == 0);
        assert!(told, "{} is dropped silently", directive.name);
    }
}

#[test]
fn every_directive_of_heartbeat_is_in_the_reference() {
    let reference =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    for directive in directives::DIRECTIVES {
        assert!(reference.contains(&format!("`{}`", directive.name)), "{}", directive.name);
    }
}

/// The keys of `systole.toml`, written out by hand.
const KEYS: &str = "haresources name keys keepalive warntime deadtime initdead arbiter interface unicast multicast \
    broadcast port ttl method ping enforce device timeout agent params nodes delay before before-tiebreak prefer only \
    failback failback-delay exclusive promise with after apart clones clones-per-node weights reach failure-window \
    resource args warm monitor start-delay start-timeout stop-timeout program events user \
    address fwmark protocol balancer socket backend scheduler scheduler-flags persistence persistence-mask one-packet \
    forwarding servers server sorry quorum hysteresis when-down drain check weight limit limit-low kind every rise fall \
    source host certificate ca path login status text pattern send tls name record answer hello weighs id";

#[test]
fn every_key_is_in_the_reference_and_is_known() {
    let reference =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    for key in KEYS.split_whitespace() {
        assert!(reference.contains(&format!("`{key}`")), "{key}");
        // In the wrong place it is told where it belongs; an unknown one could not be.
        let report = parse_toml("a.toml", &format!("[lease]\n{key} = 1\n")).expect_err("there are no nodes");
        let is_told = report.diagnostics.iter().any(|one| one.help.contains("stands "));
        assert!(is_told || key == "enforce", "{key}: {report}");
    }
}

fn right(name: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/right").join(name);
    Texts::read(&path).parse(name).unwrap().unwrap().config
}

#[test]
fn the_files_of_the_talk_read_as_they_stand() {
    let config = right("heartbeat-talk");
    assert_eq!(config.cluster, "linux-ha");
    assert_eq!(config.timing.keepalive, Span::seconds(2));
    assert_eq!(config.timing.warntime, Span::seconds(10));
    assert_eq!(config.timing.deadtime, Span::seconds(30));
    assert_eq!(config.timing.initdead, Span::seconds(120));
    assert_eq!(config.nodes.len(), 2);
    let [link] = config.links.as_slice() else { panic!("{:?}", config.links) };
    assert_eq!((link.interface.as_str(), link.port), ("eth1", 694));
    let Cast::Unicast(peers) = &link.cast else { panic!("{:?}", link.cast) };
    assert!(peers.len() == 2 && peers.iter().all(|(node, _)| node.is_none()));
    assert_eq!(config.tiebreak.method, TiebreakMethod::Evidence);
    let group = &config.groups[&GroupId::of("192.168.232.20")];
    assert_eq!(group.prefer, [NodeId::of("lb0")]);
    assert!(group.failback);
    assert_eq!(group.reach, Reach::Best, "as ipfail says");
    let agents: Vec<&str> = group.resources.iter().map(|resource| resource.agent.as_str()).collect();
    assert_eq!(agents, ["vip", "pen", "httpd"], "the node at the end is left out");
    assert_eq!(config.interfaces.len(), 1);
    assert_eq!(config.interfaces[0].name, None, "found from the route");
}

#[test]
fn instances_of_a_clone_share_their_resources_and_name_their_group() {
    let config = right("cluster-ip-with-an-arbiter.toml");
    let instance_of = |group: &Group| group.clone_of.as_ref().map(|instance| instance.group);
    let instances: Vec<_> =
        config.groups.values().filter(|group| instance_of(group) == Some(GroupId::of("web"))).collect();
    assert_eq!(instances.len(), 12);
    assert!(instances.iter().any(|group| group.name == "web:11"));
    assert_eq!(config.groups[&GroupId::of("log")].after.len(), 12);
}

#[test]
fn every_sample_can_be_used_as_it_stands() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let samples: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(samples.len() >= 4, "{samples:?}");
    for path in samples {
        let name = path.file_name().unwrap().to_str().unwrap();
        let loaded = Texts::read(&path).parse(name).unwrap_or_else(|report| panic!("{report}"));
        let warnings = loaded.unwrap().warnings;
        assert_eq!(warnings.count(Severity::Warning), 0, "{warnings}");
    }
}

/// The examples of a page in TOML, without the margin of a list around them.
fn examples(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut margin = None;
    for line in page.lines() {
        let indent = line.len() - line.trim_start().len();
        match margin {
            None if line.trim() == "```toml" => {
                margin = Some(indent);
                found.push(String::new());
            }
            Some(_) if line.trim() == "```" => margin = None,
            Some(margin) => {
                let example = found.last_mut().unwrap();
                example.push_str(line.get(margin..).unwrap_or_default());
                example.push('\n');
            }
            None => {}
        }
    }
    found
}

#[test]
fn every_example_of_a_page_can_be_used() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| examples(&fs::read_to_string(path).unwrap());
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let others = ["ARCHITECTURE.md", "CONTRIBUTING.md", "packaging/README.md", "resource-agents/README.md"];
    let mut all = read(&root.join("README.md"));
    let front = all[0].clone();
    for page in docs.chain(others.map(|page| root.join(page))) {
        all.extend(read(&page));
    }
    assert!(all.len() >= 3, "{all:?}");
    for example in all {
        // What is no whole file is to be added to that of the front page.
        let text = if example.contains("[link.") { example } else { format!("{front}\n{example}") };
        let loaded = parse_toml("example", &text).unwrap_or_else(|report| panic!("{report}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    }
}

#[test]
fn two_nodes_can_name_what_differs_between_their_files() {
    let one = right("a-pair.toml");
    let text = fs::read_to_string("tests/config/right/a-pair.toml").unwrap();
    let changed = format!("[timing]\ndeadtime = \"3s\"\n[cluster]\nkeys = \"/elsewhere\"\n{text}");
    let other = parse_toml("b.toml", &changed).unwrap().config;
    assert_eq!(one.digest(), right("a-pair.toml").digest());
    assert_ne!(one.digest(), other.digest());
    let (ones, others) = (one.section_digests(), other.section_digests());
    let differing: Vec<_> = ones.iter().filter(|(name, digest)| others[*name] != **digest).collect();
    // A group goes back only after a deadtime: that follows from it.
    assert_eq!(differing.iter().map(|(name, _)| **name).collect::<Vec<_>>(), ["group", "timing"]);
    let differences = one.differs_from(&other.marks()).here;
    assert!(differences.contains(&"timing.deadtime".to_owned()), "{differences:?}");
    assert!(
        differences.iter().all(|path| !path.contains("keys")),
        "where the keys lie may differ: {differences:?}"
    );
}

#[test]
fn a_node_can_tell_from_marks_where_it_differs() {
    let text = fs::read_to_string("tests/config/right/a-pair.toml").unwrap();
    let variant = |text: &str| parse_toml("b.toml", text).unwrap().config;
    let one = variant(&text);
    assert_eq!(one.differs_from(&one.marks()), Differs::default());
    let slower =
        variant(&text.replace("[group.web]", "[timing]\ndeadtime = \"3s\"\n[group.web]\nfailback = false"));
    let differs = one.differs_from(&slower.marks());
    for path in ["timing.deadtime", "group.web.failback"] {
        assert!(differs.here.iter().any(|here| here == path), "{path}: {differs:?}");
    }
    let more = variant(&format!("[[group.web.resource]]\nagent = \"pen\"\nname = \"proxy\"\n{text}"));
    let (fewer_here, fewer_there) = (one.differs_from(&more.marks()), more.differs_from(&one.marks()));
    assert!(fewer_here.here.is_empty() && fewer_here.only_there > 0, "{fewer_here:?}");
    assert!(fewer_here.to_string().ends_with("keys there are not here"), "{fewer_here}");
    assert!(fewer_there.to_string().starts_with("group.web.resources.proxy."), "{fewer_there}");
    assert_eq!(fewer_there.only_there, 0);
}

#[test]
fn of_a_large_configuration_fewer_steps_are_told() {
    let groups = |count: usize| {
        let group = |number| format!("lb0 10.0.{}.{}/16/eth0\n", number / 250, number % 250 + 1);
        let groups: String = (0..count).map(group).collect();
        let base = fs::read_to_string("tests/config/right/a-pair.toml").unwrap();
        let base = base.split("[group.web]").next().unwrap().to_owned();
        parse_toml("many.toml", &format!("haresources = \"\"\"\n{groups}\"\"\"\n{base}")).unwrap().config
    };
    let (few, many) = (groups(3).marks(), groups(900).marks());
    assert!(
        many.depth < few.depth && many.places.len() <= Marks::MOST,
        "{} {}",
        many.depth,
        many.places.len()
    );
    let differs = groups(899).differs_from(&many);
    assert_eq!(differs.here, ["group"], "of that many only the section is told");
}

#[test]
fn a_digest_is_the_same_on_every_machine_and_in_every_release_of_this_format() {
    assert_eq!(format!("{:016x}", right("a-pair.toml").digest()), "bfa8289932a9a823");
}

#[test]
fn a_beat_shows_the_digest_of_the_configuration() {
    let config = Arc::new(right("a-pair.toml"));
    let mut effects = Effects::new();
    let start = Start {
        config: Arc::clone(&config),
        node: NodeId::of("lb0"),
        incarnation: Incarnation(1),
        seed: 1,
        now: Moment::at(Span::seconds(1_000)),
        stored: Stored::default(),
        memory: None,
        standing: BTreeMap::new(),
    };
    let mut core = Core::start(start, &mut effects);
    let runs = effects.iter().filter_map(|effect| {
        let Effect::Run { ticket, .. } = effect else { return None };
        Some(*ticket)
    });
    for ticket in runs.collect::<Vec<_>>() {
        let input = Input::AgentDone { ticket, outcome: Outcome::NotRunning };
        core.step(Moment::at(Span::seconds(1_000)), input, &mut effects);
    }
    let beats = effects.iter().filter_map(|effect| {
        let Effect::Send(beat) = effect else { return None };
        Some(beat.config)
    });
    assert_eq!(beats.collect::<BTreeSet<_>>(), BTreeSet::from([config.digest()]));
}

#[test]
fn both_formats_of_one_cluster_have_one_digest() {
    let toml = r#"
        haresources = "a 10.0.0.9"
        [cluster]
        name = "linux-ha"
        [timing]
        keepalive = 1
        deadtime = 30
        warntime = 15
        initdead = 30
        [node.a]
        [node.b]
        [link.eth0]
        interface = "eth0"
        broadcast = true
        [link.eth1]
        interface = "eth1"
        broadcast = true
        [tiebreak]
        ping = ["10.0.0.1"]
    "#;
    let toml = parse_toml("systole.toml", toml).unwrap().config;
    let heartbeat = right("heartbeat-defaults");
    assert_eq!(heartbeat.differs_from(&toml.marks()), Differs::default());
    assert_eq!(heartbeat.digest(), toml.digest());
}

/// Cuts the text, or changes a few of its bytes.
fn mutate(text: &str, rng: &mut Rng) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let length = bytes.len() as u64;
    if length == 0 {
        return String::new();
    }
    match rng.below(4) {
        0 => bytes.truncate(rng.below(length) as usize),
        1 => {
            let from = rng.below(length) as usize;
            let until = (from + rng.below(40) as usize).min(bytes.len());
            bytes.drain(from..until);
        }
        2 => {
            let from = rng.below(length) as usize;
            let until = (from + rng.below(40) as usize).min(bytes.len());
            let copy = bytes[from..until].to_vec();
            let at = rng.below(length) as usize;
            bytes.splice(at..at, copy);
        }
        _ => {
            for _ in 0..=rng.below(4) {
                let at = rng.below(length) as usize;
                bytes[at] ^= 1 << rng.below(8);
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn no_mutation_of_a_right_configuration_makes_a_reader_panic() {
    let mut rng = Rng::new(0x5eed);
    let mut read = 0;
    for case in cases("right").into_iter().chain(cases("wrong")) {
        let size = fs::metadata(&case.path).map_or(0, |metadata| metadata.len());
        let rounds = if size > 8_192 { 5 } else { 150 };
        for _ in 0..rounds {
            let mut text = |text: &str| mutate(text, &mut rng);
            let mutant = match &case.texts {
                Texts::Toml(toml) => Texts::Toml(text(toml)),
                Texts::Keys(keys) => Texts::Keys(text(keys)),
                Texts::Heartbeat { ha_cf, haresources, authkeys } => Texts::Heartbeat {
                    ha_cf: text(ha_cf),
                    haresources: text(haresources),
                    authkeys: authkeys.as_ref().map(|keys| text(keys)),
                },
            };
            match mutant.parse(&case.name) {
                Err(report) => assert!(!report.render(false).is_empty()),
                Ok(Some(loaded)) => {
                    loaded.warnings.render(true);
                    loaded.config.digest();
                    assert!(loaded.config.addresses().len() <= 2 * systole::config::limits::ADDRESSES);
                }
                Ok(None) => {}
            }
            read += 1;
        }
    }
    assert!(read > 5_000, "{read}");
}

fn check(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_systole")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn check_tells_by_its_exit_status_whether_a_configuration_can_be_used() {
    // Of a machine with nothing on it.
    let image = tempfile::tempdir().unwrap();
    let root = image.path().to_str().unwrap();
    let (code, out, err) = check(&["check", "--config", "tests/config/right/heartbeat-talk", "--root", root]);
    assert_eq!(code, 0);
    assert_eq!(out, "cluster linux-ha: 2 nodes, 1 link, 1 group, 5 warnings; deadtime 30s\n");
    assert!(err.contains("on this machine 192.168.232.20 cannot run: there is no agent pen"), "{err}");
    assert!(err.contains("`lb1` is a node, not a resource: left out"), "{err}");

    let (code, out, err) = check(&["check", "--config", "tests/config/wrong/unknown-key.toml"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("error: unknown key `keepalife`"), "{err}");
    assert!(err.contains("did you mean `keepalive`?"), "{err}");
    assert!(!err.contains('\x1b'), "no colour without a terminal");

    let (code, _, err) = check(&["check", "--config", "/nowhere/systole.toml"]);
    assert_eq!(code, 2);
    assert!(err.starts_with("/nowhere/systole.toml cannot be read"), "{err}");
    assert!(err.contains("--config PATH"), "{err}");

    let (code, ..) = check(&["frobnicate"]);
    assert_eq!(code, 2);

    let (code, _, err) = check(&["check", "conf/systole.toml"]);
    assert_eq!(code, 2);
    assert!(err.contains("the configuration is named with --config PATH"), "{err}");
}

#[test]
fn check_says_what_is_wrong_with_what_is_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let said = |name: &str| {
        let (code, out, err) = check(&["check", "--config", &path(name)]);
        assert_eq!((code, out.as_str()), (2, ""), "{name}: {err}");
        err
    };
    fs::create_dir(path("empty")).unwrap();
    assert!(said("empty").contains("a directory without an ha.cf\nname a systole.toml"));
    fs::create_dir(path("etc")).unwrap();
    fs::write(path("etc/systole.toml"), "").unwrap();
    assert!(said("etc").contains("without an ha.cf\nthere is a systole.toml in it"));
    fs::write(path("binary"), b"\x7fELF\0\0").unwrap();
    assert!(said("binary").contains("binary cannot be read: it is no text\nname the configuration"));
    fs::write(path("latin-1"), b"[node.a]\n# M\xfcnchen\n").unwrap();
    assert!(said("latin-1").contains("line 2 is not UTF-8\nsave it as UTF-8"));
    assert!(said("nowhere").contains("nowhere cannot be read: no such file or directory\nname"));

    // The mark that some editors put before a text is no part of it.
    let pair = fs::read_to_string("tests/config/right/a-pair.toml").unwrap();
    fs::write(path("marked.toml"), format!("\u{feff}{pair}")).unwrap();
    assert_eq!(check(&["check", "--config", &path("marked.toml")]).0, 0);
    fs::create_dir(path("ha.d")).unwrap();
    fs::write(path("ha.d/ha.cf"), "\u{feff}node a b\nbcast eth0 eth1\nauto_failback on\n").unwrap();
    assert_eq!(check(&["check", "--config", &path("ha.d")]).0, 0);
}
