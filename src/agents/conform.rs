//! Whether an agent keeps to the rules: what [`Trial`] finds is what goes wrong at three in the morning otherwise.
//!
//! The agent is really started and stopped, several times, and killed half-way; at the end it is stopped.

use std::path::Path;

use tokio::time::{Instant, timeout};

use crate::cluster::Outcome;
use crate::programs::program::Ended;
use crate::programs::trust;
use crate::time::Span;

use super::call::{Answer, Asked, Call, Given};
use super::find::{Agent, Class};
use super::metadata::MetaData;

/// No agent has such an action.
const UNKNOWN: &str = "no-such-action";
/// What every OCF agent must know.
const MUST_KNOW: [&str; 4] = ["start", "stop", "monitor", "meta-data"];
/// Its meta-data take no longer.
const META_DATA_LIMIT: Span = Span::seconds(5);

/// A rule, and how it was broken if it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The rule, as a sentence that is true of a good agent.
    pub rule: &'static str,
    /// What was seen instead.
    pub broken: Option<String>,
}

/// A trial of one agent.
pub struct Trial<'a, S> {
    /// Who is tried.
    pub agent: &'a Agent,
    /// With these parameters.
    pub given: &'a Given,
    /// Told of each ruling as it is found.
    pub tell: S,
    /// How many rules were broken.
    pub broken: usize,
}

/// What an OCF agent says of itself, or why that cannot be known.
pub async fn describe(agent: &Agent) -> Result<MetaData, String> {
    let nothing = Given::default();
    let call = Call::new(agent, Asked::Other("meta-data"), &nothing, "meta-data", Some(META_DATA_LIMIT))?;
    let (ended, text) = call.program().read().await?;
    match ended {
        Ended::Code(0) => MetaData::parse(&text),
        Ended::Code(code) => Err(format!("its meta-data end with exit code {code}")),
        Ended::Signal(signal) => Err(format!("its meta-data are ended by signal {signal}")),
        Ended::Late => Err(format!("its meta-data take longer than {META_DATA_LIMIT}")),
    }
}

