//! An event as variables of an environment, for the program of `[notify]`: the same facts as in `data`, the
//! few that a script asks for under names of their own. A name, once published, keeps its meaning.

use serde_json::Value;

use crate::cluster::Event;
use crate::config::notify::ALARM;

use super::data;
use super::words::Words;

/// Which fact becomes which variable. `node` and `other` are never this node: that one is told apart.
const NAMES: &[(&str, &str)] = &[
    ("group", "SYSTOLE_GROUP"),
    ("resource", "SYSTOLE_RESOURCE"),
    ("node", "SYSTOLE_PEER"),
    ("other", "SYSTOLE_PEER"),
    ("to", "SYSTOLE_PEER"),
    ("link", "SYSTOLE_LINK"),
    ("interface", "SYSTOLE_INTERFACE"),
];

/// Facts that say why, or by what.
const REASONS: &[&str] = &["because", "unfit", "outcome", "by"];

/// What a program is told of one thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its kind.
    pub kind: &'static str,
    /// The variables, with their values.
    pub variables: Vec<(&'static str, String)>,
}

impl Told {
    /// An event of the journal.
    pub fn event(words: &Words<'_>, event: &Event) -> Self {
        let (kind, facts) = data::event(words, event);
        let mut told = Self::new(kind, words.event(event));
        for (fact, name) in NAMES {
            if let Some(Value::String(text)) = facts.get(fact) {
                told.variables.push((name, text.clone()));
            }
        }
        if let Some(state) = state(event) {
            told.variables.push(("SYSTOLE_STATE", state.to_owned()));
        }
        if let Some(reason) = REASONS.iter().find_map(|fact| facts.get(fact)).and_then(reason) {
            told.variables.push(("SYSTOLE_REASON", reason));
        }
        told.variables.push(("SYSTOLE_FACTS", facts.to_string()));
        told
    }

    /// An alarm that is new.
    pub fn alarm(what: &str) -> Self {
        Self::new(ALARM, what.to_owned())
    }

    fn new(kind: &'static str, text: String) -> Self {
        // A text that came from elsewhere may have one, and no variable can.
        let text = text.replace('\0', "");
        Self { kind, variables: vec![("SYSTOLE_EVENT", kind.to_owned()), ("SYSTOLE_TEXT", text)] }
    }
}

/// One word for why: the kind; where the plan is the reason, why it is so planned.
fn reason(why: &Value) -> Option<String> {
    match why.get("kind") {
        Some(Value::String(kind)) if kind == "plan" => why.get("because").and_then(reason),
        Some(Value::String(kind)) => Some(kind.clone()),
        _ => why.as_str().map(str::to_owned),
    }
}

/// How it is now with what the event is about.
fn state(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::Claimed { .. } => "claiming",
        Event::WaitsForOther { .. } => "waiting",
        Event::Won { .. } => "starting",
        Event::Running { .. } | Event::Adopted { .. } => "held",
        Event::Lost { .. } | Event::Stopping { .. } => "stopping",
        Event::Blocked { .. } => "blocked",
        Event::Released { .. } | Event::ReleasedDirty { .. } | Event::Withdrawn { .. } => "released",
        Event::PeerUp { .. } | Event::LinkUp { .. } | Event::Carrier { up: true, .. } => "up",
        Event::LinkDown { .. } | Event::Carrier { up: false, .. } => "down",
        Event::PeerLate { .. } => "late",
        Event::PeerDown { .. } => "dead",
        Event::Fitness { unfit: None, .. } => "fit",
        Event::Fitness { unfit: Some(_), .. } => "unfit",
        Event::Fenced { off: true, .. } => "off",
        Event::Fenced { off: false, .. }
        | Event::Started { .. }
        | Event::Ready
        | Event::OlderLife { .. }
        | Event::SameName { .. }
        | Event::WasAway { .. }
        | Event::ConfigDiffers { .. }
        | Event::VotersKept { .. }
        | Event::ResourceFailed { .. }
        | Event::FoundRunning { .. }
        | Event::EvidenceBegins { .. }
        | Event::AnswersWithoutBeats { .. }
        | Event::Met { .. }
        | Event::Fencing { .. }
        | Event::Ordered { .. }
        | Event::Refused { .. }
        | Event::ServersOrdered { .. }
        | Event::ServersRefused { .. }
        | Event::Planned { .. } => return None,
    })
}
