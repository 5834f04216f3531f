//! Everything the core says, as one line for a person at three in the morning: the log, `status`, `events` and `why` all
//! say it in these words. Names come from the configuration. It never decides anything.

use crate::beat::{Phase, ServerWish, Subject, Unfit, Wish};
use crate::cluster::{
    Action, DownReason, Event, LossReason, MOST_ORDERS, MOST_SERVER_ORDERS, Outcome, Reason, RefusedReason,
    ServersRefusedReason, StopReason, Unable, VotersRefused, Votes, WithdrawReason,
};
use crate::config::Config;
use crate::time::Span;
use crate::types::{GroupId, Incarnation, InterfaceId, LinkId, NodeId, ServersId};

/// The words of one configuration.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    config: &'a Config,
}

impl<'a> Words<'a> {
    /// With the names of this configuration.
    pub fn new(config: &'a Config) -> Self {
        Self { config }
    }

    /// A node's name; where the configuration does not know it, its id.
    pub fn node(&self, node: NodeId) -> String {
        self.config.nodes.get(&node).map_or_else(|| format!("{node:?}"), |known| known.name.clone())
    }

    /// A group's name; where the configuration does not know it, its id.
    pub fn group(&self, group: GroupId) -> String {
        self.config.groups.get(&group).map_or_else(|| format!("{group:?}"), |known| known.name.clone())
    }

    /// A group's name, and that of the whole cloned group for each of its instances.
    pub fn whole_group(&self, group: GroupId) -> String {
        let name = self.group(group);
        let instance = self.config.groups.get(&group).and_then(|known| known.clone_of.as_ref());
        let whole = instance.and_then(|instance| name.strip_suffix(&format!(":{}", instance.index)));
        whole.map(str::to_owned).unwrap_or(name)
    }

    /// A link's name.
    pub fn link(&self, link: LinkId) -> String {
        let known = self.config.links.get(usize::from(link.0));
        known.map_or_else(|| format!("link {}", link.0), |link| link.name.clone())
    }

    /// An interface's name; one that is found from the route has none.
    pub fn interface(&self, interface: InterfaceId) -> String {
        let known = self.config.interfaces.get(usize::from(interface.0));
        let name = known.and_then(|interface| interface.name.clone());
        name.unwrap_or_else(|| "the interface of the route".to_owned())
    }

    /// A resource's name, as it is found in its group.
    pub fn resource(&self, group: GroupId, resource: u16) -> String {
        let known = self.config.groups.get(&group).and_then(|it| it.resources.get(usize::from(resource)));
        known.map_or_else(|| format!("resource {resource}"), |resource| resource.name.clone())
    }

