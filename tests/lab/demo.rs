//! The demo, with a simple pair in the daemon's place: what it shows is what that pair does.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use systole::cli;
use systole::lab::demo::{Demo, PLAY, Step, Told};
use systole::lab::{Outcome, Seen, Stop, clock};
use systole::time::Span;

use super::cables::PATIENCE;

type Came = (Step, Outcome, Option<String>);

/// What was told, and what came of each step.
fn played() -> (Vec<Told>, Vec<Came>) {
    let mut all = Vec::new();
    let mut tell = |_: Span, told: Told| all.push(told);
    let mut demo = Demo::new(Path::new("/proc/self/exe"), Stop::default(), &mut tell)
        .unwrap_or_else(|error| panic!("{error}"));
    demo.play(&mut tell).unwrap_or_else(|error| panic!("{error}\n{all:#?}"));
    let came = all.iter().filter_map(|told| match told {
        Told::Comes { step, outcome, holder, .. } => Some((*step, outcome.clone(), holder.clone())),
        Told::Runs { .. } | Told::Does { .. } | Told::Sees(_) => None,
    });
    let came = came.collect();
    (all, came)
}

pub(crate) fn the_play_shows_what_a_pair_does_and_what_it_does_wrong() {
    let (all, came) = played();
    for (step, outcome, holder) in &came {
        println!("  {step}: {outcome:?} {holder:?}");
    }
    let wanted: Vec<_> = PLAY.iter().flat_map(|(step, mend)| [Some(*step), *mend]).flatten().collect();
    assert_eq!(came.iter().map(|(step, ..)| *step).collect::<Vec<_>>(), wanted);
    let of = |wanted: Step| came.iter().find(|(step, ..)| *step == wanted).unwrap();
    for step in [Step::Pull, Step::Cut, Step::Kill, Step::Stop, Step::HandOver] {
        let (_, outcome, holder) = of(step);
        let (_, from) = outcome.first_answer.as_ref().unwrap_or_else(|| panic!("{step}: {outcome:?}"));
        assert_eq!(Some(from.as_ref()), holder.as_deref(), "{step}");
        assert!(outcome.first_announcement.is_some(), "{step}: {outcome:?}");
    }
    // A simple pair has no lease: who was killed or hangs answers on.
    for step in [Step::Kill, Step::Stop] {
        assert!(of(step).1.doubles > 0, "{step}: {:?}", of(step));
    }
    let has_double = all.iter().any(|told| matches!(told, Told::Sees(Seen::Double { .. })));
    assert!(has_double, "{all:#?}");
    for step in [Step::Pull, Step::Cut] {
        assert_eq!(of(step).1.doubles, 0, "{step}: who is cut off cannot be heard");
        assert!(of(step).1.outage > Span::millis(50), "{step}: it takes time to find out");
    }
    let (_, wiped, holder) = of(Step::Wipe);
    assert_eq!(wiped.first_answer, None, "{holder:?} puts it back itself");
    assert!(all.iter().any(|told| matches!(told, Told::Comes { page: Some(_), .. })));
}

pub(crate) fn a_pair_that_does_not_start_is_reported_with_its_last_words() {
    let error = Demo::new(Path::new("/bin/echo"), Stop::default(), &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.starts_with("nobody takes the address; its daemons say:\n  lb0: run --config "), "{error}");
    assert!(error.ends_with("try `systole check` on the configuration"), "{error}");
}

/// The command, with the stand-in for its daemon.
pub(crate) fn command(arguments: &[String]) -> ExitCode {
    let has = |option: &str| arguments.iter().any(|argument| argument == option);
    let daemon = PathBuf::from("/proc/self/exe");
    cli::demo::Demo { interactive: has("--interactive"), json: has("--json"), daemon }.run()
}

fn start(options: &[&str]) -> Child {
    let mut command = Command::new("/proc/self/exe");
    command.arg("--demo").args(options).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

pub(crate) fn keys_decide_what_happens_and_every_line_is_an_object() {
    let mut child = start(&["--interactive", "--json"]);
    child.stdin.take().unwrap().write_all(b"ow?sq").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    assert!(lines.iter().all(|line| line["version"] == 1), "{said}");
    let done: Vec<_> =
        lines.iter().filter(|line| line["event"] == "does").map(|line| &line["details"]).collect();
    let steps: Vec<_> = done.iter().map(|details| details["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["hand-over", "wipe", "start"], "{said}");
    assert_eq!(
        (&done[0]["machine"], &done[1]["machine"]),
        (&"lb0".into(), &"lb1".into()),
        "it was handed over"
    );
    assert_eq!(done[2]["machine"], "lb0", "it had ended");
    assert_eq!(lines.last().unwrap()["event"], "end");
    assert!(output.status.success(), "{said}");
}

pub(crate) fn a_demo_that_is_interrupted_puts_everything_away() {
    let before = folders();
    let mut child = start(&[]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.by_ref().find(|line| line.as_ref().unwrap().contains("holds the address")).unwrap().unwrap();
    let mine: Vec<_> = folders().into_iter().filter(|folder| !before.contains(folder)).collect();
    assert!(!mine.is_empty());
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    for folder in mine.iter().filter(|folder| folder.contains(&format!("-{}-", child.id()))) {
        assert!(!fs::exists(folder).unwrap(), "{folder}");
        let gone = || super::children::processes(folder).is_empty().then_some(());
        assert!(clock::wait_for(PATIENCE, gone).is_some(), "{folder}");
    }
}

pub(crate) fn folders() -> Vec<String> {
    let all =
        [std::env::temp_dir(), "/dev/shm".into()].into_iter().filter_map(|path| fs::read_dir(path).ok());
    let paths = all.flatten().map(|entry| entry.unwrap().path().display().to_string());
    paths.filter(|path| path.contains("systole-lab-")).collect()
}
