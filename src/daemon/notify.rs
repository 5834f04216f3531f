//! The program of `[notify]`: run for one event after the other, in the order in which they happened.
//!
//! What waits for it is bounded, and nothing of the daemon waits for it but a stop, and that briefly.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::config::{Config, Notify};
use crate::control::variables::Told;
use crate::programs::program::Program;

/// So many events wait for the program. One more, and the oldest is not told: how things are now matters more than how
/// they came to be so, which the journal keeps.
const WAITING: usize = 64;

/// A stop, and a new version that takes this one's place, wait so long for what is not told yet. Mail is faster; and
/// whoever stops a daemon sits in front of it.
const LAST: Duration = Duration::from_secs(3);

/// So many lines of one run go to the log: a program must not push out what the daemon has to say.
const LINES: usize = 20;

/// The program, and what it is still to be told.
#[derive(Debug)]
pub(super) struct Notifier {
    notify: Option<Arc<Notify>>,
    cluster: String,
    node: String,
    waiting: VecDeque<Told>,
    /// Dropped since it was last said.
    dropped: usize,
    running: Option<JoinHandle<()>>,
}

impl Notifier {
    pub(super) fn new(config: &Config, node: String) -> Self {
        Self {
            notify: config.notify.clone().map(Arc::new),
            cluster: config.cluster.clone(),
            node,
            waiting: VecDeque::new(),
            dropped: 0,
            running: None,
        }
    }

    /// From the next run on. What runs now ends as it was begun.
    pub(super) fn configure(&mut self, config: &Config) {
        self.notify = config.notify.clone().map(Arc::new);
        if self.notify.is_none() {
            self.waiting.clear();
            self.dropped = 0;
        }
    }

    /// Tells the program of this, when it has been told of all before, and if it is to be told at all.
    pub(super) fn tell(&mut self, told: Told) {
        let Some(notify) = &self.notify else { return };
        if !notify.events.iter().any(|kind| kind == told.kind) {
            return;
        }
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(told);
        self.next();
    }

    /// Returns when a run has ended, and the next has begun; else never. It may be dropped at any time.
    pub(super) async fn ended(&mut self) {
        match &mut self.running {
            // It returns nothing, and a panic has ended the daemon.
            Some(running) => drop(running.await),
            None => pending().await,
        }
        self.running = None;
        self.next();
    }

    /// Lets the program hear the last of it, for a short while; then it is killed.
    pub(super) async fn finish(&mut self) {
        let all = async {
            while self.running.is_some() {
                self.ended().await;
            }
        };
        if timeout(LAST, all).await.is_ok() {
            return;
        }
        if let Some(running) = self.running.take() {
            running.abort();
            drop(running.await);
        }
        let untold = self.waiting.len();
        warn!(
            "the program of [notify] is not waited for: it is killed, and {untold} more events are not told"
        );
        self.waiting.clear();
    }

    fn next(&mut self) {
        let Some(notify) = self.notify.as_ref().filter(|_| self.running.is_none()) else { return };
        let Some(told) = self.waiting.pop_front() else { return };
        if self.dropped > 0 {
            let (program, dropped) = (notify.program.display(), self.dropped);
            warn!(
                "{program} is slower than what happens: it was not told of {dropped} events, the oldest that waited"
            );
            self.dropped = 0;
        }
        let mut variables = told.variables;
        variables.push(("SYSTOLE_CLUSTER", self.cluster.clone()));
        variables.push(("SYSTOLE_NODE", self.node.clone()));
        self.running = Some(tokio::spawn(run(Arc::clone(notify), told.kind, variables)));
    }
}