    /// What happened.
    pub fn event(&self, event: &Event) -> String {
        let (node, group) = (|node: &NodeId| self.node(*node), |group: &GroupId| self.group(*group));
        match event {
            Event::Started { incarnation, with_memory } => started(*incarnation, *with_memory),
            Event::Ready => "it is known what runs here; beats are sent from now on".to_owned(),
            Event::PeerUp { node: peer, .. } => format!("{} is up: heard, and it hears us", node(peer)),
            Event::PeerLate { node: peer, silent } => format!("{} is late: silent for {silent}", node(peer)),
            Event::PeerDown { node: peer, because } => format!("{} is dead: {}", node(peer), down(*because)),
            Event::LinkDown { node, link } => self.link_down(*node, *link),
            Event::LinkUp { node: peer, link } => {
                format!("{} is heard over {} again", node(peer), self.link(*link))
            }
            Event::OlderLife { node, heard, known } => self.older_life(*node, *heard, *known),
            Event::SameName { heard } => same_name(*heard),
            Event::WasAway { late } => {
                format!("this node was away for {late}: a hung process, or a paused machine")
            }
            Event::ConfigDiffers { node: peer } => format!("{} has another configuration", node(peer)),
            Event::VotersKept { because } => self.voters_kept(*because),
            Event::Carrier { interface, up: true } => format!("{} has a carrier", self.interface(*interface)),
            Event::Carrier { interface, up: false } => {
                format!("{} has lost its carrier", self.interface(*interface))
            }
            Event::Claimed { group: wanted, because, .. } => {
                format!("this node claims {}: {}", group(wanted), self.reason(*because))
            }
            Event::Withdrawn { group, because } => self.withdrawn(*group, *because),
            Event::Won { group: won, by, after, .. } => {
                format!("{} is ours, {} after the claim, {}", group(won), after, votes(*by))
            }
            Event::WaitsForOther { group, wait } => self.waits(*group, *wait),
            Event::Running { group: runs, after } => {
                format!("{} runs here, {after} after it was won", group(runs))
            }
            Event::Lost { group: lost, because } => format!("{} is lost: {}", group(lost), loss(*because)),
            Event::Stopping { group, because, to } => self.stopping(*group, *because, *to),
            Event::Released { group: gone, after } => {
                format!("{} does not run here any more, {after} after the stop began", group(gone))
            }
            Event::Blocked { group, resource } => self.blocked(*group, *resource),
            Event::ReleasedDirty { group, resource } => self.released_dirty(*group, *resource),
            Event::ResourceFailed { group, resource, action, outcome } => {
                self.resource_failed(*group, *resource, *action, *outcome)
            }
            Event::FoundRunning { group, resource } => self.found_running(*group, *resource),
            Event::Adopted { group: kept, .. } => {
                format!("{} goes on as an earlier daemon left it", group(kept))
            }
            Event::Fitness { group, unfit } => self.fitness(*group, *unfit),
            Event::EvidenceBegins { interface } => {
                format!("the other is late: evidence is gathered through {}", self.interface(*interface))
            }
            Event::AnswersWithoutBeats { group } => self.answers_without_beats(*group),
            Event::Met { group, other, keeper } => self.met(*group, *other, *keeper),
            Event::Fencing { node: other } => format!("{} is being switched off", node(other)),
            Event::Fenced { node: other, off: true } => format!("{} is off for sure", node(other)),
            Event::Fenced { node: other, off: false } => {
                format!("{} could not be switched off: the fence agent failed", node(other))
            }
            Event::Ordered { subject, wish } => self.ordered(*subject, *wish),
            Event::ServersOrdered { servers, wish } => self.servers_ordered(*servers, *wish),
            Event::ServersRefused { servers, because } => self.servers_refused(*servers, *because),
            Event::Refused { subject, because } => self.refused(*subject, *because),
            Event::Planned { group, owner, because } => self.planned(*group, *owner, *because),
        }
    }

    /// Why a group is planned to be where it is; after "because".
    pub fn reason(&self, reason: Reason) -> String {
        match reason {
            Reason::Stays => "nothing speaks for a move".to_owned(),
            Reason::Preferred => "that is its preferred node".to_owned(),
            Reason::NextInOrder { passed, because } => {
                format!("that is the next in its order of preference, and {}", self.unable(passed, because))
            }
            Reason::FewestGroups => "that node owns the fewest groups".to_owned(),
            Reason::Share => "that node has less than its share of the instances".to_owned(),
            Reason::Ordered => "an operator ordered it there".to_owned(),
            Reason::With(leader) => format!("it goes where {} goes", self.group(leader)),
            Reason::Apart(other) => format!("it keeps apart from {}", self.group(other)),
            Reason::NobodyFit { nearest, because } => {
                format!("no node can serve it: {}", self.unable(nearest, because))
            }
            Reason::NobodyElse => "no other node claims it".to_owned(),
        }
    }

    /// Why a node can't serve a group: a sentence with the node as its subject.
    pub fn unable(&self, node: NodeId, why: Unable) -> String {
        self.unable_there(&self.node(node), why)
    }

