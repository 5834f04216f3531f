//! Everything the core says, as data for programs: the same facts as in [`words`](super::words), with names in place of
//! hashes, times in microseconds, and a `kind` to switch by. A kind, once published, keeps its meaning and its fields.

use serde_json::{Value, json};

use crate::beat::{Phase, Subject, Unfit, Wish};
use crate::cluster::{
    Action, DownReason, Event, LossReason, Outcome, Reason, RefusedReason, ServersRefusedReason, StopReason,
    Unable, VotersRefused, Votes, WithdrawReason,
};
use crate::types::{GroupId, NodeId};

use super::words::Words;

/// What happened: its kind, and its facts.
pub(super) fn event(words: &Words<'_>, event: &Event) -> (&'static str, Value) {
    (kind(event), facts(words, event))
}

/// One word for what happened.
pub(super) fn kind(event: &Event) -> &'static str {
    match event {
        Event::Started { .. } => "started",
        Event::Ready => "ready",
        Event::PeerUp { .. } => "peer-up",
        Event::PeerLate { .. } => "peer-late",
        Event::PeerDown { .. } => "peer-down",
        Event::LinkDown { .. } => "link-down",
        Event::LinkUp { .. } => "link-up",
        Event::OlderLife { .. } => "older-life",
        Event::SameName { .. } => "same-name",
        Event::WasAway { .. } => "was-away",
        Event::ConfigDiffers { .. } => "config-differs",
        Event::VotersKept { .. } => "voters-kept",
        Event::Carrier { .. } => "carrier",
        Event::Claimed { .. } => "claimed",
        Event::Withdrawn { .. } => "withdrawn",
        Event::Won { .. } => "won",
        Event::WaitsForOther { .. } => "waits-for-other",
        Event::Running { .. } => "running",
        Event::Lost { .. } => "lost",
        Event::Stopping { .. } => "stopping",
        Event::Released { .. } => "released",
        Event::Blocked { .. } => "blocked",
        Event::ReleasedDirty { .. } => "released-dirty",
        Event::ResourceFailed { .. } => "resource-failed",
        Event::FoundRunning { .. } => "found-running",
        Event::Adopted { .. } => "adopted",
        Event::Fitness { .. } => "fitness",
        Event::EvidenceBegins { .. } => "evidence-begins",
        Event::AnswersWithoutBeats { .. } => "answers-without-beats",
        Event::Met { .. } => "met",
        Event::Fencing { .. } => "fencing",
        Event::Fenced { .. } => "fenced",
        Event::Ordered { .. } => "ordered",
        Event::ServersOrdered { .. } => "servers-ordered",
        Event::ServersRefused { .. } => "servers-refused",
        Event::Refused { .. } => "refused",
        Event::Planned { .. } => "planned",
    }
}

