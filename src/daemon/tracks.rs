//! What is tracked beside the network (`[track.NAME]`): each thing is looked at by a task of its own, and so often as the
//! configuration says. A node that lacks something is unfit for the groups that hang on it; or it counts for less, where the
//! thing has a weight.
//!
//! What was never looked at is bad after a boot, when nothing runs here yet, and else as an earlier daemon of this boot has
//! found it: neither may a group come here before the first look, nor go away because of a new daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::config::{Bearing, Config, Track, Tracked};
use crate::programs::program::Program;
use crate::time::Span;
use crate::types::GroupId;

use super::beats::{Told, Trouble};

/// Looks that wait for the desk; a task that finds no room waits, and looks later.
const WAITING: usize = 16;

/// A file system that does not answer in this time is as good as gone.
const FILES_ANSWER: Duration = Duration::from_secs(2);

/// What one look found: nothing, or what is wrong.
type Found = Result<(), String>;

/// What is looked at, by its name, and what was found.
type Look = (String, Found);

/// All that is tracked.
#[derive(Debug)]
pub(super) struct Tracks {
    /// What programs find in their environment.
    variables: Vec<(&'static str, String)>,
    tracks: Vec<Arc<Track>>,
    /// By name.
    scores: BTreeMap<String, Score>,
    looks: (Sender<Look>, Receiver<Look>),
    tasks: Vec<AbortHandle>,
    /// Which groups are unfit here, and because of what, as it was told.
    told: BTreeSet<(GroupId, String)>,
    told_weight: u16,
}

/// What follows from a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It is bad now, for this reason.
    Bad { name: String, why: String },
    /// It is well again.
    Well { name: String },
    /// A group is unfit here because of it, or no longer so.
    Unfit { group: GroupId, name: String, stands: bool },
    /// What all that is well weighs.
    Weight(u16),
}

impl News {
    /// What the beat thread is told of it.
    pub(super) fn told(self) -> Option<Told> {
        match self {
            Self::Unfit { group, name, stands } => {
                Some(Told::Trouble { group, trouble: Trouble::Tracked(name), stands })
            }
            Self::Weight(weight) => Some(Told::Weight(weight)),
            Self::Bad { .. } | Self::Well { .. } => None,
        }
    }
}

/// How one thing is, by its looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Score {
    bad: bool,
    /// Looks in a row that say otherwise; `None`: there was no look yet, and the first one counts by itself.
    otherwise: Option<u32>,
}

impl Score {
    /// Whether it is otherwise now than before.
    fn note(&mut self, bad: bool, track: &Track) -> bool {
        let needed = if bad { track.fall } else { track.rise };
        let otherwise = match self.otherwise {
            _ if bad == self.bad => 0,
            None => needed,
            Some(before) => before + 1,
        };
        let turns = bad != self.bad && otherwise >= needed;
        self.otherwise = Some(if turns { 0 } else { otherwise });
        self.bad ^= turns;
        turns
    }
}

impl Tracks {
    /// `known`: what an earlier daemon of this boot has found bad; `None`: there was none.
    pub(super) fn new(config: &Config, node: String, known: Option<&BTreeSet<String>>) -> Self {
        let bad = |name: &str| known.is_none_or(|known| known.contains(name));
        let score = |track: &Track| (track.name.clone(), Score { bad: bad(&track.name), otherwise: None });
        Self {
            variables: vec![("SYSTOLE_CLUSTER", config.cluster.clone()), ("SYSTOLE_NODE", node)],
            tracks: config.tracks.iter().cloned().map(Arc::new).collect(),
            scores: config.tracks.iter().map(score).collect(),
            looks: mpsc::channel(WAITING),
            tasks: Vec::new(),
            told: BTreeSet::new(),
            told_weight: 0,
        }
    }

    /// Begins to look; what follows from what is known so far.
    pub(super) fn begin(&mut self, config: &Config) -> Vec<News> {
        self.stop();
        for track in &self.tracks {
            let task = look_again_and_again(Arc::clone(track), self.variables.clone(), self.looks.0.clone());
            self.tasks.push(tokio::spawn(task).abort_handle());
        }
        self.settle(config)
    }