    fn unable_there(&self, node: &str, why: Unable) -> String {
        match why {
            Unable::Down => format!("{node} is dead"),
            Unable::NotYetHeard => format!("{node} was not heard yet"),
            Unable::Starting => format!("{node} has just started"),
            Unable::NoMajority => format!("{node} does not hear a majority of the voters"),
            Unable::Leaving => format!("the daemon of {node} is stopping"),
            Unable::Standby => format!("{node} is on standby"),
            Unable::Avoided => format!("an operator ordered it away from {node}"),
            Unable::NotAllowed => format!("the configuration does not allow it on {node}"),
            Unable::Unfit(unfit) => format!("{node} is unfit: {}", unfit_because(unfit)),
            Unable::Reach(reach) => format!("only {reach} ping targets answer {node}"),
            Unable::Shortfall(percent) => {
                format!("{node} finds {percent} % of the servers not well, and another node clearly fewer")
            }
            Unable::ServersUnknown => {
                format!("{node} has not known for long enough how its servers are")
            }
            Unable::Full => format!("{node} has as many instances as it may have"),
            Unable::Waits(group) => format!("it waits for {}, which must run first", self.group(group)),
        }
    }

    /// Why an order is not taken.
    pub fn refused(&self, subject: Subject, because: RefusedReason) -> String {
        let about = self.subject(subject);
        match because {
            RefusedReason::Unknown => format!("the order about {about} is refused: no such node or group"),
            RefusedReason::TooMany => {
                format!("the order about {about} is refused: {MOST_ORDERS} nodes and groups have one already")
            }
            RefusedReason::Unable(Unable::Starting) => format!(
                "the order about {about} is refused: this node has just started and may not know newer orders yet; ask again in a moment"
            ),
            RefusedReason::Unable(why) => {
                format!("the order about {about} is refused: {}", self.unable_there("that node", why))
            }
        }
    }

    fn link_down(&self, node: NodeId, link: LinkId) -> String {
        let (node, link) = (self.node(node), self.link(link));
        format!("{node} is not heard over {link} any more, only over another link: a warning, no takeover")
    }

    fn older_life(&self, node: NodeId, heard: Incarnation, known: Incarnation) -> String {
        let (node, heard, known) = (self.node(node), heard.0, known.0);
        format!(
            "{node} speaks as life {heard}, but life {known} was heard before: a copied machine, or a lost state directory"
        )
    }

    fn voters_kept(&self, because: VotersRefused) -> String {
        match because {
            VotersRefused::TwoSteps => {
                "the voters are counted as before: voters.before must name the set in use".to_owned()
            }
            VotersRefused::NotShownBy(node) => format!(
                "the voters are counted as before: {} does not show the new ones yet",
                self.node(node)
            ),
        }
    }

    fn withdrawn(&self, group: GroupId, because: WithdrawReason) -> String {
        let group = self.group(group);
        match because {
            WithdrawReason::NotWon => format!("the claim on {group} is withdrawn: not won in two leases"),
            WithdrawReason::Yields(node) => {
                format!("the claim on {group} is withdrawn: {} ranks before us", self.node(node))
            }
            WithdrawReason::PlanChanged => {
                format!("the claim on {group} is withdrawn: the plan has another owner")
            }
            WithdrawReason::NotHere => {
                format!("the claim on {group} is withdrawn: it must not be here now, as `systole why` says")
            }
            WithdrawReason::NoMajority => {
                format!("the claim on {group} is withdrawn: no majority of the voters is heard")
            }
        }
    }

    fn waits(&self, group: GroupId, wait: Span) -> String {
        let group = self.group(group);
        if wait == Span(u64::MAX) {
            return format!(
                "{group} waits: nothing proves yet that its last holder does not run it any more; a fence agent can, or `systole fence-ack NODE` once you know that it is off"
            );
        }
        format!("{group} waits at most {wait} before it starts: its last holder may still run it")
    }

    fn stopping(&self, group: GroupId, because: StopReason, to: Option<NodeId>) -> String {
        let target = to.map_or(String::new(), |node| format!(" and handed over to {}", self.node(node)));
        let why = match because {
            StopReason::Plan(reason) => self.reason(reason),
            StopReason::LeaseLost => "its lease was lost".to_owned(),
            StopReason::Leaving => "this daemon is stopping".to_owned(),
            StopReason::Failed => "a resource failed".to_owned(),
            StopReason::Met => "another holder was met, who keeps it".to_owned(),
            StopReason::Reconfigured => "the configuration has changed".to_owned(),
            StopReason::LeftBehind => "an earlier life left it behind".to_owned(),
            StopReason::Watchdog => "it is exclusive, and this machine's watchdog cannot be used".to_owned(),
        };
        format!("{} is stopped here{target}: {why}", self.group(group))
    }

