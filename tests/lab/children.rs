//! Daemons, and what is left of a lab when it ends.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use systole::lab::{self, Lab, Plan, Program, clock};
use systole::time::Span;

use super::cables::{PATIENCE, pair};

/// The stand-in, and what it shall do.
fn stand_in(lab: &Lab, word: &str) -> Program {
    let config = lab.folder().join("config");
    fs::write(&config, word).unwrap();
    Program { path: PathBuf::from("/proc/self/exe"), config, before: Vec::new(), plays_agents: false }
}

/// Until what it has said is like this.
fn says(lab: &Lab, machine: &str, is_like: impl Fn(&str) -> bool) -> String {
    let log = || Some(lab.log(machine)).filter(|log| is_like(log));
    clock::wait_for(PATIENCE, log).unwrap_or_else(|| panic!("{}", lab.log(machine)))
}

pub(crate) fn a_daemon_is_in_its_machine_and_its_words_are_kept() {
    let mut lab = pair();
    let program = stand_in(&lab, "write");
    for machine in ["lb0", "client"] {
        lab.start(machine, &program).unwrap();
    }
    says(&lab, "lb0", |log| log.contains("lb0 sees lo eth0 eth1\n") && log.contains("line 2\n"));
    says(&lab, "client", |log| log.contains("client sees lo eth0\n"));
    assert_eq!(fs::read_to_string(lab.control_socket("lb0")).unwrap(), "here");
    assert!(lab.machine_mut("lb0").unwrap().is_running());
    assert!(!lab.machine_mut("lb1").unwrap().is_running());
}

pub(crate) fn a_stopped_daemon_hangs_and_goes_on() {
    let mut lab = pair();
    let program = stand_in(&lab, "write");
    lab.start("lb0", &program).unwrap();
    says(&lab, "lb0", |log| log.contains("line 1\n"));
    lab.machine_mut("lb0").unwrap().signal(Signal::SIGSTOP).unwrap();
    // What it was about to write when the signal came.
    clock::wait(Span::millis(50));
    let before = lab.log("lb0");
    clock::wait(Span::millis(200));
    assert_eq!(lab.log("lb0"), before, "it hangs");
    assert!(lab.machine_mut("lb0").unwrap().is_running(), "it has not ended");
    lab.machine_mut("lb0").unwrap().signal(Signal::SIGCONT).unwrap();
    says(&lab, "lb0", |log| log.len() > before.len());
    lab.machine_mut("lb0").unwrap().signal(Signal::SIGTERM).unwrap();
    let status = lab.machine_mut("lb0").unwrap().wait_for_end(PATIENCE).unwrap();
    assert_eq!(status.signal(), Some(libc::SIGTERM));
}

pub(crate) fn a_daemon_that_has_ended_takes_no_signal() {
    let mut lab = pair();
    let machine = lab.machine_mut("lb0").unwrap();
    let refused = machine.kill().unwrap_err().to_string();
    let mend = "take one of those that were started and have not ended";
    assert_eq!(refused, format!("there is no running daemon on lb0: {mend}"));
    let program = stand_in(&lab, "end");
    lab.start("lb0", &program).unwrap();
    let machine = lab.machine_mut("lb0").unwrap();
    clock::wait_for(PATIENCE, || (!machine.is_running()).then_some(())).unwrap();
    let refused = machine.signal(Signal::SIGSTOP).unwrap_err().to_string();
    assert_eq!(refused, format!("there is no running daemon on lb0 (it ended: exit status: 3): {mend}"));
    let program = stand_in(&lab, "write");
    lab.start("lb0", &program).unwrap();
    lab.machine_mut("lb0").unwrap().kill().unwrap();
    assert!(!lab.machine_mut("lb0").unwrap().is_running());
}

/// A lab in a process of its own, which says where it is and then hangs.
pub(crate) fn leave_a_lab() -> ExitCode {
    lab::become_root().unwrap();
    let mut lab = Lab::build(&Plan::simple(&[("lb0", 10)], 0)).unwrap();
    let program = stand_in(&lab, "write");
    lab.start("lb0", &program).unwrap();
    says(&lab, "lb0", |log| log.contains("line 1\n"));
    println!("{}", lab.folder().display());
    clock::wait(PATIENCE * 10);
    ExitCode::FAILURE
}

/// The processes that a lab in this folder has started.
pub(crate) fn processes(folder: &str) -> Vec<i32> {
    let all =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let is_of_it = |pid: &i32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains(folder)
    };
    all.filter_map(|name| name.parse().ok()).filter(is_of_it).collect()
}

fn are_gone(folder: &str) -> bool {
    clock::wait_for(PATIENCE, || processes(folder).is_empty().then_some(())).is_some()
}

pub(crate) fn nothing_is_left_of_a_lab_that_ends_panics_or_is_killed() {
    let mut folder = String::new();
    for ends in [true, false] {
        let end = catch_unwind(AssertUnwindSafe(|| {
            let mut lab = pair();
            let program = stand_in(&lab, "write");
            lab.start("lb0", &program).unwrap();
            says(&lab, "lb0", |log| log.contains("line 1\n"));
            folder = lab.folder().display().to_string();
            assert_eq!(processes(&folder).len(), 1);
            if !ends {
                // A panic without its message: it is part of the test.
                std::panic::resume_unwind(Box::new(()));
            }
        }));
        assert_eq!(end.is_ok(), ends);
        assert_eq!(processes(&folder), Vec::<i32>::new());
        assert!(!fs::exists(&folder).unwrap());
    }
    for signal in [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM] {
        let mut child =
            Command::new("/proc/self/exe").arg("--leave-a-lab").stdout(Stdio::piped()).spawn().unwrap();
        let folder = first_line(&mut child);
        assert_eq!(processes(&folder).len(), 1, "{folder}");
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        child.wait().unwrap();
        assert!(are_gone(&folder), "after {signal}");
        let _ = fs::remove_dir_all(&folder);
    }
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let mut output = std::io::BufReader::new(child.stdout.as_mut().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    line.trim_end().to_owned()
}

/// Root alone can become somebody else; who is no root shows the same by every other test.
pub(crate) fn an_ordinary_user_has_the_same_lab() {
    if !nix::unistd::geteuid().is_root() || fs::read_to_string("/proc/self/uid_map").unwrap().contains(" 1\n")
    {
        return;
    }
    // Where that user can read it.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let copy = folder.path().join("lab");
    fs::copy("/proc/self/exe", &copy).unwrap();
    let nobody =
        ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"];
    let tests =
        ["two_machines", "a_cut", "address_that_moves", "bad_cable", "nothing_is_left", "answers_twice"];
    let output = Command::new("setpriv").args(nobody).arg(&copy).args(tests).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.starts_with("as an ordinary user") && said.ends_with("\n6 passed, 0 failed\n"),
        "{said}{complained}"
    );
}