    /// Under a new configuration: what is new is well until the first look.
    pub(super) fn configure(&mut self, config: &Config) -> Vec<News> {
        let same = self.tracks.iter().map(AsRef::as_ref).eq(&config.tracks);
        if same {
            return self.settle(config);
        }
        let score = |track: &Track| {
            let known = self.scores.get(&track.name).cloned().unwrap_or_default();
            (track.name.clone(), known)
        };
        let scores: BTreeMap<String, Score> = config.tracks.iter().map(score).collect();
        let gone = self.scores.iter().filter(|(name, score)| score.bad && !scores.contains_key(*name));
        let mut news: Vec<News> = gone.map(|(name, _)| News::Well { name: name.clone() }).collect();
        self.scores = scores;
        self.tracks = config.tracks.iter().cloned().map(Arc::new).collect();
        // Looks at what it was before say nothing.
        self.looks = mpsc::channel(WAITING);
        news.extend(self.begin(config));
        news
    }

    /// Ends all programs that look.
    pub(super) fn stop(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }

    /// The next look. It may be dropped at any time.
    pub(super) async fn look(&mut self) -> Look {
        match self.looks.1.recv().await {
            Some(look) => look,
            // There is a sender here.
            None => std::future::pending().await,
        }
    }

    /// What follows from a look.
    pub(super) fn note(&mut self, config: &Config, name: String, found: Found) -> Vec<News> {
        let track = self.tracks.iter().find(|track| track.name == name);
        let Some((track, score)) = track.zip(self.scores.get_mut(&name)) else { return Vec::new() };
        let is_first = score.otherwise.is_none();
        let turned = score.note(found.is_err(), track);
        let mut news = Vec::new();
        match found {
            Err(why) if turned || is_first && score.bad => news.push(News::Bad { name, why }),
            Ok(()) if turned => news.push(News::Well { name }),
            Ok(()) | Err(_) => {}
        }
        if turned {
            news.extend(self.settle(config));
        }
        news
    }

    /// The names of all that is bad.
    pub(super) fn bad(&self) -> BTreeSet<String> {
        self.scores.iter().filter(|(_, score)| score.bad).map(|(name, _)| name.clone()).collect()
    }

    /// What has to be told for all to be told as it is.
    pub(super) fn settle(&mut self, config: &Config) -> Vec<News> {
        let (mut unfit, mut weight) = (BTreeSet::new(), 0_u16);
        for track in &self.tracks {
            let bad = self.scores.get(&track.name).is_some_and(|score| score.bad);
            match &track.bearing {
                Bearing::Weight(well) if !bad => weight = weight.saturating_add(*well),
                Bearing::Groups(groups) if bad => {
                    let there = groups.iter().filter(|group| config.groups.contains_key(group));
                    unfit.extend(there.map(|group| (*group, track.name.clone())));
                }
                Bearing::Weight(_) | Bearing::Groups(_) => {}
            }
        }
        let news = |stands| {
            move |(group, name): &(GroupId, String)| News::Unfit { group: *group, name: name.clone(), stands }
        };
        let mut all: Vec<News> = unfit.difference(&self.told).map(news(true)).collect();
        all.extend(self.told.difference(&unfit).map(news(false)));
        if weight != self.told_weight {
            all.push(News::Weight(weight));
        }
        (self.told, self.told_weight) = (unfit, weight);
        all
    }
}

async fn look_again_and_again(
    track: Arc<Track>,
    variables: Vec<(&'static str, String)>,
    looks: Sender<Look>,
) {
    let mut every = interval(Duration::from_micros(track.every.as_micros()));
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let found = look(&track.what, variables.clone(), track.timeout).await;
        if looks.send((track.name.clone(), found)).await.is_err() {
            return;
        }
    }
}

