//! The peers, unpacked and not installed, each set up as well as it can be: keepalived's checkers, and ldirectord.
//!
//! Both steer IPVS, which many kernels have not. Neither is measured by what it sets, so a stand-in takes all that it says:
//! for keepalived a library (`stand_in.c`) that is loaded before it, for ldirectord a program in the place of `ipvsadm` that
//! succeeds and shows an empty table.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::checks::Kind;
use super::rig::Rig;

/// Servers of one virtual service.
pub(crate) const TOGETHER: usize = 100;

/// MD5 of the page that the servers show.
const DIGEST: &str = "0bb3c30dc72e63881db5005f1aa19ac3";

/// Below the root of the package.
const PEERS: &str = "target/peers";

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// One process for all checks.
    Keepalived,
    /// A process for each virtual service, or one for all.
    Ldirectord {
        /// The former.
        forks: bool,
    },
}

impl Peer {
    /// As it is chosen.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Keepalived => "keepalived",
            Self::Ldirectord { .. } => "ldirectord",
        }
    }

    /// Unpacks it where it is not yet; nothing, and a line that says why, where that cannot be.
    pub(crate) fn unpack(self) -> Option<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = root.join(PEERS);
        let program = folder.join("usr/sbin").join(self.name());
        if !program.exists() {
            let done = Command::new(root.join("tests/unpack")).arg(&folder).arg(self.name()).status();
            if !done.is_ok_and(|status| status.success()) {
                println!("{} cannot be had here, and is not measured", self.name());
                return None;
            }
        }
        Some(program)
    }

    /// Starts it, near: it checks so many servers, each every second.
    pub(crate) fn start(self, rig: &Rig, program: &Path, kind: Kind, checks: usize) -> Running {
        let folder = rig.folder.path();
        let mut command = match self {
            Self::Keepalived => keepalived(folder, program, &keepalived_text(kind, checks)),
            Self::Ldirectord { forks } => {
                ldirectord(folder, program, &ldirectord_text(folder, kind, checks, forks))
            }
        };
        let root = program.ancestors().nth(3).unwrap();
        let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
        let libraries = ["lib", "usr/lib"].map(|at| root.join(at).join(&machine));
        command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Running(rig.near.spawn(command).unwrap())
    }
}

/// A peer that runs. Dropped, it is killed with all its processes.
pub(crate) struct Running(Child);

impl Running {
    /// The first process.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// The address of a server.
pub(crate) fn server(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a40_0000 + u32::try_from(number).unwrap())
}

/// The address of a virtual service.
pub(crate) fn service(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0xac1f_0101 + u32::try_from(number).unwrap())
}

/// With process numbers of its own: when the first ends, however that comes about, all that it has started ends with it.
fn alone(program: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--"]).arg(program);
    command
}

fn keepalived(folder: &Path, program: &Path, text: &str) -> Command {
    let (config, library) = (folder.join("keepalived.conf"), folder.join("stand_in.so"));
    fs::write(&config, text).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/director/stand_in.c");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(source).status();
    assert!(built.unwrap().success());
    let mut command = alone(program);
    command.args(["--check", "--dont-fork", "--log-console", "--use-file"]).arg(&config);
    command.arg("--pid").arg(folder.join("keepalived.pid"));
    command.arg("--checkers_pid").arg(folder.join("checkers.pid")).env("LD_PRELOAD", &library);
    command
}

fn keepalived_text(kind: Kind, checks: usize) -> String {
    let check = match kind {
        Kind::Tcp => "TCP_CHECK { connect_timeout 1 }".to_owned(),
        Kind::Http => {
            format!("HTTP_GET {{ url {{ path / digest {DIGEST} }} connect_timeout 1 connect_port 80 }}")
        }
    };
    // Words in braces stand on lines of their own.
    let check = check.replace("{ ", "{\n").replace(" }", "\n}").replace(" connect_", "\nconnect_");
    let check = check.replace(" digest", "\ndigest").replace("url {", "\nurl {");
    let mut text = "global_defs {\nrouter_id bench\n}\n".to_owned();
    for first in (0..checks).step_by(TOGETHER) {
        let at = service(first / TOGETHER);
        writeln!(text, "virtual_server {at} 80 {{\ndelay_loop 1\nlb_algo rr\nlb_kind NAT\nprotocol TCP")
            .unwrap();
        for number in first..checks.min(first + TOGETHER) {
            writeln!(text, "real_server {} 80 {{\nweight 1\n{check}\n}}", server(number)).unwrap();
        }
        text.push_str("}\n");
    }
    text
}

fn ldirectord(folder: &Path, program: &Path, text: &str) -> Command {
    let (config, script, ipvsadm) =
        (folder.join("ldirectord.cf"), folder.join("ldirectord"), folder.join("ipvsadm"));
    fs::write(&config, text).unwrap();
    if !ipvsadm.exists() {
        symlink("/bin/true", &ipvsadm).unwrap();
    }
    // It knows two places of ipvsadm, and one for its own number.
    let theirs = fs::read_to_string(program).unwrap();
    let ours = ipvsadm.display().to_string();
    let theirs = theirs.replace("\"/usr/sbin/ipvsadm\"", &format!("\"{ours}\""));
    let theirs = theirs.replace("\"/sbin/ipvsadm\"", &format!("\"{ours}\""));
    fs::write(&script, theirs.replace("\"/var/run/", &format!("\"{}/", folder.display()))).unwrap();
    let root = program.ancestors().nth(3).unwrap();
    let mut modules = vec![root.join("usr/share/perl5")];
    let machine = root.join(format!("usr/lib/{}-linux-gnu/perl5", std::env::consts::ARCH));
    // One folder a version of Perl.
    let versions = fs::read_dir(&machine).into_iter().flatten();
    modules.extend(versions.map(|entry| entry.unwrap().path()));
    modules.push(machine);
    let mut command = alone(Path::new("perl"));
    command.arg(script).arg(config).arg("start").env("PERL5LIB", std::env::join_paths(modules).unwrap());
    command
}

fn ldirectord_text(folder: &Path, kind: Kind, checks: usize, forks: bool) -> String {
    let (forks, kind) = (
        if forks { "yes" } else { "no" },
        match kind {
            Kind::Tcp => "connect",
            Kind::Http => "negotiate",
        },
    );
    let mut text = format!(
        "checktimeout=5\ncheckinterval=1\nautoreload=no\nlogfile=\"{}\"\nquiescent=no\nsupervised=yes\n\
         fork={forks}\n",
        folder.join("ldirectord.log").display()
    );
    for first in (0..checks).step_by(TOGETHER) {
        writeln!(text, "virtual={}:80", service(first / TOGETHER)).unwrap();
        for number in first..checks.min(first + TOGETHER) {
            writeln!(text, "\treal={}:80 masq", server(number)).unwrap();
        }
        writeln!(
            text,
            "\tservice=http\n\tchecktype={kind}\n\trequest=\"/\"\n\treceive=\"welcome\"\n\tscheduler=rr\n\
             \tprotocol=tcp\n"
        )
        .unwrap();
    }
    text
}
