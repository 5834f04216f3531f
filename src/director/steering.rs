//! Balancers, each on a thread of its own: one that hangs holds up nobody else.
//!
//! What is wanted goes there, and what came of it comes back. A balancer that failed is settled anew until it is as it
//! should be, and from time to time each is compared with what is wanted: somebody else may have changed it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::config::{At, Balancer};

use super::balancer::{self, Balance, BalancerError};
use super::table::{Table, Tables};

/// Between two looks at what is there.
const LOOK: Duration = Duration::from_secs(10);

/// So many changes at once are made one by one: of our own rules each is a transaction, for which the kernel looks at all.
const FEW: usize = 64;

/// A balancer that failed is tried again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// Which balancer: services of one are settled together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// The kernel's.
    Ipvs,
    /// Our own rules.
    Nftables,
    /// The HAProxy behind this socket.
    Haproxy(PathBuf),
    /// This program.
    Program(PathBuf),
}

impl Which {
    /// That of a service.
    pub fn of(balancer: &Balancer) -> Self {
        match balancer {
            Balancer::Ipvs => Self::Ipvs,
            Balancer::Nftables => Self::Nftables,
            Balancer::Haproxy { socket, .. } => Self::Haproxy(socket.clone()),
            Balancer::Program(path) => Self::Program(path.clone()),
        }
    }

    /// As it is named to the operator.
    pub fn word(&self) -> String {
        match self {
            Self::Ipvs => "ipvs".to_owned(),
            Self::Nftables => "nftables".to_owned(),
            Self::Haproxy(socket) => format!("haproxy at {}", socket.display()),
            Self::Program(path) => path.display().to_string(),
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Of which.
    pub which: Which,
    /// What somebody else had changed, or why it is not as it should be.
    pub result: Result<Vec<String>, BalancerError>,
}

/// A service is wanted so; `None`: it is none of ours any more.
type Wish = (String, Option<Table>);

/// All balancers that have anything to do.
pub struct Steering {
    threads: BTreeMap<Which, Sender<Vec<Wish>>>,
    reports: UnboundedSender<Report>,
    /// Where an earlier life had services of the kernel's balancer.
    earlier: BTreeSet<At>,
}

impl Steering {
    /// None yet.
    pub fn new(reports: UnboundedSender<Report>, earlier: BTreeSet<At>) -> Self {
        Self { threads: BTreeMap::new(), reports, earlier }
    }

    /// These services are wanted otherwise.
    pub fn wish(&mut self, which: &Which, wishes: Vec<Wish>) -> io::Result<()> {
        let wishes = match self.threads.get(which) {
            Some(thread) => match thread.send(wishes) {
                Ok(()) => return Ok(()),
                // It had nothing to do any more.
                Err(mpsc::SendError(wishes)) => wishes,
            },
            None => wishes,
        };
        let (sender, inbox) = mpsc::channel();
        let (reports, of) = (self.reports.clone(), which.clone());
        let name = which.word().chars().take(15).collect();
        let earlier = self.earlier.clone();
        thread::Builder::new().name(name).spawn(move || {
            Helm { which: of, wanted: Tables::new(), earlier, balancer: None }
                .steer(wishes, &inbox, &reports);
        })?;
        self.threads.insert(which.clone(), sender);
        Ok(())
    }
}

/// One balancer's thread.
struct Helm {
    which: Which,
    wanted: Tables,
    earlier: BTreeSet<At>,
    /// As it was settled last; `None`: it is not known how it is.
    balancer: Option<Box<dyn Balance>>,
}

impl Helm {
    fn steer(mut self, first: Vec<Wish>, inbox: &Receiver<Vec<Wish>>, reports: &UnboundedSender<Report>) {
        let mut wishes = first;
        loop {
            while let Ok(more) = inbox.try_recv() {
                wishes.extend(more);
            }
            let result = self.fulfil(std::mem::take(&mut wishes));
            let wait = if result.is_ok() { LOOK } else { AGAIN };
            let is_over = self.wanted.is_empty() && result.is_ok();
            let is_heard = reports.send(Report { which: self.which.clone(), result }).is_ok();
            if is_over || !is_heard {
                return;
            }
            match inbox.recv_timeout(wait) {
                Ok(more) => wishes = more,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Few changes are made one by one; else all of it is compared.
    fn fulfil(&mut self, wishes: Vec<Wish>) -> Result<Vec<String>, BalancerError> {
        let mut changed = BTreeMap::new();
        let mut is_less = wishes.is_empty();
        for (name, table) in wishes {
            match table {
                Some(table) => {
                    is_less |= !self.wanted.contains_key(&name);
                    self.wanted.insert(name.clone(), table);
                    changed.insert(name, ());
                }
                None => is_less |= self.wanted.remove(&name).is_some(),
            }
        }
        let is_one_by_one = !is_less && changed.len() <= FEW;
        let balancer = match self.balancer.take() {
            Some(mut balancer) if is_one_by_one => {
                for name in changed.keys() {
                    if let Some(table) = self.wanted.get(name) {
                        balancer.change(name, table)?;
                    }
                }
                self.balancer = Some(balancer);
                return Ok(Vec::new());
            }
            Some(balancer) => balancer,
            None => balancer::open(&self.which, &self.earlier)?,
        };
        let mut balancer = balancer;
        let mended = balancer.settle(&self.wanted)?;
        self.balancer = Some(balancer);
        Ok(mended)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::parse_toml;

    /// Says what it was told.
    #[derive(Clone, Default)]
    struct Listens(Arc<Mutex<Vec<String>>>);

    impl Balance for Listens {
        fn settle(&mut self, wanted: &Tables) -> Result<Vec<String>, BalancerError> {
            self.0.lock().unwrap().push(format!("all {}", wanted.len()));
            Ok(Vec::new())
        }

        fn change(&mut self, name: &str, _: &Table) -> Result<(), BalancerError> {
            self.0.lock().unwrap().push(name.to_owned());
            Ok(())
        }
    }

    #[test]
    fn few_changes_are_made_one_by_one_and_many_at_once() {
        let text = "[cluster]\n[node.a]\n[node.b]\n[link.x]\ninterface = \"x\"\nbroadcast = true\n\
                    [[group.web.resource]]\nagent = \"vip\"\nargs = [\"192.0.2.1/24/x\"]\n\
                    [service.web]\naddress = \"192.0.2.1:80\"\nservers = [\"10.0.0.1:80\"]\n";
        let service = parse_toml("x", text).unwrap().config.services["web"].clone();
        let table = Table { service, entries: BTreeMap::new() };
        let wishes = |count: usize| -> Vec<Wish> {
            (0..count).map(|number| (format!("s{number:02}"), Some(table.clone()))).collect()
        };
        let listens = Listens::default();
        let balancer: Box<dyn Balance> = Box::new(listens.clone());
        let (wanted, earlier) = (Tables::new(), BTreeSet::new());
        let mut helm = Helm { which: Which::Ipvs, wanted, earlier, balancer: Some(balancer) };
        let told = || std::mem::take(&mut *listens.0.lock().unwrap());
        let all = format!("all {}", FEW + 1);
        helm.fulfil(wishes(FEW + 1)).unwrap();
        assert_eq!(told(), [all.as_str()], "they are new");
        helm.fulfil(wishes(2)).unwrap();
        assert_eq!(told(), ["s00", "s01"]);
        helm.fulfil(wishes(FEW + 1)).unwrap();
        assert_eq!(told(), [all.as_str()], "they are many");
        helm.fulfil(vec![("s00".to_owned(), None)]).unwrap();
        assert_eq!(told(), [format!("all {FEW}")], "one is gone");
    }
}