async fn look(what: &Tracked, variables: Vec<(&'static str, String)>, limit: Span) -> Found {
    match what {
        Tracked::Program { program: path, args } => {
            let mut last = String::new();
            let program =
                Program { path, args, variables, bare: false, limit, input: "", mark: None, user: None };
            let found = program.run(|line| last = line).await;
            found.map_err(|why| match last.as_str() {
                "" => format!("{}: {why}", path.display()),
                last => format!("{}: {why}; it says: {last}", path.display()),
            })
        }
        Tracked::File(path) => match is_there(path).await? {
            true => Ok(()),
            false => Err(format!("{} is not there", path.display())),
        },
        Tracked::NoFile(path) => match is_there(path).await? {
            false => Ok(()),
            true => Err(format!("{} is there", path.display())),
        },
        Tracked::Process(name) => {
            let wanted = name.clone();
            let runs = bounded(move || Ok(runs(&wanted))).await?;
            if runs { Ok(()) } else { Err(format!("no process {name} runs")) }
        }
    }
}

async fn is_there(path: &Path) -> Result<bool, String> {
    let path = path.to_owned();
    bounded(move || match fs::symlink_metadata(&path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(format!("{} cannot be looked at: {error}", path.display())),
    })
    .await
}

/// On a thread that nobody waits for, should the file system hang.
async fn bounded<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match timeout(FILES_ANSWER, spawn_blocking(job)).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the file system does not answer within {} s", FILES_ANSWER.as_secs())),
    }
}

