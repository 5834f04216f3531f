//! The files of the talk, as they are: `ha.cf`, `haresources` and `authkeys` of Heartbeat, with real pen and apache2 on two
//! directors of a lab. A client asks for a page again and again, while a cable is pulled.
//!
//! As root: apache2 becomes another user. The programs are those that `tests/agents/lives` has unpacked.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "in a test a panic is the message")]

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use systole::lab::{Lab, MachinePlan, Plan, PortPlan, Program, Stop, clock, fetch, is_root};
use systole::time::Span;

const HOUSE: &str = env!("CARGO_MANIFEST_DIR");
const ADDRESS: [u8; 4] = [192, 168, 232, 20];
const NODES: [(&str, u8); 3] = [("lb0", 10), ("lb1", 11), ("client", 99)];
/// A page that takes longer is not served.
const AT_ONCE: Duration = Duration::from_millis(200);
/// Longer than anything takes: its deadtime is thirty seconds.
const PATIENCE: Span = Span::seconds(240);

/// One page that was asked for: when, and who served it.
type Asked = (Span, Option<String>);

fn main() {
    let unpacked = Path::new(HOUSE).join("target/agents");
    if !is_root() || !unpacked.join("done").exists() {
        println!("it needs root, and what tests/agents/lives unpacks\n0 passed, 0 failed, 1 skipped");
        return;
    }
    the_talks_files_run_as_they_are(&unpacked);
    println!("1 passed, 0 failed");
}

fn the_talks_files_run_as_they_are(unpacked: &Path) {
    let mut lab = Lab::build(&plan()).unwrap();
    let config = heartbeats_files(&lab);
    for node in ["lb0", "lb1"] {
        let before =
            [unpacked.into(), machines_files(&lab, node).into(), env!("CARGO_BIN_EXE_systole").into()];
        let path = Path::new(HOUSE).join("tests/agents/node");
        let program = Program { path, config: config.clone(), before: before.into(), plays_agents: false };
        lab.start(node, &program).unwrap();
    }
    let (tell, hear) = std::sync::mpsc::channel::<Asked>();
    let asks = move |stop: &Stop| {
        while !stop.is_set()
            && tell.send((clock::now(), fetch(ADDRESS.into(), AT_ONCE).ok().map(|(who, _)| who))).is_ok()
        {
            clock::wait(Span::millis(5));
        }
    };
    let client = lab.machine("client").unwrap().space().work("pages", asks).unwrap();
    let mut asked: Vec<Asked> = Vec::new();
    let served_by = |lab: &Lab, asked: &mut Vec<Asked>, node: &str| {
        let seen = || {
            asked.extend(hear.try_iter());
            asked.iter().rfind(|(_, who)| who.as_deref() == Some(node)).map(|(at, _)| *at)
        };
        clock::wait_for(PATIENCE, seen).unwrap_or_else(|| {
            panic!("{node} serves no page; lb0: {}\nlb1: {}", lab.log("lb0"), lab.log("lb1"))
        })
    };
    served_by(&lab, &mut asked, "lb0");
    println!("lb0 serves the page through its pen");
    let pulled = clock::now();
    lab.pull("lb0", "lan").unwrap();
    served_by(&lab, &mut asked, "lb1");
    clock::wait(Span::seconds(1));
    drop(client);
    asked.extend(hear.try_iter());
    let last = asked.iter().rfind(|(_, who)| who.as_deref() == Some("lb0")).unwrap().0;
    let first = asked.iter().find(|(_, who)| who.as_deref() == Some("lb1")).unwrap().0;
    let after = asked.iter().filter(|(at, _)| *at > first);
    let (after, lost) = (after.clone().count(), after.filter(|(_, who)| who.is_none()).count());
    println!(
        "its cable is pulled; {} later lb1 serves the page, {} after the last one of lb0; of the {after} asked for since \
         then, {lost} were not served",
        first - pulled,
        first - last
    );
    assert!(last < first, "lb0 served a page after lb1");
    assert_eq!(lost, 0, "pages were lost after the takeover");
}

fn plan() -> Plan {
    let machine = |(name, number): (&str, u8)| MachinePlan {
        name: name.to_owned(),
        ports: vec![PortPlan {
            network: "lan".to_owned(),
            interface: "eth1".to_owned(),
            addresses: vec![(IpAddr::from([192, 168, 232, number]), 24)],
        }],
        gateways: Vec::new(),
    };
    Plan { networks: vec!["lan".to_owned()], machines: NODES.map(machine).to_vec() }
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// The talk's own, and the secret that it left to its readers.
fn heartbeats_files(lab: &Lab) -> PathBuf {
    let folder = lab.folder().join("ha.d");
    let talk = Path::new(HOUSE).join("tests/config/right/heartbeat-talk");
    for name in ["ha.cf", "haresources"] {
        let text = fs::read_to_string(talk.join(name)).unwrap();
        // The second node at the end of its line is the slip for which the talk is known here.
        write(&folder.join(name), &text.replace("httpd lb1", "httpd"), 0o644);
    }
    write(&folder.join("authkeys"), "auth 1\n1 sha1 a-secret-of-the-talk\n", 0o600);
    folder
}

/// What an administrator has on each director: the page, and whom pen sends to.
fn machines_files(lab: &Lab, node: &str) -> PathBuf {
    let folder = lab.folder().join("etc").join(node);
    write(&folder.join("systole/pen/pen.conf"), "port=80\nservers=127.0.0.1:8080\n", 0o644);
    let web = "ServerRoot /etc/apache2\nServerName localhost\nUser www-data\nGroup www-data\n\
               PidFile /run/apache2.pid\nListen 127.0.0.1:8080\n\
               LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\n\
               LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n\
               LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so\n\
               DocumentRoot /srv/web\nErrorLog /var/log/apache2/error.log\n";
    write(&folder.join("apache2/apache2.conf"), web, 0o644);
    folder
}
