//! `systole demo`: a cluster on this one machine, what happens to it, and what a client notices.

use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use crate::lab::demo::{Demo as Pair, Step, Told};
use crate::lab::{LabError, Outcome, Seen, Stop, become_root, interrupts, is_root};
use crate::time::Span;

/// Show a pair of directors on this machine: pull cables, kill and hang daemons, hand over.
///
/// Everything is in network namespaces of its own: neither root nor a second machine is needed, and nothing is left
/// behind. A client asks the address five times a millisecond.
///
/// Exit status: 0 if the address was always taken over and never had by two, 1 if not, 2 if the demo cannot run here.
#[derive(clap::Args, Debug)]
pub struct Demo {
    /// Let the keys decide what happens
    #[arg(long)]
    pub interactive: bool,
    /// Print an object a line, instead of text
    #[arg(long)]
    pub json: bool,
    /// Another systole to show
    #[arg(long, value_name = "PATH", default_value = "/proc/self/exe")]
    pub daemon: PathBuf,
}

/// The version of what `--json` prints.
const VERSION: u32 = 1;
/// Between two looks at the keys.
const LOOK: Span = Span::millis(50);

const KEYS: [(char, Step, &str); 11] = [
    ('p', Step::Pull, "pull the holder's cable at the machine"),
    ('c', Step::Cut, "cut it behind the switch: carrier stays"),
    ('m', Step::Plug, "mend the cable"),
    ('k', Step::Kill, "kill the holder's daemon"),
    ('s', Step::Start, "start a daemon that does not run"),
    ('h', Step::Stop, "hang the holder's daemon"),
    ('g', Step::Continue, "let it go on"),
    ('o', Step::HandOver, "hand over: tell the holder's daemon to end"),
    ('w', Step::Wipe, "delete the address behind the daemon's back"),
    ('r', Step::Rival, "a stranger claims the address for a second"),
    ('l', Step::Load, "keep all processors busy for a second"),
];

impl Demo {
    /// What happens goes to standard output; why it cannot, to standard error.
    pub fn run(&self) -> ExitCode {
        match self.show() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => {
                eprintln!("two machines answered at times: look above for when");
                ExitCode::from(1)
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(match error {
                    LabError::Cluster { .. } | LabError::Interrupted => 1,
                    LabError::Forbidden { .. }
                    | LabError::Unknown { .. }
                    | LabError::Idle(_)
                    | LabError::Network(_)
                    | LabError::Setting(_)
                    | LabError::Machine { .. } => 2,
                })
            }
        }
    }

    /// Whether there were never two that answered, except for a stranger.
    fn show(&self) -> Result<bool, LabError> {
        let real = is_root();
        become_root()?;
        let interrupted = interrupts()?;
        let mut rows = Vec::new();
        let json = self.json;
        let mut tell = |at: Span, told: Told| {
            say(&if json { as_json(at, &told).to_string() } else { as_text(at, &told) });
            if let Told::Comes { step, outcome, holder, .. } = told {
                rows.push((step, outcome, holder));
            }
        };
        if !json {
            say(
                "Two directors, lb0 and lb1, and a client, in namespaces of this machine. A client asks 10.77.0.100",
            );
            say("five times a millisecond, and both directors who has it; times are since the beginning.");
        }
        if self.interactive && !json {
            KEYS.iter().for_each(|(key, _, what)| say(&format!("  {key}  {what}")));
            say("  q  end");
        }
        let mut pair = Pair::new(&self.daemon, interrupted.clone(), &mut tell)?;
        let idle = pair.idle()?;
        let done = if self.interactive {
            play_by_keys(&mut pair, &interrupted, &mut tell)
        } else {
            pair.play(&mut tell)
        };
        let (usual, most) = idle.finish();
        if json {
            let late = json!({ "usual_us": usual.as_micros(), "most_us": most.as_micros() });
            say(&json!({ "version": VERSION, "event": "end", "real_time": real, "late": late }).to_string());
        } else {
            summary(&rows);
            say(&format!(
                "\nThis machine was late by {usual} in 99 of 100 cases at most, and by {most} at most."
            ));
            if !real {
                say("An ordinary user has no real-time threads: run it as root for figures that count.");
            }
        }
        done?;
        Ok(rows.iter().all(|(step, outcome, _)| *step == Step::Rival || outcome.doubles == 0))
    }
}

/// A reader that went away is no mistake of ours.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn play_by_keys(
    pair: &mut Pair,
    interrupted: &Stop,
    tell: &mut dyn FnMut(Span, Told),
) -> Result<(), LabError> {
    let _keys_at_once = Unbuffered::new();
    let keys = keys();
    while !interrupted.is_set() {
        pair.watch(LOOK, tell, |_| false);
        for key in keys.try_iter() {
            if key == 'q' {
                return Ok(());
            }
            let Some((_, step, _)) = KEYS.iter().find(|(known, ..)| *known == key) else { continue };
            match pair.step(*step, tell) {
                // The next key may mend it.
                Err(error @ LabError::Cluster { .. }) => say(&error.to_string()),
                done => done?,
            }
        }
    }
    Ok(())
}

