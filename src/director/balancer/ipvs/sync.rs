//! The two daemons of the kernel that tell connections from director to director, so that they outlive a takeover. Which of
//! them runs when is not decided here.
//!
//! A daemon cannot be altered: it is stopped and started anew, and connections of that moment are told with their next
//! packets. The kernel runs both side by side, and neither for services whose servers are of another family than they are.

use std::io;

use crate::director::balancer::BalancerError;
use crate::net::ipvs::{SyncDaemon, SyncPath, SyncRole};

use super::Ipvs;

impl Ipvs {
    /// The daemon of this role runs, over this interface and with this number: nothing is done if it does, and one that runs
    /// otherwise is replaced.
    pub fn sync(&mut self, role: SyncRole, interface: &str, id: u8) -> Result<(), BalancerError> {
        let wanted = SyncDaemon { role, interface: interface.to_owned(), id, path: SyncPath::default() };
        let running = self.sync_daemons()?.into_iter().find(|daemon| daemon.role == role);
        if running.as_ref().is_some_and(|running| running.interface == interface && running.id == id) {
            return Ok(());
        }
        if running.is_some() {
            self.stop_sync(role)?;
        }
        self.kernel.start(&wanted).map_err(|error| refused(&wanted, &error))
    }

    /// No daemon of this role runs.
    pub fn stop_sync(&mut self, role: SyncRole) -> Result<(), BalancerError> {
        match self.kernel.stop(role) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                Err(BalancerError(format!("IPVS: the daemon that {} cannot be stopped: {error}", does(role))))
            }
            Err(_) | Ok(()) => Ok(()),
        }
    }

    /// The daemons that run, whoever has started them.
    pub fn sync_daemons(&mut self) -> Result<Vec<SyncDaemon>, BalancerError> {
        self.kernel
            .daemons()
            .map_err(|error| BalancerError(format!("IPVS: its daemons cannot be read: {error}")))
    }
}

/// What a daemon of this role does.
pub fn does(role: SyncRole) -> &'static str {
    match role {
        SyncRole::Sends => "sends connections",
        SyncRole::Receives => "receives connections",
    }
}

pub(super) fn refused(daemon: &SyncDaemon, error: &io::Error) -> BalancerError {
    let interface = &daemon.interface;
    let why = match error.raw_os_error() {
        Some(libc::ENODEV) => format!("there is no interface {interface}"),
        Some(libc::EADDRNOTAVAIL) => format!("interface {interface} has no address of IPv4"),
        Some(libc::EINVAL) => {
            "a service has servers of another family than its own: IPVS tells of no connections then".into()
        }
        Some(libc::EPERM) => "only root may: it takes CAP_NET_ADMIN".into(),
        _ => format!("over {interface} with number {}: {error}", daemon.id),
    };
    BalancerError(format!("IPVS: the daemon that {} does not start: {why}", does(daemon.role)))
}
