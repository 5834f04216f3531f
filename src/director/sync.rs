//! The kernel's daemons that tell connections from director to director. Which of them run follows from who holds what:
//! the holder tells, and the others learn, so that connections outlive a takeover.
//!
//! They have a thread of their own: a role changes at once, whatever the balancers are about.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::config::{Balancer, ConnectionSync, Services};
use crate::net::ipvs::{SyncDaemon, SyncPath, SyncRole};
use crate::types::GroupId;

use super::balancer::BalancerError;
use super::balancer::ipvs::{Ipvs, does};

/// Between two looks at what runs.
const LOOK: Duration = Duration::from_secs(10);

/// What failed is tried again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// Which daemons shall run: one tells where something of IPVS is served, and one learns where something is served
/// elsewhere. What each node serves, whoever holds what, is both.
pub fn wanted(
    sync: Option<&ConnectionSync>,
    services: &Services,
    held: &BTreeSet<GroupId>,
) -> Vec<SyncDaemon> {
    let Some(sync) = sync else { return Vec::new() };
    let groups = || services.values().filter(|one| one.balancer == Balancer::Ipvs).map(|one| one.group);
    let tells = groups().any(|group| group.is_none_or(|group| held.contains(&group)));
    let learns = groups().any(|group| group.is_none_or(|group| !held.contains(&group)));
    let roles = [(SyncRole::Sends, tells), (SyncRole::Receives, learns)];
    let daemon =
        |role| SyncDaemon { role, interface: sync.interface.clone(), id: sync.id, path: SyncPath::default() };
    roles.into_iter().filter(|(_, runs)| *runs).map(|(role, _)| daemon(role)).collect()
}

/// What came of it: what somebody else had changed, or why it is not as it should be.
pub type Synced = Result<Vec<String>, BalancerError>;

/// The thread, while there is anything to do.
#[derive(Debug)]
pub struct Syncing {
    thread: Option<Sender<Vec<SyncDaemon>>>,
    wanted: Vec<SyncDaemon>,
    reports: UnboundedSender<Synced>,
}

impl Syncing {
    /// Nothing runs, or what an earlier life has left.
    pub fn new(reports: UnboundedSender<Synced>) -> Self {
        Self { thread: None, wanted: Vec::new(), reports }
    }

    /// These shall run, and no others.
    pub fn want(&mut self, wanted: Vec<SyncDaemon>) -> io::Result<()> {
        if wanted == self.wanted {
            return Ok(());
        }
        self.wanted = wanted;
        if let Some(thread) = &self.thread
            && thread.send(self.wanted.clone()).is_ok()
        {
            return Ok(());
        }
        let (sender, inbox) = mpsc::channel();
        let (reports, wanted) = (self.reports.clone(), self.wanted.clone());
        thread::Builder::new().name("sync".to_owned()).spawn(move || keep(wanted, &inbox, &reports))?;
        self.thread = Some(sender);
        Ok(())
    }
}

fn keep(mut wanted: Vec<SyncDaemon>, inbox: &Receiver<Vec<SyncDaemon>>, reports: &UnboundedSender<Synced>) {
    let mut is_settled = false;
    loop {
        let result = settle(&wanted, is_settled);
        is_settled = result.is_ok();
        let wait = if is_settled { LOOK } else { AGAIN };
        if reports.send(result).is_err() || (is_settled && wanted.is_empty()) {
            return;
        }
        match inbox.recv_timeout(wait) {
            Ok(other) => {
                // The newest is what counts.
                wanted = inbox.try_iter().last().unwrap_or(other);
                is_settled = false;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Stops what shall not run, and starts what does not. What was settled before, and is otherwise now, somebody else has
/// changed.
fn settle(wanted: &[SyncDaemon], was_settled: bool) -> Result<Vec<String>, BalancerError> {
    let mut kernel = Ipvs::open(BTreeSet::new())?;
    let running = kernel.sync_daemons()?;
    let mut mended = Vec::new();
    for role in [SyncRole::Sends, SyncRole::Receives] {
        let of_role = |all: &[SyncDaemon]| all.iter().find(|daemon| daemon.role == role).cloned();
        let place = |daemon: &SyncDaemon| (daemon.interface.clone(), daemon.id);
        let wanted = of_role(wanted);
        if of_role(&running).as_ref().map(place) == wanted.as_ref().map(place) {
            continue;
        }
        match wanted {
            Some(daemon) => kernel.sync(role, &daemon.interface, daemon.id)?,
            None => kernel.stop_sync(role)?,
        }
        mended.push(format!("the kernel's daemon that {}", does(role)));
    }
    Ok(if was_settled { mended } else { Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_toml;

    fn roles(services: &str, held: &[&str]) -> Vec<SyncRole> {
        let text = format!(
            "[node.lb0]\n[node.lb1]\n[link.a]\ninterface = \"eth1\"\nmulticast = \"239.1.1.1\"\n\
             [tiebreak]\nmethod = \"none\"\n\
             [group.web]\nresource = [{{ agent = \"vip\", args = [\"192.168.1.30/24/eth0\"] }}]\n\
             [group.mail]\nresource = [{{ agent = \"vip\", args = [\"192.168.1.31/24/eth0\"] }}]\n\
             [sync]\ninterface = \"eth1\"\n{services}"
        );
        let config = parse_toml("systole.toml", &text).unwrap().config;
        let held = held.iter().map(|name| GroupId::of(name)).collect();
        let daemons = wanted(config.sync.as_ref(), &config.services, &held);
        assert!(daemons.iter().all(|daemon| daemon.interface == "eth1" && daemon.id > 0));
        daemons.into_iter().map(|daemon| daemon.role).collect()
    }

    const WEB: &str = "[service.web]\naddress = \"192.168.1.30:80\"\nservers = [\"10.0.0.1:80\"]\n";
    const MAIL: &str = "[service.mail]\naddress = \"192.168.1.31:25\"\nservers = [\"10.0.0.1:25\"]\n";

    #[test]
    fn the_holder_tells_and_the_others_learn() {
        assert_eq!(roles(WEB, &["web"]), [SyncRole::Sends]);
        assert_eq!(roles(WEB, &[]), [SyncRole::Receives]);
        assert_eq!(roles(WEB, &["mail"]), [SyncRole::Receives]);
        let both = [WEB, MAIL].concat();
        assert_eq!(roles(&both, &["web", "mail"]), [SyncRole::Sends]);
        assert_eq!(roles(&both, &["mail"]), [SyncRole::Sends, SyncRole::Receives]);
        assert_eq!(roles(&WEB.replace("servers", "balancer = \"nftables\"\nservers"), &["web"]), []);
        assert_eq!(roles("", &["web"]), []);
    }
}