/// The keys that are pressed, and a `q` at the end of them.
fn keys() -> Receiver<char> {
    let (tell, keys) = mpsc::channel();
    std::thread::spawn(move || {
        let mut key = [0];
        while matches!(io::stdin().read(&mut key), Ok(1)) {
            if tell.send(char::from(key[0])).is_err() {
                return;
            }
        }
        // Whoever listened may have ended already.
        let _ = tell.send('q');
    });
    keys
}

/// Keys come without a line's end, and are not shown. Dropped, the terminal is as it was.
struct Unbuffered(Option<Termios>);

impl Unbuffered {
    fn new() -> Self {
        let before =
            Some(io::stdin()).filter(IsTerminal::is_terminal).and_then(|stdin| tcgetattr(stdin).ok());
        if let Some(before) = &before {
            let mut now = before.clone();
            now.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
            // Otherwise a key needs the return key behind it.
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &now);
        }
        Self(before)
    }
}

impl Drop for Unbuffered {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // It was possible before.
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

fn as_text(at: Span, told: &Told) -> String {
    let text = match told {
        Told::Runs { holder } => format!("{holder} holds the address"),
        Told::Does { step, machine } => format!("** {machine}: {}", what(*step)),

        Told::Sees(Seen::Answers { machine, silence }) => {
            format!("{machine} answers, after {} without an answer", milliseconds(*silence))
        }
        Told::Sees(Seen::Announces { machine }) => format!("{machine} announces the address"),
        Told::Sees(Seen::Double { machines }) => format!("two answer: {}", machines.join(" and ")),
        Told::Comes { outcome, holder, page, .. } => {
            let holder = holder.as_deref().unwrap_or("nobody");
            let served = match page {
                Some((name, took)) => format!("a page came from {name} in {}", milliseconds(*took)),
                None => "no page comes".to_owned(),
            };
            let double = if outcome.doubles == 0 { "never two" } else { "two at times" };
            let outage = milliseconds(outcome.outage);
            format!("=> {outage} without an answer; {holder} has it, {double}; {served}")
        }
    };
    let before = if matches!(told, Told::Does { .. }) { "\n" } else { "" };
    format!("{before}{:>8} ms  {text}", at.as_micros() / 1_000)
}

fn milliseconds(span: Span) -> String {
    format!("{}.{} ms", span.as_micros() / 1_000, span.as_micros() / 100 % 10)
}

const fn what(step: Step) -> &'static str {
    match step {
        Step::Pull => "the cable is pulled at the machine",
        Step::Cut => "the cable is cut behind the switch",
        Step::Plug => "the cable is mended",
        Step::Kill => "the daemon is killed",
        Step::Start => "the daemon is started",
        Step::Stop => "the daemon hangs",
        Step::Continue => "the daemon goes on",
        Step::HandOver => "the daemon is told to hand over and end",
        Step::Wipe => "the address is deleted behind the daemon's back",
        Step::Rival => "a stranger claims the address for a second",
        Step::Load => "all processors are busy for a second",
    }
}

fn summary(rows: &[(Step, Outcome, Option<String>)]) {
    say(&format!(
        "\n{:<10} {:>14} {:>14} {:>14}  {:<6} two",
        "", "no answer", "announced", "taken over", "holder"
    ));
    for (step, outcome, holder) in rows {
        let after = |time: Option<Span>| time.map_or_else(|| "-".to_owned(), milliseconds);
        let announced = after(outcome.first_announcement.map(|(after, _)| after));
        let taken = after(outcome.first_answer.as_ref().map(|(after, _)| *after));
        let (outage, holder) = (milliseconds(outcome.outage), holder.as_deref().unwrap_or("nobody"));
        let step = step.to_string();
        say(&format!("{step:<10} {outage:>14} {announced:>14} {taken:>14}  {holder:<6} {}", outcome.doubles));
    }
}

fn as_json(at: Span, told: &Told) -> Value {
    let (event, details) = match told {
        Told::Runs { holder } => ("runs", json!({ "holder": holder })),
        Told::Does { step, machine } => ("does", json!({ "step": step.to_string(), "machine": machine })),
        Told::Sees(Seen::Answers { machine, silence }) => {
            ("answers", json!({ "machine": machine.as_ref(), "silence_us": silence.as_micros() }))
        }
        Told::Sees(Seen::Announces { machine }) => ("announces", json!({ "machine": machine })),
        Told::Sees(Seen::Double { machines }) => ("double", json!({ "machines": machines })),
        Told::Comes { step, outcome, holder, page } => {
            let first = outcome.first_answer.as_ref();
            let announced = outcome.first_announcement;
            let details = json!({
                "step": step.to_string(),
                "outage_us": outcome.outage.as_micros(),
                "first_answer_us": first.map(|(after, _)| after.as_micros()),
                "first_announcement_us": announced.map(|(after, _)| after.as_micros()),
                "doubles": outcome.doubles,
                "holder": holder,
                "page_us": page.as_ref().map(|(_, took)| took.as_micros()),
                "page_from": page.as_ref().map(|(name, _)| name),
            });
            ("comes", details)
        }
    };
    json!({ "version": VERSION, "at_us": at.as_micros(), "event": event, "details": details })
}
