//! How an agent of each class is asked for an action, and what its answer means.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::cluster::Outcome;
use crate::programs::program::{Ended, Program};
use crate::time::Span;

use super::find::{Agent, Class};

/// Where OCF's agents find what they have in common.
const OCF_ROOT: &str = "/usr/lib/ocf";
/// Agents keep their marks here; they expect that it exists.
pub const OCF_MARKS: &str = "/run/resource-agents";
/// What an agent finds on its way, and nobody else's.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// An agent that says why it failed begins that line so.
const REASON: &str = "ocf-exit-reason:";
/// Where nothing is said of how long an action may take: what OCF's agents advise most.
pub const USUAL_LIMIT: Span = Span::seconds(20);
/// Heartbeat's scripts and init scripts advise nothing, and start whole databases.
const LONG_LIMIT: Span = Span::seconds(60);
/// systemd itself waits 90 s for a unit, and then ends it.
const UNIT_LIMIT: Span = Span::seconds(100);

/// What an agent is asked for: an action of OCF's, which the other classes have under names of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// Run; one that runs already is a success.
    Start,
    /// Run no more; one that does not run is a success.
    Stop,
    /// Does it run? With the time between two such questions; without, it is asked once.
    Monitor(Option<Span>),
    /// Anything else that an agent may know.
    Other(&'a str),
}

impl<'a> Asked<'a> {
    /// By its name, once.
    pub fn named(name: &'a str) -> Self {
        match name {
            "start" => Self::Start,
            "stop" => Self::Stop,
            "monitor" | "status" | "probe" => Self::Monitor(None),
            other => Self::Other(other),
        }
    }

    /// The name that OCF has for it.
    pub fn name(self) -> &'a str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Monitor(_) => "monitor",
            Self::Other(name) => name,
        }
    }
}

/// What a resource gives its agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// One after the other, as Heartbeat's scripts take them.
    pub args: Vec<String>,
    /// By name, as OCF's agents take them.
    pub params: BTreeMap<String, String>,
}

/// What stands without a name in a line of `haresources` has the names that Heartbeat's own scripts gave it, which only
/// handed it on to an OCF agent.
const PLACES: &[(&str, &[&str])] = &[
    ("systole:apache", &["config"]),
    ("systole:conntrackd", &["config"]),
    ("systole:haproxy", &["config"]),
    ("systole:ipvsadm", &["config"]),
    ("systole:nginx", &["config"]),
    ("systole:mailto", &["email", "subject"]),
    ("systole:sendarp", &["ip", "nic"]),
    ("systole:pen", &["config"]),
    ("heartbeat:apache", &["configfile"]),
    ("heartbeat:AudibleAlarm", &["nodelist"]),
    ("heartbeat:db2", &["instance", "admin"]),
    ("heartbeat:Delay", &["startdelay"]),
    ("heartbeat:Filesystem", &["device", "directory", "fstype", "options"]),
    ("heartbeat:IPsrcaddr", &["ipaddress"]),
    ("heartbeat:LVM", &["volgrpname"]),
    ("heartbeat:MailTo", &["email", "subject"]),
    ("heartbeat:portblock", &["protocol", "portno", "action"]),
    ("heartbeat:Raid1", &["raidconf", "raiddev"]),
    ("heartbeat:SendArp", &["ip", "nic"]),
    ("heartbeat:Xinetd", &["service"]),
];

/// Everything by its name, as OCF's agents take it.
fn by_name(agent: &Agent, provider: &str, given: &Given) -> Result<Given, String> {
    let own = format!("{provider}:{}", agent.name);
    let places = PLACES.iter().find(|(name, _)| *name == own).map_or(&[][..], |(_, places)| places);
    if let Some(extra) = given.args.get(places.len()) {
        return Err(format!(
            "{agent} takes parameters with names, and {extra:?} has none: write NAME=VALUE; `systole agent info {agent}` lists the names"
        ));
    }
    let mut params: BTreeMap<String, String> =
        places.iter().map(|name| (*name).to_owned()).zip(given.args.iter().cloned()).collect();
    params.extend(given.params.clone());
    Ok(Given { args: Vec::new(), params })
}

/// One call of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    class: Class,
    program: PathBuf,
    args: Vec<String>,
    variables: Vec<(String, String)>,
    /// Longer, and it has failed.
    pub limit: Span,
    /// Where it is noted while it is under way.
    pub mark: Option<PathBuf>,
    /// The question is whether it runs.
    is_look: bool,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// For the core.
    pub outcome: Outcome,
    /// In words, where it is no plain success.
    pub why: Option<String>,
    /// Something was run; else it could not be.
    pub ran: bool,
    /// What it is about is not installed here.
    pub is_missing: bool,
}

