//! The rig: a network namespace for whoever checks and one for the servers, with a cable between them; and the director's
//! process, spoken to as the daemon speaks to it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gettid};
use systole::config::{Services, parse_toml};
use systole::director::message::{Ask, SOCKET_NAME, Word};
use systole::director::pool::PoolView;
use systole::lab::{Space, clock};
use systole::time::Span;
use tempfile::TempDir;

/// Longer than anything takes that still works.
pub(crate) const PATIENCE: Span = Span::seconds(120);

/// Both namespaces. All of 10.64.0.0/10 is at the servers', and none of it here.
pub(crate) struct Rig {
    /// Where whoever checks runs.
    pub(crate) near: Space,
    /// Where the servers are.
    pub(crate) far: Space,
    /// Nothing of it is left behind.
    pub(crate) folder: TempDir,
}

impl Rig {
    /// Builds it.
    pub(crate) fn build() -> Self {
        let (near, far) = (Space::new().unwrap(), Space::new().unwrap());
        let there = far.run(gettid);
        near.run(move || {
            shell(&format!(
                "ip link set lo up\n\
                 ip link add c0 type veth peer name c1 netns {there}\n\
                 ip address add 172.30.0.1/30 dev c0\nip link set c0 up\n\
                 echo 1024 65000 >/proc/sys/net/ipv4/ip_local_port_range"
            ));
        });
        far.run(|| {
            shell(
                "ip link set lo up\nip address add 172.30.0.2/30 dev c1\nip link set c1 up\n\
                 ip route add local 10.64.0.0/10 dev lo\n\
                 echo 65535 >/proc/sys/net/core/somaxconn\necho 65535 >/proc/sys/net/ipv4/tcp_max_syn_backlog",
            );
        });
        near.run(|| shell("ip route add 10.64.0.0/10 via 172.30.0.2"));
        Self { near, far, folder: tempfile::tempdir().unwrap() }
    }
}

/// Lines of shell, which must go well.
pub(crate) fn shell(lines: &str) {
    let status = Command::new("sh").args(["-ec", lines]).status().unwrap();
    assert!(status.success(), "{lines}: {status}");
}

/// Looks until there is something to see.
pub(crate) fn wait<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    clock::wait_for(PATIENCE, look).unwrap_or_else(|| panic!("in vain: {what}"))
}

/// What precedes the services of a configuration, with these addresses.
pub(crate) fn head(addresses: &[String]) -> String {
    let list: Vec<_> = addresses.iter().map(|address| format!("\"{address}/16\"")).collect();
    format!(
        "[cluster]\nname = \"bench\"\n[node.a]\n[node.b]\n[link.x]\ninterface = \"c0\"\nbroadcast = true\n\
         [[group.web.resource]]\nagent = \"vip\"\nparams = {{ address = [{}], interface = \"c0\" }}\n",
        list.join(", ")
    )
}

/// The services of a configuration.
pub(crate) fn services(text: &str) -> Services {
    parse_toml("bench", text).unwrap_or_else(|report| panic!("{report}")).config.services
}

/// The director's process. Dropped, it is killed.
pub(crate) struct Director {
    child: Child,
    socket: PathBuf,
    /// What the daemon says goes here.
    tells: UnixStream,
}

/// The program.
pub(crate) fn systole() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_systole"))
}

impl Director {
    /// Starts it, near. Nothing is served yet.
    pub(crate) fn start(rig: &Rig) -> Self {
        let mut command = Command::new(systole());
        command.arg("direct").arg("--run-dir").arg(rig.folder.path());
        command.arg("--state-dir").arg(rig.folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let child = rig.near.spawn(command).unwrap();
        let socket = rig.folder.path().join(SOCKET_NAME);
        let tells = wait("the director listens", || UnixStream::connect(&socket).ok());
        Self { child, socket, tells }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As the daemon does it. How long the line is, in bytes.
    pub(crate) fn serve(&mut self, services: &Services) -> usize {
        let mut line = serde_json::to_string(&Ask::Serve {
            services: services.clone(),
            sync: None,
            held: None,
            orders: None,
        })
        .unwrap();
        line.push('\n');
        self.tells.write_all(line.as_bytes()).unwrap();
        line.len()
    }

    /// As `systole pool` does it; and how long that took.
    pub(crate) fn pool(&self) -> (PoolView, Span) {
        let began = clock::now();
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.write_all((serde_json::to_string(&Ask::Pool).unwrap() + "\n").as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        let Word::Pool(view) = serde_json::from_str(&line).unwrap() else { panic!("no pool: {line}") };
        (view, clock::now() - began)
    }

    /// So many servers of all services are up.
    pub(crate) fn up(&self) -> usize {
        let (view, _) = self.pool();
        view.services.iter().flat_map(|service| &service.servers).filter(|one| one.state == "up").count()
    }

    /// What it complains of.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let (view, _) = self.pool();
        let mut troubles: Vec<_> = view.services.into_iter().filter_map(|service| service.trouble).collect();
        troubles.sort();
        troubles.dedup();
        troubles
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The daemon, which keeps a director running. Dropped, both end.
pub(crate) struct Daemon {
    child: Child,
    config: PathBuf,
    run_dir: PathBuf,
    keys: PathBuf,
}

impl Daemon {
    /// Starts it, near, as the node a.
    pub(crate) fn start(rig: &Rig, text: &str) -> Self {
        let path = |name: &str| rig.folder.path().join(name);
        let (config, run_dir, keys) = (path("systole.toml"), path("run"), path("keys"));
        fs::write(&keys, "1 00112233445566778899aabbccddeeff\n").unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
        let mut command = Command::new(systole());
        command.arg("run").arg("--config").arg(&config).args(["--node", "a"]);
        command.arg("--run-dir").arg(&run_dir).arg("--state-dir").arg(path("state"));
        let log = fs::File::create(path("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        fs::write(&config, with_keys(text, &keys)).unwrap();
        Self { child: rig.near.spawn(command).unwrap(), config, run_dir, keys }
    }

    /// Gives it another configuration, as an operator does.
    pub(crate) fn reload(&self, text: &str) {
        fs::write(&self.config, with_keys(text, &self.keys)).unwrap();
        let output =
            Command::new(systole()).arg("reload").arg("--run-dir").arg(&self.run_dir).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

/// With keys; and the group is not for this node, for each renewal of a lease would be a transaction among those counted.
fn with_keys(text: &str, keys: &Path) -> String {
    let text = text.replacen("[cluster]\n", &format!("[cluster]\nkeys = \"{}\"\n", keys.display()), 1);
    text.replacen("[[group.web.resource]]", "[group.web]\nonly = [\"b\"]\n[[group.web.resource]]", 1)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It hands over, and ends the director.
        let _ = kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