    fn blocked(&self, group: GroupId, resource: u16) -> String {
        let (resource, group) = (self.resource(group, resource), self.group(group));
        format!(
            "{resource} of {group} could not be stopped: the group stays here, so that nobody else starts it; stop it by hand, then `systole cleanup {group}`"
        )
    }

    fn released_dirty(&self, group: GroupId, resource: u16) -> String {
        let (resource, group) = (self.resource(group, resource), self.group(group));
        format!("{resource} of {group} could not be stopped; its address is silent, so {group} was released")
    }

    fn resource_failed(&self, group: GroupId, resource: u16, action: Action, outcome: Outcome) -> String {
        let (resource, group) = (self.resource(group, resource), self.group(group));
        let asked = match action {
            Action::Probe => "the first look at",
            Action::Start => "the start of",
            Action::Stop => "the stop of",
            Action::Monitor => "the look at",
        };
        let came = match outcome {
            Outcome::Done => "found it running".to_owned(),
            Outcome::NotRunning => "found that it does not run".to_owned(),
            Outcome::Failed { code } => format!("failed with exit code {code}"),
            Outcome::TimedOut => "took longer than its time limit".to_owned(),
        };
        format!("{asked} {resource} of {group} {came}")
    }

    fn found_running(&self, group: GroupId, resource: u16) -> String {
        let (resource, group) = (self.resource(group, resource), self.group(group));
        format!("{resource} of {group} was found running, and nobody here had started it; it is stopped")
    }

    fn fitness(&self, group: GroupId, unfit: Option<Unfit>) -> String {
        let group = self.group(group);
        match unfit {
            None => format!("this node is fit for {group} again"),
            Some(unfit) => format!("this node is unfit for {group}: {}", unfit_because(unfit)),
        }
    }

    fn answers_without_beats(&self, group: GroupId) -> String {
        let group = self.group(group);
        format!(
            "the other is not heard, but an address of {group} still answers: the path of the beats is broken, not the other; look for a filter"
        )
    }

    fn met(&self, group: GroupId, other: NodeId, keeper: NodeId) -> String {
        let (group, other, keeper) = (self.group(group), self.node(other), self.node(keeper));
        format!("{other} was met as a second holder of {group}; {keeper} keeps it")
    }

    fn ordered(&self, subject: Subject, wish: Wish) -> String {
        let about = self.subject(subject);
        match wish {
            Wish::Nothing if matches!(subject, Subject::Care(_)) => {
                format!("an operator ordered: {about} is looked after again")
            }
            Wish::Nothing => format!("an operator ordered: {about} as the configuration says"),
            Wish::Standby => format!("an operator ordered: {about} on standby"),
            Wish::Maintenance if subject == Subject::Cluster => {
                "an operator ordered: maintenance, all resources are left alone".to_owned()
            }
            Wish::Maintenance => format!("an operator ordered: maintenance, {about} is left alone"),
            Wish::Place(node) => format!("an operator ordered: {about} on {}", self.node(node)),
            Wish::Avoid(node) => format!("an operator ordered: {about} not on {}", self.node(node)),
        }
    }

    fn servers_ordered(&self, servers: ServersId, wish: Option<ServerWish>) -> String {
        let about = self.servers(servers);
        match wish {
            None => format!("an operator ordered: {about} as the checks and the configuration say"),
            Some(ServerWish::Drain) => format!("an operator ordered: no new connections for {about}"),
            Some(ServerWish::Weight(weight)) => format!("an operator ordered: weight {weight} for {about}"),
        }
    }