impl Answer {
    /// Nothing could be run.
    pub(super) fn not_run(code: i32, why: String) -> Self {
        let is_missing = code == NOT_INSTALLED;
        Self { outcome: Outcome::Failed { code }, why: Some(why), ran: false, is_missing }
    }
}

impl Call {
    /// A call for a resource, known under `instance`: unique on this machine, and the same for each call.
    pub fn new(
        agent: &Agent,
        asked: Asked<'_>,
        given: &Given,
        instance: &str,
        limit: Option<Span>,
    ) -> Result<Self, String> {
        let is_look = matches!(asked, Asked::Monitor(_));
        let usual = match agent.class {
            Class::BuiltIn | Class::Ocf { .. } => USUAL_LIMIT,
            Class::Heartbeat | Class::Lsb => LONG_LIMIT,
            Class::Systemd => UNIT_LIMIT,
        };
        let mut call = Self {
            class: agent.class.clone(),
            program: agent.path.clone(),
            args: Vec::new(),
            variables: common_variables(),
            limit: limit.unwrap_or(usual),
            mark: None,
            is_look,
        };
        let named = !given.params.is_empty();
        match &agent.class {
            Class::BuiltIn => return Err(format!("{agent} is built in: there is no program to call")),
            Class::Ocf { provider } => {
                let given = by_name(agent, provider, given)?;
                call.args.push(asked.name().to_owned());
                call.ocf_variables(provider, agent, asked, &given, instance);
            }
            Class::Heartbeat | Class::Lsb | Class::Systemd if named => {
                return Err(format!("{agent} takes no parameters with names"));
            }
            Class::Heartbeat => {
                call.args.extend(given.args.iter().cloned());
                call.args.push(status_word(asked).to_owned());
            }
            Class::Lsb | Class::Systemd if !given.args.is_empty() => {
                return Err(format!("{agent} takes no arguments"));
            }
            Class::Lsb => call.args.push(status_word(asked).to_owned()),
            Class::Systemd => call.systemctl(&agent.name, asked),
        }
        Ok(call)
    }

    fn ocf_variables(
        &mut self,
        provider: &str,
        agent: &Agent,
        asked: Asked<'_>,
        given: &Given,
        instance: &str,
    ) {
        let interval = match asked {
            Asked::Monitor(every) => every.unwrap_or(Span::ZERO),
            Asked::Start | Asked::Stop | Asked::Other(_) => Span::ZERO,
        };
        let milliseconds = |span: Span| (span.as_micros() / 1_000).to_string();
        let own = [
            ("OCF_ROOT", OCF_ROOT.to_owned()),
            ("OCF_RA_VERSION_MAJOR", "1".to_owned()),
            ("OCF_RA_VERSION_MINOR", "1".to_owned()),
            ("OCF_RESOURCE_TYPE", agent.name.clone()),
            ("OCF_RESOURCE_PROVIDER", provider.to_owned()),
            ("OCF_RESOURCE_INSTANCE", instance.to_owned()),
            ("OCF_EXIT_REASON_PREFIX", REASON.to_owned()),
            ("OCF_CHECK_LEVEL", "0".to_owned()),
            // Whether a question comes once or again and again changes what some agents answer.
            ("OCF_RESKEY_CRM_meta_interval", milliseconds(interval)),
            ("OCF_RESKEY_CRM_meta_timeout", milliseconds(self.limit)),
            ("OCF_RESKEY_CRM_meta_name", asked.name().to_owned()),
        ];
        self.variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
        // Of what is said twice the later counts: a parameter may set the depth of a look.
        for (name, value) in &given.params {
            let variable =
                if name == "OCF_CHECK_LEVEL" { name.clone() } else { format!("OCF_RESKEY_{name}") };
            self.variables.retain(|(known, _)| *known != variable);
            self.variables.push((variable, value.clone()));
        }
    }

    /// First on its way it finds what stands in for Pacemaker's programs.
    pub(super) fn with_stand_ins(&mut self, folder: &Path) {
        let folder = folder.display();
        for (name, value) in &mut self.variables {
            if name == "PATH" {
                *value = format!("{folder}:{value}");
            }
        }
        // Some agents name them by their whole path.
        self.variables.push(("HA_SBIN_DIR".to_owned(), folder.to_string()));
    }