/// One run, with a word on it if it went wrong.
async fn run(notify: Arc<Notify>, kind: &'static str, variables: Vec<(&'static str, String)>) {
    let shown = notify.program.display();
    let mut lines = 0;
    let program = Program {
        path: &notify.program,
        args: &notify.args,
        variables,
        bare: false,
        limit: notify.timeout,
        input: "",
        mark: None,
        user: None,
    };
    let say = |line: String| {
        lines += 1;
        if lines <= LINES {
            info!("{shown}: {line}");
        }
    };
    let outcome = program.run(say).await;
    if let Some(more @ 1..) = usize::checked_sub(lines, LINES) {
        info!("{shown}: {more} more lines are left out");
    }
    if let Err(why) = outcome {
        warn!("{shown} has failed at `{kind}`: {why}");
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::io::Read;
    use std::path::PathBuf;
    use std::sync::Mutex;
    use std::{fs, io};

    use tokio::task::spawn_blocking;

    use super::*;
    use crate::config::parse_toml;
    use crate::time::Span;

    /// Longer than anything takes, on any machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A log that a test can read.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Runs a shell's text for each event; what stands in the file that it knows as `$0`, and the log.
    fn told<F: Future<Output = ()>>(
        script: &str,
        limit_ms: u64,
        test: impl FnOnce(Notifier, PathBuf) -> F,
    ) -> (String, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("said");
        let text = "[node.lb0]\n[link.lan]\ninterface = \"eth0\"\nbroadcast = true\n";
        let mut config = parse_toml("a.toml", text).unwrap_or_else(|report| panic!("{report}")).config;
        config.notify = Some(Notify {
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script.to_owned(), file.to_str().unwrap().to_owned()],
            events: vec!["running".to_owned(), "released".to_owned()],
            timeout: Span::millis(limit_ms),
        });
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let notifier = Notifier::new(&config, "lb0".to_owned());
            let all = runtime.block_on(async { timeout(PATIENCE, test(notifier, file.clone())).await });
            assert!(all.is_ok(), "in vain");
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        (fs::read_to_string(&file).unwrap_or_default(), log)
    }

    fn event(kind: &'static str, group: &str) -> Told {
        Told {
            kind,
            variables: vec![("SYSTOLE_EVENT", kind.to_owned()), ("SYSTOLE_GROUP", group.to_owned())],
        }
    }

    /// Whether the process with the number in this text is over; nobody may be there to bury it.
    #[track_caller]
    fn is_over(number: &str) -> bool {
        let number: u32 = number.trim().parse().expect("it has said its number");
        let state = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ") || state.contains(") X ")
    }

    async fn all_told(notifier: &mut Notifier) {
        while notifier.running.is_some() {
            notifier.ended().await;
        }
    }

    #[test]
    fn it_is_told_of_one_event_after_the_other_and_of_none_that_was_not_asked_for() {
        let script = "echo $SYSTOLE_EVENT $SYSTOLE_GROUP $SYSTOLE_NODE $SYSTOLE_CLUSTER >> $0; sleep 0.05; echo . >> $0";
        let (said, log) = told(script, 30_000, |mut notifier, _| async move {
            notifier.tell(event("running", "a"));
            notifier.tell(event("planned", "a"));
            notifier.tell(event("released", "a"));
            notifier.tell(event("running", "b"));
            all_told(&mut notifier).await;
        });
        assert_eq!(said, "running a lb0 systole\n.\nreleased a lb0 systole\n.\nrunning b lb0 systole\n.\n");
        assert_eq!(log, "");
    }

    #[test]
    fn one_that_hangs_is_killed_with_all_that_it_started_and_the_next_is_run() {
        let script = "[ $SYSTOLE_GROUP = b ] && exit 3; sleep 1000 & echo $! >> $0; wait";
        let (said, log) = told(script, 3_000, |mut notifier, _| async move {
            notifier.tell(event("running", "a"));
            notifier.tell(event("running", "b"));
            all_told(&mut notifier).await;
        });
        assert!(log.contains("/bin/sh has failed at `running`: it took longer than 3s"), "{log}");
        assert!(log.contains("/bin/sh has failed at `running`: exit code 3"), "{log}");
        assert!(is_over(&said));
    }

    #[test]
    fn where_too_much_waits_the_oldest_is_dropped_and_the_log_says_how_many() {
        let (said, log) =
            told("echo $SYSTOLE_GROUP >> $0; sleep 0.01", 30_000, |mut notifier, _| async move {
                for number in 0..WAITING + 4 {
                    notifier.tell(event("running", &number.to_string()));
                }
                assert_eq!((notifier.waiting.len(), notifier.dropped), (WAITING, 3));
                all_told(&mut notifier).await;
            });
        // The first ran already.
        let expected: Vec<String> =
            [0].into_iter().chain(4..WAITING + 4).map(|number| number.to_string()).collect();
        assert_eq!(said.lines().collect::<Vec<_>>(), expected);
        assert!(log.contains("it was not told of 3 events, the oldest that waited"), "{log}");
    }

    #[test]
    fn what_it_says_is_in_the_log_in_measure_and_what_it_leaves_behind_holds_nobody_up() {
        let script = "printf 'one\\n\\033[31mtwo\\n'; echo three >&2; sleep 1000 & for i in $(seq 30); do echo $i; done";
        let (_, log) = told(script, 30_000, |mut notifier, _| async move {
            notifier.tell(event("running", "a"));
            all_told(&mut notifier).await;
        });
        assert!(log.contains("/bin/sh: one\n") && log.contains("/bin/sh:  [31mtwo\n"), "{log}");
        assert!(log.contains("/bin/sh: three\n") && log.contains("/bin/sh: 17\n"), "{log}");
        assert!(!log.contains("/bin/sh: 18\n") && log.contains("13 more lines are left out"), "{log}");
        assert!(!log.contains("failed"), "{log}");
    }

    #[test]
    fn a_stop_waits_briefly_for_the_last_and_no_longer() {
        let (said, log) =
            told("sleep 0.2; echo $SYSTOLE_GROUP >> $0", 30_000, |mut notifier, _| async move {
                notifier.tell(event("running", "a"));
                notifier.tell(event("released", "a"));
                notifier.finish().await;
            });
        assert_eq!((said.as_str(), log.as_str()), ("a\na\n", ""));
        let (_, log) =
            told("exec 3> $0.pipe; echo >&3; exec sleep 1000", 1_000_000, |mut notifier, file| async move {
                // Who reads from it waits for the program's word, and then for its end.
                let pipe = file.with_extension("pipe");
                nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
                notifier.tell(event("running", "a"));
                notifier.tell(event("released", "a"));
                let open_and_read = move || {
                    let mut pipe = fs::File::open(pipe).unwrap();
                    pipe.read_exact(&mut [0]).unwrap();
                    pipe
                };
                let mut pipe = spawn_blocking(open_and_read).await.unwrap();
                notifier.finish().await;
                let rest = spawn_blocking(move || pipe.read_to_end(&mut Vec::new()).unwrap()).await.unwrap();
                assert_eq!(rest, 0);
            });
        assert!(log.contains("it is killed, and 1 more events are not told"), "{log}");
    }
}
