//! `systole lab`: the program itself with real daemons, and orders that are given when the one before has had its effect.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use systole::lab::clock;

use super::cables::PATIENCE;
use super::children::processes;
use super::demo::folders;

const SYSTOLE: &str = env!("CARGO_BIN_EXE_systole");

const HEAD: &str = "[cluster]\nname = \"web\"\n";
const REST: &str = "[timing]\nkeepalive = \"100ms\"\ndeadtime = \"1s\"\ninitdead = \"2s\"\n[node.lb0]\n[node.lb1]\n\
                    [link.lan]\ninterface = \"eth0\"\nunicast = { lb0 = \"192.168.7.10\", lb1 = \"192.168.7.11\" }\n\
                    [link.cross]\ninterface = \"eth1\"\nmulticast = \"239.0.0.43\"\n\
                    [tiebreak]\nping = [\"192.168.7.1\"]\n";

/// A lab that is given orders.
struct Session {
    child: Child,
    orders: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    said: String,
}

impl Session {
    fn start(command: Command, config: &Path) -> Self {
        Self::with(command, config, &[])
    }

    fn with(mut command: Command, config: &Path, options: &[&str]) -> Self {
        command.arg("lab").arg(config).args(options);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let orders = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, orders, lines, said: String::new() }
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders.as_ref().unwrap(), "{order}").unwrap();
    }

    /// Until it says this. It is given the time that it needs.
    fn until(&mut self, wanted: &str) {
        loop {
            let Some(line) = self.lines.next() else { panic!("{wanted} is never said:\n{}", self.rest()) };
            let line = line.unwrap();
            self.said += &format!("{line}\n");
            if line.contains(wanted) {
                return;
            }
        }
    }

    fn rest(&mut self) -> String {
        let mut complaints = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
        format!("{}{complaints}", self.said)
    }

    /// The end of its input is its end. Its exit code, what it said, and what it complained of.
    fn end(mut self) -> (i32, String, String) {
        drop(self.orders.take());
        for line in self.lines.by_ref() {
            self.said += &format!("{}\n", line.unwrap());
        }
        let mut complaints = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
        (self.child.wait().unwrap().code().unwrap(), self.said, complaints)
    }
}

fn write(folder: &Path, text: &str) -> std::path::PathBuf {
    let config = folder.join("systole.toml");
    fs::write(&config, text).unwrap();
    config
}

pub(crate) fn orders_from_standard_input_happen_to_the_cluster_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), &format!("haresources = \"lb0 192.168.7.20/24/eth0\"\n{HEAD}{REST}"));
    let mut lab = Session::start(Command::new(SYSTOLE), &config);
    let place = format!("systole-lab-{}-", lab.child.id());
    lab.until("lb0 answers");
    assert!(
        lab.said.contains("eth0 (link lan): lb0 192.168.7.10/24, lb1 192.168.7.11/24, client "),
        "{}",
        lab.said
    );
    assert!(
        lab.said.contains("eth1 (link cross): lb0 10.200.0.254/24*, lb1 10.200.0.253/24*\n"),
        "{}",
        lab.said
    );
    let mine = folders().into_iter().find(|folder| folder.contains(&place)).unwrap();
    assert_eq!(processes(&mine).len(), 2, "{mine}");
    lab.order("ask lb0 status");
    lab.until("groups");
    for (order, comes) in [
        ("cut lb0 lan", "lb1 answers"),
        ("plug lb0 lan", "lb0 answers"),
        ("pull lb0 eth0", "lb1 answers"),
        ("plug lb0 eth0", "lb0 answers"),
        ("stop lb0", "lb1 answers"),
        ("continue lb0", "lb0 answers"),
        ("kill lb0", "lb1 answers"),
        ("start lb0", "lb0 answers"),
        ("ask lb0 standby", "lb1 answers"),
        ("ask lb0 online", "lb0 answers"),
    ] {
        lab.order(order);
        lab.until(&format!("** {order}").replace(" lan", " eth0"));
        lab.until(comes);
    }
    assert!(!lab.said.contains("two answer at once"), "{}", lab.said);
    lab.order("wipe lb0 192.168.7.20\nstatus");
    lab.until("192.168.7.20: lb0 answers");
    lab.order("rival 192.168.7.20");
    lab.until("two answer at once: ");
    lab.order("wipe rival 192.168.7.20\nloss lb1 cross 100 in\nstatus");
    lab.until("the daemon of lb1 runs");
    lab.until("the cable of lb1 to eth1 loses 0 % and delays by 0 ms out, 100 % and 0 ms in");
    lab.order("wait 0.1 # and then it is over\nquit\nkill lb0");
    let (code, said, complaints) = lab.end();
    assert_eq!((code, complaints.as_str()), (0, ""), "{said}");
    assert!(!said.contains("has ended"), "{said}");
    assert!(!fs::exists(&mine).unwrap());
    let gone = || processes(&mine).is_empty().then_some(());
    assert!(clock::wait_for(PATIENCE, gone).is_some(), "{mine}");
}