/// Whether a process of this name runs: the kernel's name of it, which is cut off after 15 bytes, or its program's.
fn runs(name: &str) -> bool {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes =
        entries.filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    processes.map(|entry| entry.path()).any(|process| {
        let comm = fs::read_to_string(process.join("comm")).unwrap_or_default();
        let comm = comm.trim_end_matches('\n');
        if comm.len() < 15 || !name.starts_with(comm) {
            return comm == name;
        }
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let first = line.split(|byte| *byte == 0).next().unwrap_or_default();
        comm == name || first.rsplit(|byte| *byte == b'/').next() == Some(name.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_toml;

    fn config(tracks: &str) -> Config {
        let text = format!(
            "[node.a]\n[node.b]\n[link.one]\ninterface = \"eth0\"\nbroadcast = true\n[link.two]\ninterface = \"eth1\"\n\
             broadcast = true\n[tiebreak]\nping = [\"10.0.0.1\"]\n[group.web]\nreach = \"best\"\n\
             [[group.web.resource]]\nagent = \"vip\"\nparams = {{ address = \"10.0.0.9/24\" }}\n{tracks}"
        );
        parse_toml("tracks.toml", &text).unwrap_or_else(|report| panic!("{report}")).config
    }

    fn unfit(name: &str, stands: bool) -> News {
        News::Unfit { group: GroupId::of("web"), name: name.to_owned(), stands }
    }

    fn tracks_of(config: &Config, known: Option<&BTreeSet<String>>) -> Tracks {
        Tracks::new(config, "a".to_owned(), known)
    }

    fn none() -> BTreeSet<String> {
        BTreeSet::new()
    }

    #[test]
    fn so_many_looks_in_a_row_turn_it_and_one_between_them_begins_anew() {
        let config = config("[track.t]\nfile = \"/t\"\nfall = 3\nrise = 2\n");
        let track = &config.tracks[0];
        let mut score = Score { bad: false, otherwise: Some(0) };
        let looks = [true, true, false, true, true, true, true, false, true, false, false, false];
        let turns: Vec<usize> = (0..looks.len()).filter(|at| score.note(looks[*at], track)).collect();
        assert_eq!(turns, [5, 10]);
    }

    #[test]
    fn after_a_boot_nothing_comes_here_before_the_first_look_and_that_one_is_enough() {
        let config = config("[track.t]\nfile = \"/t\"\nfall = 3\nrise = 3\n");
        let mut tracks = tracks_of(&config, None);
        assert_eq!(tracks.settle(&config), [unfit("t", true)]);
        let well = tracks.note(&config, "t".to_owned(), Ok(()));
        assert_eq!(well, [News::Well { name: "t".to_owned() }, unfit("t", false)]);
        let mut tracks = tracks_of(&config, None);
        tracks.settle(&config);
        let bad = News::Bad { name: "t".to_owned(), why: "gone".to_owned() };
        assert_eq!(tracks.note(&config, "t".to_owned(), Err("gone".to_owned())), [bad]);
    }

    #[test]
    fn a_new_daemon_of_the_same_boot_takes_things_as_they_were() {
        let config = config("[track.t]\nfile = \"/t\"\n[track.u]\nfile = \"/u\"\n");
        let mut tracks = tracks_of(&config, Some(&BTreeSet::from(["u".to_owned()])));
        assert_eq!(tracks.settle(&config), [unfit("u", true)]);
        assert_eq!(tracks.bad(), BTreeSet::from(["u".to_owned()]));
        assert_eq!(tracks.note(&config, "t".to_owned(), Ok(())), []);
        assert_eq!(tracks.note(&config, "u".to_owned(), Ok(())).len(), 2);
    }

    #[test]
    fn what_weighs_makes_nothing_unfit_and_counts_while_it_is_well() {
        let config = config("[track.t]\nfile = \"/t\"\nweight = 3\n[track.u]\nfile = \"/u\"\nweight = 4\n");
        let mut tracks = tracks_of(&config, Some(&none()));
        assert_eq!(tracks.settle(&config), [News::Weight(7)]);
        let bad = News::Bad { name: "u".to_owned(), why: "gone".to_owned() };
        assert_eq!(tracks.note(&config, "u".to_owned(), Err("gone".to_owned())), [bad, News::Weight(3)]);
    }

    /// Plays what is said of the looks until something is said.
    fn with_tasks<T>(run: impl AsyncFnOnce() -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run())
    }

    #[test]
    fn a_reload_keeps_what_is_known_forgets_what_is_gone_and_takes_what_is_new_for_well() {
        with_tasks(async || {
            let before = config("[track.t]\nfile = \"/t\"\n[track.u]\nfile = \"/u\"\n");
            let mut tracks = tracks_of(&before, None);
            assert_eq!(tracks.settle(&before), [unfit("t", true), unfit("u", true)]);
            let after = config("[track.u]\nfile = \"/other\"\n[track.v]\nfile = \"/v\"\n");
            let news = tracks.configure(&after);
            assert_eq!(news, [News::Well { name: "t".to_owned() }, unfit("t", false)]);
            assert_eq!(tracks.bad(), BTreeSet::from(["u".to_owned()]));
        });
    }

    #[test]
    fn each_kind_is_looked_at_and_says_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("here"), "").unwrap();
        let shell = |text: &str| Tracked::Program {
            program: "/bin/sh".into(),
            args: ["-c", text, "sh", "word"].map(str::to_owned).to_vec(),
        };
        let long = "a-process-with-a-very-long-name";
        std::os::unix::fs::symlink("/bin/sleep", at(long)).unwrap();
        let mut sleeper = std::process::Command::new(at(long)).arg("1000").spawn().unwrap();
        let says = |what: Tracked| {
            with_tasks(async || {
                look(&what, vec![("SYSTOLE_NODE", "a".to_owned())], Span::seconds(60))
                    .await
                    .err()
                    .unwrap_or_default()
            })
        };
        assert_eq!(says(shell("[ $1$SYSTOLE_NODE = worda ] && echo fine")), "");
        let said = says(shell("echo first; echo last >&2; exit 7"));
        assert_eq!(said, "/bin/sh: exit code 7; it says: last");
        assert_eq!(says(Tracked::File(at("here"))), "");
        assert_eq!(says(Tracked::File(at("gone"))), format!("{} is not there", at("gone").display()));
        assert_eq!(says(Tracked::NoFile(at("gone"))), "");
        assert_eq!(says(Tracked::NoFile(at("here"))), format!("{} is there", at("here").display()));
        assert!(says(Tracked::File(at("here/below"))).contains("cannot be looked at"));
        assert_eq!(says(Tracked::Process(long.to_owned())), "");
        assert_eq!(
            says(Tracked::Process("a-process-with-another".to_owned())),
            "no process a-process-with-another runs"
        );
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
}