    fn systemctl(&mut self, unit: &str, asked: Asked<'_>) {
        let programs = ["/usr/bin/systemctl", "/bin/systemctl"].map(Path::new);
        self.program = programs.into_iter().find(|path| path.exists()).unwrap_or(programs[0]).to_owned();
        let words: &[&str] = match asked {
            Asked::Monitor(_) => &["show", "--property=ActiveState", "--value"],
            Asked::Start | Asked::Stop | Asked::Other(_) => &[asked.name()],
        };
        self.args = words.iter().copied().chain([unit]).map(str::to_owned).collect();
    }

    /// Carries it out, and hands over each line that the agent prints.
    pub async fn carry_out(&self, mut say: impl FnMut(String) + Send) -> Answer {
        // Heartbeat's scripts and systemd answer in words, OCF's agents explain in words.
        let (mut heard, mut reason) = (Heard::default(), None);
        let note = |line: String| {
            heard.note(&line);
            if let Some(why) = line.strip_prefix(REASON) {
                reason = Some(why.trim().to_owned());
            }
            say(line);
        };
        match self.program().end(note).await {
            Ok(ended) => self.judge(ended, heard, reason),
            Err(why) => Answer::not_run(NOT_PERMITTED, why),
        }
    }

    /// The program as it is called.
    pub fn program(&self) -> Program<'_> {
        let bare = Program::bare(&self.program, &self.args, &self.variables, self.limit);
        Program { mark: self.mark.clone(), ..bare }
    }

    fn judge(&self, ended: Ended, heard: Heard, reason: Option<String>) -> Answer {
        let code = match ended {
            Ended::Late => {
                let why = format!("it took longer than {}, and was killed", self.limit);
                return Answer { outcome: Outcome::TimedOut, why: Some(why), ran: true, is_missing: false };
            }
            // As a shell has it.
            Ended::Signal(signal) => return failed(128 + signal, format!("it was ended by signal {signal}")),
            Ended::Code(code) => code,
        };
        let (outcome, meaning) = match (&self.class, self.is_look) {
            (Class::BuiltIn | Class::Ocf { .. }, is_look) => ocf_code(code, is_look),
            (Class::Heartbeat, true) => heard.status(),
            (Class::Lsb, true) => lsb_status(code),
            (Class::Systemd, true) => heard.unit(code),
            (Class::Heartbeat | Class::Lsb | Class::Systemd, false) => match code {
                0 => (Outcome::Done, None),
                code => (Outcome::Failed { code }, None),
            },
        };
        let why = match outcome {
            Outcome::Done => None,
            Outcome::NotRunning => meaning.map(str::to_owned),
            Outcome::Failed { code } => {
                let meaning = meaning.map(|meaning| format!(", {meaning}")).unwrap_or_default();
                let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                Some(format!("exit code {code}{meaning}{reason}"))
            }
            Outcome::TimedOut => None,
        };
        // Only there does it mean this.
        let is_ocf = matches!(self.class, Class::Ocf { .. });
        let is_missing = is_ocf && outcome == Outcome::Failed { code: NOT_INSTALLED };
        Answer { outcome, why, ran: true, is_missing }
    }
}

/// It is there, and is not run.
const NOT_PERMITTED: i32 = 4;
/// The agent or something that it needs is not there.
pub(super) const NOT_INSTALLED: i32 = 5;

fn failed(code: i32, why: String) -> Answer {
    Answer { outcome: Outcome::Failed { code }, why: Some(why), ran: true, is_missing: false }
}

