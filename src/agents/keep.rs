//! Programs that are kept running beside the daemon, as Heartbeat's `respawn` did: begun again when they end, later each
//! time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::unistd::User;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch::{self, Receiver};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::config::Respawn;
use crate::programs::mark;
use crate::programs::program::{Ended, Program};
use crate::time::Span;

use super::call::PATH;
use super::supervisor::Word;

/// Between its end and its next beginning, at first and at last.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Whatever has run for so long is well.
const STEADY: Duration = Duration::from_secs(30);

/// Heartbeat's word for "not again".
const ENOUGH: i32 = 100;

/// So many lines of each are told in a minute: a journal is not endless.
const LINES: u32 = 200;
const MINUTE: Duration = Duration::from_secs(60);

/// What is kept running, and who is told of it.
#[derive(Clone, Default)]
pub(super) struct Keeper(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// Each with what keeps it: it is ended when that is dropped.
    programs: BTreeMap<String, (Respawn, watch::Sender<()>)>,
    /// Whoever holds the turn of a name runs its program: the next one waits until the one before is over.
    turns: BTreeMap<String, Arc<tokio::sync::Mutex<()>>>,
    /// Why those that do not run do not.
    troubles: BTreeMap<String, String>,
    /// The daemon that asked last.
    told: Option<Sender<Word>>,
}

impl Keeper {
    /// From now on these run, and no others; what runs already goes on. `hand` is held for each until it is over.
    pub(super) fn keep(
        &self,
        wanted: Vec<Respawn>,
        told: Option<Sender<Word>>,
        marks: &Path,
        hand: &Arc<()>,
    ) {
        let mut kept = self.lock();
        kept.programs.retain(|_, (program, _)| wanted.contains(program));
        let Kept { programs, troubles, .. } = &mut *kept;
        troubles.retain(|name, _| programs.contains_key(name));
        for (name, trouble) in &*troubles {
            let word = Word::Kept { name: name.clone(), trouble: Some(trouble.clone()) };
            let _ = told.as_ref().map(|told| told.try_send(word));
        }
        kept.told = told;
        for program in wanted {
            if kept.programs.contains_key(&program.name) {
                continue;
            }
            let (stop, stopped) = watch::channel(());
            kept.programs.insert(program.name.clone(), (program.clone(), stop));
            let turn = Arc::clone(kept.turns.entry(program.name.clone()).or_default());
            let mark = marks.join(about(&program));
            let task = Task { keeper: self.clone(), program, mark, stopped, told: (Instant::now(), 0) };
            let hand = Arc::clone(hand);
            tokio::spawn(async move {
                let _turn = turn.lock().await;
                task.run().await;
                drop(hand);
            });
        }
    }

    /// Whether the daemon that asked for programs has gone.
    pub(super) fn is_orphan(&self) -> bool {
        let kept = self.lock();
        !kept.programs.is_empty() && kept.told.as_ref().is_none_or(Sender::is_closed)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, word: Word) {
        if let Some(told) = &self.lock().told {
            // A daemon that does not read has other worries.
            let _ = told.try_send(word);
        }
    }
}

/// The name of no resource.
fn about(program: &Respawn) -> String {
    format!("respawn:{}", program.name)
}

/// One program.
struct Task {
    keeper: Keeper,
    program: Respawn,
    mark: PathBuf,
    stopped: Receiver<()>,
    /// So many lines were told since then.
    told: (Instant, u32),
}

impl Task {
    async fn run(mut self) {
        let mut wait = FIRST_WAIT;
        while !self.is_over() {
            let began = Instant::now();
            let why = match self.run_once().await {
                Ok(Ended::Late) => return,
                Ok(Ended::Code(ENOUGH)) => {
                    return self.tell(Some(format!("it ended with exit code {ENOUGH}, and is left alone")));
                }
                Ok(Ended::Code(code)) => format!("it ended with exit code {code}"),
                Ok(Ended::Signal(signal)) => format!("it was ended by signal {signal}"),
                Err(why) => why,
            };
            if began.elapsed() >= STEADY {
                wait = FIRST_WAIT;
            }
            self.tell(Some(format!("{why}; it is begun again in {} s", wait.as_secs())));
            tokio::select! {
                () = sleep(wait) => {}
                () = dropped(self.stopped.clone()) => return,
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// It is not wanted any more.
    fn is_over(&self) -> bool {
        self.stopped.has_changed().is_err()
    }

    /// Until it ends, or is not wanted any more.
    async fn run_once(&mut self) -> Result<Ended, String> {
        if mark::runs(&self.mark) {
            return Err("an earlier one of it cannot be killed: it waits in the kernel, such as for a disk"
                .to_owned());
        }
        let Respawn { program, args, user, .. } = self.program.clone();
        let user = match user {
            // Who knows of users may be far away.
            Some(name) => {
                Some(spawn_blocking(move || find_user(&name)).await.map_err(|error| error.to_string())??)
            }
            None => None,
        };
        let (name, home) = match &user {
            Some(user) => (user.name.as_str(), user.dir.display().to_string()),
            None => ("root", "/root".to_owned()),
        };
        let variables = [("PATH", PATH), ("HOME", &home), ("USER", name), ("LOGNAME", name)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let bare = Program::bare(&program, &args, &variables, Span::ZERO);
        let child = Program { mark: Some(self.mark.clone()), user: user.clone(), ..bare };
        let (keeper, program, told) = (self.keeper.clone(), self.program.clone(), &mut self.told);
        let run = child.whole(dropped(self.stopped.clone()), |line| {
            if told.0.elapsed() >= MINUTE {
                *told = (Instant::now(), 0);
            }
            told.1 += 1;
            if told.1 <= LINES {
                keeper.tell(Word::Line { about: about(&program), line });
            }
        });
        tokio::pin!(run);
        tokio::select! {
            ended = &mut run => return ended,
            () = sleep(STEADY) => {}
        }
        note(&self.keeper, &self.program.name, None);
        run.await
    }

    fn tell(&self, trouble: Option<String>) {
        if !self.is_over() {
            note(&self.keeper, &self.program.name, trouble);
        }
    }
}

/// Why it does not run, or that it does: now, and to each daemon that comes.
fn note(keeper: &Keeper, name: &str, trouble: Option<String>) {
    {
        let mut kept = keeper.lock();
        match &trouble {
            Some(why) => kept.troubles.insert(name.to_owned(), why.clone()),
            None => kept.troubles.remove(name),
        };
    }
    keeper.tell(Word::Kept { name: name.to_owned(), trouble });
}

fn find_user(name: &str) -> Result<User, String> {
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(format!("there is no user {name}")),
        Err(errno) => Err(format!("the user {name} cannot be looked up: {errno}")),
    }
}

/// Until the other end is dropped.
async fn dropped(mut end: Receiver<()>) {
    while end.changed().await.is_ok() {}
}