#[rustfmt::skip] // A table: a kind a line.
fn facts(words: &Words<'_>, event: &Event) -> Value {
    let (n, g) = (|node: &NodeId| words.node(*node), |group: &GroupId| words.group(*group));
    let r = |group: &GroupId, resource: &u16| words.resource(*group, *resource);
    match event {
        Event::Started { incarnation, with_memory } => json!({"life": incarnation.0, "with_memory": with_memory}),
        Event::Ready => json!({}),
        Event::PeerUp { node, incarnation } => json!({"node": n(node), "life": incarnation.0}),
        Event::PeerLate { node, silent } => json!({"node": n(node), "silent_us": silent.0}),
        Event::PeerDown { node, because } => json!({"node": n(node), "because": down(*because)}),
        Event::LinkDown { node, link } | Event::LinkUp { node, link } =>
            json!({"node": n(node), "link": words.link(*link)}),
        Event::OlderLife { node, heard, known } => json!({"node": n(node), "heard": heard.0, "known": known.0}),
        Event::SameName { heard } => json!({"heard": heard.0}),
        Event::WasAway { late } => json!({"late_us": late.0}),
        Event::ConfigDiffers { node } | Event::Fencing { node } => json!({"node": n(node)}),
        Event::VotersKept { because } => json!({"because": voters(words, *because)}),
        Event::Carrier { interface, up } => json!({"interface": words.interface(*interface), "up": up}),
        Event::Claimed { group, epoch, because } =>
            json!({"group": g(group), "epoch": epoch.0, "because": reason(words, *because)}),
        Event::Withdrawn { group, because } => json!({"group": g(group), "because": withdrawn(words, *because)}),
        Event::Won { group, epoch, by, after } =>
            json!({"group": g(group), "epoch": epoch.0, "by": votes(*by), "after_us": after.0}),
        Event::WaitsForOther { group, wait } => json!({"group": g(group), "wait_us": wait.0}),
        Event::Running { group, after } | Event::Released { group, after } =>
            json!({"group": g(group), "after_us": after.0}),
        Event::Lost { group, because } => json!({"group": g(group), "because": loss(*because)}),
        Event::Stopping { group, because, to } =>
            json!({"group": g(group), "because": stop(words, *because), "to": to.as_ref().map(n)}),
        Event::Blocked { group, resource }
        | Event::ReleasedDirty { group, resource }
        | Event::FoundRunning { group, resource } => json!({"group": g(group), "resource": r(group, resource)}),
        Event::ResourceFailed { group, resource, action, outcome } => json!({
            "group": g(group), "resource": r(group, resource), "action": asked(*action), "outcome": came(*outcome)
        }),
        Event::Adopted { group, epoch } => json!({"group": g(group), "epoch": epoch.0}),
        Event::Fitness { group, unfit: why } => json!({"group": g(group), "unfit": why.map(unfit)}),
        Event::EvidenceBegins { interface } => json!({"interface": words.interface(*interface)}),
        Event::AnswersWithoutBeats { group } => json!({"group": g(group)}),
        Event::Met { group, other, keeper } => json!({"group": g(group), "other": n(other), "keeper": n(keeper)}),
        Event::Fenced { node, off } => json!({"node": n(node), "off": off}),
        Event::Ordered { subject: about, wish: wished } =>
            json!({"about": subject(words, *about), "wish": wish(words, *wished)}),
        Event::ServersOrdered { servers, wish } =>
            json!({"servers": words.servers(*servers), "wish": wish}),
        Event::ServersRefused { servers, because } => {
            let because = match because {
                ServersRefusedReason::TooMany => "too-many",
                ServersRefusedReason::ForMore => "for-more",
                ServersRefusedReason::Starting => "starting",
            };
            json!({"servers": words.servers(*servers), "because": because})
        }
        Event::Refused { subject: about, because } =>
            json!({"about": subject(words, *about), "because": refused(words, *because)}),
        Event::Planned { group, owner, because } =>
            json!({"group": g(group), "owner": owner.as_ref().map(n), "because": reason(words, *because)}),
    }
}

/// Why a group is planned to be where it is.
pub(super) fn reason(words: &Words<'_>, reason: Reason) -> Value {
    match reason {
        Reason::Stays => json!({"kind": "stays"}),
        Reason::Preferred => json!({"kind": "preferred"}),
        Reason::NextInOrder { passed, because } => {
            json!({"kind": "next-in-order", "passed": words.node(passed), "because": unable(words, because)})
        }
        Reason::FewestGroups => json!({"kind": "fewest-groups"}),
        Reason::Share => json!({"kind": "share"}),
        Reason::Ordered => json!({"kind": "ordered"}),
        Reason::With(leader) => json!({"kind": "with", "group": words.group(leader)}),
        Reason::Apart(other) => json!({"kind": "apart", "group": words.group(other)}),
        Reason::NobodyFit { nearest, because } => {
            json!({"kind": "nobody-fit", "nearest": words.node(nearest), "because": unable(words, because)})
        }
        Reason::NobodyElse => json!({"kind": "nobody-else"}),
    }
}

/// Why a node can't serve a group.
pub(super) fn unable(words: &Words<'_>, why: Unable) -> Value {
    match why {
        Unable::Down => json!({"kind": "down"}),
        Unable::NotYetHeard => json!({"kind": "not-yet-heard"}),
        Unable::Starting => json!({"kind": "starting"}),
        Unable::NoMajority => json!({"kind": "no-majority"}),
        Unable::Leaving => json!({"kind": "leaving"}),
        Unable::Standby => json!({"kind": "standby"}),
        Unable::Avoided => json!({"kind": "avoided"}),
        Unable::NotAllowed => json!({"kind": "not-allowed"}),
        Unable::Unfit(why) => json!({"kind": "unfit", "because": unfit(why)}),
        Unable::Reach(reach) => json!({"kind": "reach", "targets": reach}),
        Unable::Shortfall(percent) => json!({"kind": "shortfall", "percent": percent}),
        Unable::ServersUnknown => json!({"kind": "servers-unknown"}),
        Unable::Full => json!({"kind": "full"}),
        Unable::Waits(group) => json!({"kind": "waits", "group": words.group(group)}),
    }
}

/// How far a claim got.
pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Claiming => "claiming",
        Phase::Waiting => "waiting",
        Phase::Starting => "starting",
        Phase::Held => "held",
        Phase::Stopping => "stopping",
        Phase::Blocked => "blocked",
    }
}