pub(crate) fn a_mistyped_order_is_answered_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), &format!("haresources = \"lb0 192.168.7.20/24/eth0\"\n{HEAD}{REST}"));
    let mut lab = Session::start(Command::new(SYSTOLE), &config);
    lab.until("lb0 answers");
    lab.order("cutt lb0 lan\ncut lb7 lan\nstart lb0\nwipe lb1 192.168.7.20\nhelp");
    lab.until("  quit ");
    lab.order("status");
    lab.until("192.168.7.20: lb0 answers");
    let (code, said, complaints) = lab.end();
    assert_eq!(
        complaints,
        "there is no order \"cutt\": did you mean cut?\n\
         there is no machine \"lb7\": did you mean lb0?\n\
         the daemon of lb0 runs already: `kill lb0` or `ask lb0 stop` ends it\n\
         lb1 does not have 192.168.7.20: nothing is deleted\n"
    );
    assert_eq!(code, 1, "{said}");
    assert!(!said.contains("the cable of ") && !said.contains("** cut"), "{said}");
}

pub(crate) fn agents_are_played_for_what_they_start_would_be_this_machines() {
    let folder = tempfile::tempdir().unwrap();
    let text = "haresources = \"lb0 192.168.7.20/24/eth0 no-such-agent\"\n";
    let config = write(folder.path(), &format!("{text}{HEAD}{REST}"));
    let mut lab = Session::start(Command::new(SYSTOLE), &config);
    lab.order("status");
    lab.until("192.168.7.20: lb0 answers");
    lab.order("ask lb0 standby");
    lab.order("ask lb1 status");
    lab.until("here: 192.168.7.20 runs, no-such-agent runs");
    let (code, said, complaints) = lab.end();
    assert_eq!((code, complaints.as_str()), (0, ""), "{said}");
}

pub(crate) fn what_a_daemon_refuses_is_shown_in_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), &format!("haresources = \"lb0 192.168.7.20/24/eth0\"\n{HEAD}{REST}"));
    let daemon = folder.path().join("daemon");
    fs::write(&daemon, "#!/bin/sh\necho 'not on such a machine' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&daemon, Permissions::from_mode(0o755)).unwrap();
    let options = ["--daemon", daemon.to_str().unwrap()];
    let (code, said, complaints) = Session::with(Command::new(SYSTOLE), &config, &options).end();
    for node in ["lb0", "lb1"] {
        assert!(
            said.contains(&format!("the daemon of {node} has ended (exit status: 1); its last words:\n")),
            "{said}"
        );
    }
    assert!(said.contains("not on such a machine"), "{said}");
    assert!(complaints.starts_with("not every address is answered for: "), "{complaints}");
    assert_eq!(code, 1);
}

pub(crate) fn what_cannot_be_a_lab_is_refused_before_anything_is_built() {
    let folder = tempfile::tempdir().unwrap();
    for (text, wanted) in [
        (
            format!("{HEAD}{REST}"),
            "systole: there is no lab for this configuration: no group has a service address",
        ),
        (format!("{HEAD}{REST}[grup.web]\n"), "unknown key `grup`"),
    ] {
        let config = write(folder.path(), &text);
        let (code, said, complaints) = Session::start(Command::new(SYSTOLE), &config).end();
        assert_eq!((code, said.as_str()), (2, ""), "{complaints}");
        assert!(complaints.contains(wanted), "{complaints}");
    }
    let (code, _, complaints) = Session::start(Command::new(SYSTOLE), &folder.path().join("none")).end();
    assert!(code == 2 && complaints.contains("none cannot be read"), "{complaints}");
}

/// Root alone can become somebody else; who is no root shows the same by every other test.
pub(crate) fn an_ordinary_user_rehearses_a_heartbeat_directory_without_its_keys() {
    if !nix::unistd::geteuid().is_root() || fs::read_to_string("/proc/self/uid_map").unwrap().contains(" 1\n")
    {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let (copy, config) = (folder.path().join("systole"), folder.path().join("ha.d"));
    fs::copy(SYSTOLE, &copy).unwrap();
    fs::create_dir(&config).unwrap();
    fs::set_permissions(&config, Permissions::from_mode(0o755)).unwrap();
    let ha_cf = "keepalive 100ms\nwarntime 300ms\ndeadtime 1\ninitdead 2\nnode lb0\nnode lb1\nbcast eth0\n\
                 ucast eth1 10.0.0.10\nucast eth1 10.0.0.11\nping 192.168.7.1\nauto_failback on\n";
    let haresources = "lb0 192.168.7.20/24/eth0\nlb1 192.168.7.21/24/eth0\n";
    let authkeys = "auth 1\n1 sha1 a-secret-that-is-long-enough\n";
    for (name, text, mode) in
        [("ha.cf", ha_cf, 0o644), ("haresources", haresources, 0o644), ("authkeys", authkeys, 0o600)]
    {
        fs::write(config.join(name), text).unwrap();
        fs::set_permissions(config.join(name), Permissions::from_mode(mode)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
    ]);
    command.arg(&copy);
    let mut lab = Session::start(command, &config);
    lab.until("authkeys cannot be read: new ones take their place");
    // Which of the two comes first is chance.
    lab.until(" answers");
    lab.until(" answers");
    assert!(lab.said.contains("192.168.7.20: lb0 answers"), "{}", lab.said);
    assert!(lab.said.contains("192.168.7.21: lb1 answers"), "{}", lab.said);
    lab.order("kill lb0");
    lab.until("192.168.7.20: lb1 answers");
    let (code, said, complaints) = lab.end();
    assert_eq!((code, complaints.as_str()), (0, ""), "{said}");
}