type Meaning = (Outcome, Option<&'static str>);

/// An exit code of OCF 1.1. That it does not run is an answer to a look, and to nothing else.
fn ocf_code(code: i32, is_look: bool) -> Meaning {
    let meaning = match code {
        0 => return (Outcome::Done, None),
        // Promoted and degraded ones run, too.
        8 | 190 | 191 if is_look => return (Outcome::Done, None),
        7 if is_look => return (Outcome::NotRunning, None),
        1 => None,
        2 => Some("wrong arguments"),
        3 => Some("it does not know this action"),
        4 => Some("not permitted"),
        5 => Some("something that it needs is not installed"),
        6 => Some("it is not configured rightly"),
        7 => Some("not running"),
        8 | 9 => Some("it is promoted, which nobody asked for"),
        190 | 191 => Some("degraded"),
        _ => Some("a code that OCF does not know"),
    };
    (Outcome::Failed { code }, meaning)
}

/// The exit code of an init script's `status`.
fn lsb_status(code: i32) -> Meaning {
    match code {
        0 => (Outcome::Done, None),
        3 => (Outcome::NotRunning, None),
        1 => (Outcome::Failed { code }, Some("dead, and its pid file is there")),
        2 => (Outcome::Failed { code }, Some("dead, and its lock file is there")),
        4 => (Outcome::Failed { code }, Some("it does not know")),
        _ => (Outcome::Failed { code }, None),
    }
}

/// Heartbeat's scripts and init scripts end in one of these words.
fn status_word(asked: Asked<'_>) -> &str {
    match asked {
        Asked::Monitor(_) => "status",
        Asked::Start | Asked::Stop | Asked::Other(_) => asked.name(),
    }
}

/// What counts of what a program prints.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    stopped: bool,
    running: bool,
    unit: Option<Outcome>,
}

impl Heard {
    fn note(&mut self, line: &str) {
        let small = line.to_lowercase();
        // "not running" says "running" as well, and "stopped" is what some scripts say instead.
        if small.contains("stopped") || small.contains("not running") {
            self.stopped = true;
        } else if small.contains("running") || line.contains("OK") {
            self.running = true;
        }
        self.unit = self.unit.or(match line.trim() {
            "active" | "reloading" | "refreshing" => Some(Outcome::Done),
            // Of one that has failed systemd has ended all that it had started.
            "inactive" | "failed" => Some(Outcome::NotRunning),
            "activating" | "deactivating" | "maintenance" => Some(Outcome::Failed { code: 1 }),
            _ => None,
        });
    }

    /// Of Heartbeat's scripts the word counts, and the exit code does not.
    fn status(self) -> Meaning {
        match (self.stopped, self.running) {
            (true, _) => (Outcome::NotRunning, None),
            (false, true) => (Outcome::Done, None),
            (false, false) => (
                Outcome::NotRunning,
                Some("its status prints neither \"running\" nor \"stopped\": that means it does not run"),
            ),
        }
    }

    fn unit(self, code: i32) -> Meaning {
        match self.unit {
            Some(Outcome::Failed { code }) => (Outcome::Failed { code }, Some("the unit is on its way")),
            Some(outcome) => (outcome, None),
            None => (Outcome::Failed { code }, Some("systemctl does not say how the unit is")),
        }
    }
}

/// What every agent finds in its environment.
pub(super) fn common_variables() -> Vec<(String, String)> {
    [
        ("PATH", PATH),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/sh"),
        ("LANG", "C"),
        ("LC_ALL", "C"),
        ("HA_RSCTMP", OCF_MARKS),
        // Agents print what they have to say; who runs them keeps it.
        ("HA_LOGFACILITY", "none"),
        ("HA_LOGD", "no"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, args: &[&str]) -> Result<Call, String> {
        let (provider, name) = name.split_once(':').unwrap();
        let class = Class::Ocf { provider: provider.to_owned() };
        let agent = Agent { class, name: name.to_owned(), path: PathBuf::from("/agent") };
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Call::new(&agent, Asked::Start, &Given { args, params: BTreeMap::new() }, "one@two", None)
    }

    fn value(call: &Call, name: &str) -> Option<String> {
        call.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn what_has_no_name_in_haresources_has_the_one_that_heartbeats_script_gave_it() {
        let mounted = call("heartbeat:Filesystem", &["/dev/drbd0", "/srv", "ext4"]).unwrap();
        for (name, expected) in [("device", "/dev/drbd0"), ("directory", "/srv"), ("fstype", "ext4")] {
            assert_eq!(value(&mounted, &format!("OCF_RESKEY_{name}")).as_deref(), Some(expected));
        }
        assert_eq!(value(&mounted, "OCF_RESKEY_options"), None);
        assert_eq!(mounted.args, ["start"]);
        let web = call("systole:apache", &["/etc/web.conf"]).unwrap();
        assert_eq!(value(&web, "OCF_RESKEY_config").as_deref(), Some("/etc/web.conf"));
        let why = call("systole:apache", &["/etc/web.conf", "more"]).unwrap_err();
        assert!(why.contains("\"more\" has none: write NAME=VALUE"), "{why}");
        assert!(call("custom:thing", &["x"]).unwrap_err().contains("takes parameters with names"));
    }
}