impl<S: FnMut(&Ruling)> Trial<'_, S> {
    /// Tries everything.
    pub async fn run(&mut self) {
        if self.agent.class != Class::Systemd {
            let fault = trust::fault(&self.agent.path, Path::new("/"));
            let is_safe = fault.is_none();
            self.rule("it can be run, and nobody but root can change it", fault);
            if !is_safe {
                return;
            }
        }
        let data = match self.agent.class {
            Class::Ocf { .. } => self.describes_itself().await,
            Class::BuiltIn | Class::Heartbeat | Class::Systemd | Class::Lsb => None,
        };
        if self.agent.class != Class::Systemd {
            self.refuses_what_it_does_not_know().await;
        }
        if let Some(data) = &data {
            self.refuses_what_is_incomplete(data).await;
        }
        if !self.begins_clean().await {
            return;
        }
        if self.lives_through_a_day(data.as_ref()).await {
            self.survives_a_death(data.as_ref()).await;
        }
    }

    async fn describes_itself(&mut self) -> Option<MetaData> {
        let described = describe(self.agent).await;
        self.rule("its meta-data can be read", described.as_ref().err().cloned());
        let data = described.ok()?;
        let other = (data.name != self.agent.name).then(|| format!("it calls itself {:?}", data.name));
        self.rule("its meta-data have the name of its file", other);
        let is_silent = |name: &&str| !data.actions.iter().any(|action| action.name == **name);
        let silent: Vec<&str> = MUST_KNOW.into_iter().filter(is_silent).collect();
        let missing = (!silent.is_empty()).then(|| format!("nothing is said of {}", silent.join(", ")));
        self.rule("its meta-data name start, stop, monitor and meta-data", missing);
        let endless: Vec<&str> =
            ["start", "stop", "monitor"].into_iter().filter(|name| data.timeout(name).is_none()).collect();
        let endless = (!endless.is_empty()).then(|| format!("none for {}", endless.join(", ")));
        self.rule("its meta-data advise a timeout for start, stop and monitor", endless);
        Some(data)
    }

    async fn refuses_what_it_does_not_know(&mut self) {
        let answer = self.ask(Asked::Other(UNKNOWN), None).await;
        let is_ocf = matches!(self.agent.class, Class::Ocf { .. });
        let is_kept = match answer.outcome {
            Outcome::Failed { code } => !is_ocf || code == 3,
            Outcome::Done | Outcome::NotRunning | Outcome::TimedOut => false,
        };
        let rule = if is_ocf {
            "an action that it does not know ends with exit code 3"
        } else {
            "an action that it does not know fails"
        };
        self.rule(rule, (!is_kept).then(|| words(&answer)));
    }

    /// Without a parameter that it requires it may not even say that it does not run, for it cannot know.
    async fn refuses_what_is_incomplete(&mut self, data: &MetaData) {
        let required = data.parameters.iter().filter(|one| one.required && one.default.is_none());
        for parameter in required {
            let mut fewer = self.given.clone();
            if fewer.params.remove(&parameter.name).is_none() {
                continue;
            }
            let answer = self.ask_with(&fewer, Asked::Start, None).await;
            let broken = match answer.outcome {
                Outcome::Failed { .. } => None,
                Outcome::Done | Outcome::NotRunning | Outcome::TimedOut => {
                    // Whatever that was, it is not left behind.
                    self.ask_with(&fewer, Asked::Stop, None).await;
                    Some(format!("without {}: {}", parameter.name, words(&answer)))
                }
            };
            self.rule("start fails without a parameter that is required", broken);
        }
    }

    /// Nothing is tried with something that runs for somebody.
    async fn begins_clean(&mut self) -> bool {
        let answer = self.ask(Asked::Monitor(None), None).await;
        let broken = match answer.outcome {
            Outcome::NotRunning => None,
            Outcome::Done => {
                Some("it says that it runs: stop it first, if it does; nothing more is tried".to_owned())
            }
            Outcome::Failed { .. } | Outcome::TimedOut => {
                Some(format!("{}; nothing more is tried", words(&answer)))
            }
        };
        let is_clean = broken.is_none();
        self.rule("before the start, monitor says that it does not run", broken);
        is_clean
    }

    /// Whether it could be started.
    async fn lives_through_a_day(&mut self, data: Option<&MetaData>) -> bool {
        let mut starts = false;
        let every = Some(Span::seconds(10));
        let (runs, rests) = (Outcome::Done, Outcome::NotRunning);
        for (rule, asked, expected) in [
            ("stop of what does not run succeeds", Asked::Stop, Outcome::Done),
            ("start succeeds", Asked::Start, Outcome::Done),
            ("after the start, monitor says that it runs", Asked::Monitor(None), runs),
            ("start of what runs succeeds", Asked::Start, Outcome::Done),
            ("after the second start it still runs", Asked::Monitor(every), runs),
            ("stop succeeds", Asked::Stop, Outcome::Done),
            ("after the stop, monitor says that it does not run", Asked::Monitor(None), rests),
            ("a second stop succeeds", Asked::Stop, Outcome::Done),
        ] {
            let answer = self.ask(asked, data).await;
            let broken = (answer.outcome != expected).then(|| words(&answer));
            starts |= asked == Asked::Start && broken.is_none();
            self.rule(rule, broken);
        }
        starts
    }

    /// A start whose time is over, or whose daemon dies, leaves something half done behind.
    async fn survives_a_death(&mut self, data: Option<&MetaData>) {
        let began = Instant::now();
        self.ask(Asked::Start, data).await;
        let took = began.elapsed();
        self.ask(Asked::Stop, data).await;
        let (mut stuck, mut left) = (None, None);
        for quarters in 1..=3 {
            // Nobody waits for it any more, and so it is killed with all that it has started.
            let _ = timeout(took * quarters / 4, self.ask(Asked::Start, data)).await;
            let when = |answer: &Answer| format!("after {quarters} quarters of its time: {}", words(answer));
            let stopped = self.ask(Asked::Stop, data).await;
            stuck = stuck.or((stopped.outcome != Outcome::Done).then(|| when(&stopped)));
            let looked = self.ask(Asked::Monitor(None), data).await;
            left = left.or((looked.outcome != Outcome::NotRunning).then(|| when(&looked)));
        }
        self.rule("stop succeeds after a start that was killed half-way", stuck);
        self.rule("after that stop it does not run", left);
    }

    async fn ask(&self, asked: Asked<'_>, data: Option<&MetaData>) -> Answer {
        self.ask_with(self.given, asked, data.and_then(|data| data.timeout(asked.name()))).await
    }

    async fn ask_with(&self, given: &Given, asked: Asked<'_>, limit: Option<Span>) -> Answer {
        match Call::new(self.agent, asked, given, "trial", limit) {
            Ok(call) => call.carry_out(drop).await,
            Err(why) => Answer::not_run(2, why),
        }
    }

    fn rule(&mut self, rule: &'static str, broken: Option<String>) {
        self.broken += usize::from(broken.is_some());
        (self.tell)(&Ruling { rule, broken });
    }
}

/// What came, as a person reads it.
fn words(answer: &Answer) -> String {
    let what = match answer.outcome {
        Outcome::Done => "it says that it is done, or runs",
        Outcome::NotRunning => "it says that it does not run",
        Outcome::Failed { .. } | Outcome::TimedOut => "it fails",
    };
    match &answer.why {
        Some(why) => format!("{what}: {why}"),
        None => what.to_owned(),
    }
}