    fn servers_refused(&self, servers: ServersId, because: ServersRefusedReason) -> String {
        let about = self.servers(servers);
        match because {
            ServersRefusedReason::TooMany => format!(
                "the order for {about} is refused: {MOST_SERVER_ORDERS} orders for servers hold already; take some back with \
                 `systole pool undrain`"
            ),
            ServersRefusedReason::ForMore => format!(
                "they are still meant by the order for {about}, which means more servers; take that back, or order otherwise \
                 for these"
            ),
            ServersRefusedReason::Starting => format!(
                "the order for {about} is refused: this node has just started and may not know newer orders yet; ask again \
                 in a moment"
            ),
        }
    }

    /// Servers as an operator named them; where the configuration does not know them, their id.
    pub(super) fn servers(&self, servers: ServersId) -> String {
        let all = self.config.services.iter();
        let all = all.flat_map(|(service, one)| one.servers.iter().map(move |server| (service, server)));
        for (service, (name, server)) in all {
            let address = server.address.to_string();
            let of = ServersId::all_of(service, name, server.address);
            let texts = [
                format!("{name} of {service}"),
                format!("{address} of {service}"),
                name.clone(),
                address.clone(),
            ];
            if let Some((_, text)) = of.into_iter().zip(texts).find(|(id, _)| *id == servers) {
                return text;
            }
        }
        format!("{servers:?}")
    }

    fn planned(&self, group: GroupId, owner: Option<NodeId>, because: Reason) -> String {
        let (group, why) = (self.group(group), self.reason(because));
        match owner {
            Some(owner) => format!("{group} shall be on {}: {why}", self.node(owner)),
            None => format!("{group} shall be nowhere: {why}"),
        }
    }

    fn subject(&self, subject: Subject) -> String {
        match subject {
            Subject::Cluster => "the cluster".to_owned(),
            Subject::Node(node) => self.node(node),
            Subject::Group(group) | Subject::Care(group) => self.group(group),
        }
    }
}

/// How far a claim got.
pub fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Claiming => "claims it",
        Phase::Waiting => "waits for its last holder",
        Phase::Starting => "starts it",
        Phase::Held => "runs it",
        Phase::Stopping => "stops it",
        Phase::Blocked => "cannot stop it",
    }
}

fn started(incarnation: Incarnation, with_memory: bool) -> String {
    let memory =
        if with_memory { "and goes on from its memory" } else { "without a memory of an earlier one" };
    format!("the daemon started (life {}) {memory}", incarnation.0)
}

fn same_name(heard: Incarnation) -> String {
    format!("another machine speaks under this node's name (life {}): rename one of the two", heard.0)
}

fn down(because: DownReason) -> String {
    match because {
        DownReason::Silent { silent } => format!("silent for {silent} on every link"),
        DownReason::Deaf { hears_us_since } => {
            format!("we hear it, but it has not heard us for {hears_us_since}")
        }
        DownReason::NeverHeard => "not heard since this daemon started".to_owned(),
        DownReason::Left => "its daemon was stopped in good order".to_owned(),
    }
}

fn votes(by: Votes) -> &'static str {
    match by {
        Votes::Majority => "by a majority of the voters",
        Votes::Evidence => "by our own vote and the evidence that the other is away",
        Votes::Fence => "by our own vote, and the other is switched off",
        Votes::OwnAlone => "by our own vote alone: at least one owner is promised",
    }
}

fn loss(because: LossReason) -> &'static str {
    match because {
        LossReason::RanOut => "no majority renewed its lease in time",
        LossReason::WasAway => "this node was away for longer than its lease",
        LossReason::Gone => "its lease was not in the kernel any more",
        LossReason::Met => "another holder keeps it",
    }
}

fn unfit_because(unfit: Unfit) -> String {
    match unfit {
        Unfit::Carrier => "an interface that carries its addresses has no carrier".to_owned(),
        Unfit::Health => "what is tracked there says so".to_owned(),
        Unfit::Watchdog => "it is exclusive, and no watchdog counts there".to_owned(),
        Unfit::Failed { retry_in } => {
            format!(
                "a resource failed there; it may be tried again in {retry_in}, or after `systole cleanup`"
            )
        }
    }
}