fn unfit(unfit: Unfit) -> Value {
    match unfit {
        Unfit::Carrier => json!({"kind": "carrier"}),
        Unfit::Health => json!({"kind": "health"}),
        Unfit::Watchdog => json!({"kind": "watchdog"}),
        Unfit::Failed { retry_in } => json!({"kind": "failed", "retry_in_us": retry_in.0}),
    }
}

fn down(because: DownReason) -> Value {
    match because {
        DownReason::Silent { silent } => json!({"kind": "silent", "silent_us": silent.0}),
        DownReason::Deaf { hears_us_since } => json!({"kind": "deaf", "hears_us_since_us": hears_us_since.0}),
        DownReason::NeverHeard => json!({"kind": "never-heard"}),
        DownReason::Left => json!({"kind": "left"}),
    }
}

fn voters(words: &Words<'_>, because: VotersRefused) -> Value {
    match because {
        VotersRefused::TwoSteps => json!({"kind": "two-steps"}),
        VotersRefused::NotShownBy(node) => json!({"kind": "not-shown-by", "node": words.node(node)}),
    }
}

fn withdrawn(words: &Words<'_>, because: WithdrawReason) -> Value {
    match because {
        WithdrawReason::NotWon => json!({"kind": "not-won"}),
        WithdrawReason::Yields(node) => json!({"kind": "yields", "node": words.node(node)}),
        WithdrawReason::PlanChanged => json!({"kind": "plan-changed"}),
        WithdrawReason::NotHere => json!({"kind": "not-here"}),
        WithdrawReason::NoMajority => json!({"kind": "no-majority"}),
    }
}

fn stop(words: &Words<'_>, because: StopReason) -> Value {
    match because {
        StopReason::Plan(why) => json!({"kind": "plan", "because": reason(words, why)}),
        StopReason::LeaseLost => json!({"kind": "lease-lost"}),
        StopReason::Leaving => json!({"kind": "leaving"}),
        StopReason::Failed => json!({"kind": "failed"}),
        StopReason::Met => json!({"kind": "met"}),
        StopReason::Reconfigured => json!({"kind": "reconfigured"}),
        StopReason::LeftBehind => json!({"kind": "left-behind"}),
        StopReason::Watchdog => json!({"kind": "watchdog"}),
    }
}

fn loss(because: LossReason) -> Value {
    match because {
        LossReason::RanOut => json!({"kind": "ran-out"}),
        LossReason::WasAway => json!({"kind": "was-away"}),
        LossReason::Gone => json!({"kind": "gone"}),
        LossReason::Met => json!({"kind": "met"}),
    }
}

fn votes(by: Votes) -> &'static str {
    match by {
        Votes::Majority => "majority",
        Votes::Evidence => "evidence",
        Votes::Fence => "fence",
        Votes::OwnAlone => "own-alone",
    }
}

/// What an agent is asked.
pub(super) fn asked(action: Action) -> &'static str {
    match action {
        Action::Probe => "probe",
        Action::Start => "start",
        Action::Stop => "stop",
        Action::Monitor => "monitor",
    }
}

fn came(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Done => json!({"kind": "done"}),
        Outcome::NotRunning => json!({"kind": "not-running"}),
        Outcome::Failed { code } => json!({"kind": "failed", "code": code}),
        Outcome::TimedOut => json!({"kind": "timed-out"}),
    }
}

fn subject(words: &Words<'_>, subject: Subject) -> Value {
    match subject {
        Subject::Cluster => json!({"kind": "cluster"}),
        Subject::Node(node) => json!({"kind": "node", "node": words.node(node)}),
        Subject::Group(group) => json!({"kind": "group", "group": words.group(group)}),
        Subject::Care(group) => json!({"kind": "care", "group": words.group(group)}),
    }
}

fn wish(words: &Words<'_>, wish: Wish) -> Value {
    match wish {
        Wish::Nothing => json!({"kind": "nothing"}),
        Wish::Standby => json!({"kind": "standby"}),
        Wish::Maintenance => json!({"kind": "maintenance"}),
        Wish::Place(node) => json!({"kind": "place", "node": words.node(node)}),
        Wish::Avoid(node) => json!({"kind": "avoid", "node": words.node(node)}),
    }
}

fn refused(words: &Words<'_>, because: RefusedReason) -> Value {
    match because {
        RefusedReason::Unknown => json!({"kind": "unknown"}),
        RefusedReason::TooMany => json!({"kind": "too-many"}),
        RefusedReason::Unable(why) => json!({"kind": "unable", "because": unable(words, why)}),
    }
}
