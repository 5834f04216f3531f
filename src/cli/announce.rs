//! `systole check --announce ADDRESS`: tries on a spare address whether the network takes an announcement.
//!
//! One machine cannot see what another's neighbour table says. So it says what it saw and what nobody looked at. The
//! address is taken away again however this ends, but for SIGKILL: it is added for as long as [`Added`] lives.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, recv, sendto, socket,
};

use crate::net::announce::{Announcer, Pace};
use crate::net::frame::{Echo, Interface, Mac};
use crate::net::probe::{Heard, Prober};
use crate::net::route::{Address, Route, RouteError};
use crate::time::Span;
use crate::types::GroupId;

use super::failure::Failure;
use super::terminal::{boot_clock, say};

/// "Who has it?" is asked so often, so far apart: a lost question must not pass for silence.
const QUESTIONS: u64 = 4;
const BETWEEN: Span = Span::millis(250);

/// A machine that speaks for the address after it was announced does so within this.
const AFTER: Span = Span::millis(1_300);

/// A ping that is not answered within this is not answered.
const PING: Span = Span::seconds(1);

/// Longer than any answer.
const BUFFER: usize = 1_024;

/// Tries it, and says what was seen.
pub(super) fn attempt(address: IpAddr, interface: Option<&str>) -> Result<(), Failure> {
    let mut trial = Trial::new(address, interface)?;
    let name = trial.interface.name.clone();
    if let Some(mac) = trial.seek()? {
        return Err(Failure::NotDone(format!(
            "{address} is in use: {mac} answers for it on {name}; nothing was added or announced\nname an address of that network that nobody has"
        )));
    }
    let plain = trial.ping(None)?;
    let added = Added::new(address, trial.interface.index)?;
    let tried = trial.announce().and_then(|frames| Ok((frames, trial.ping(Some(address))?)));
    added.remove()?;
    let (frames, from_it) = tried?;
    let mut lines = vec![
        format!("nobody else has {address}: {QUESTIONS} questions on {name} were not answered"),
        format!("announced: {frames} frames left through {name}, and nobody spoke against them"),
    ];
    let target = trial.gateway.map_or("no gateway".to_owned(), |gateway| format!("the gateway {gateway}"));
    match (plain, from_it) {
        (true, true) => lines.push(format!("{target} answers a ping from {address}: it finds the way to it")),
        (true, false) => {
            return Err(Failure::NotDone(format!(
                "{}\n{target} answers this machine, but not {address}: the network does not let this machine have it\nlook whether it is of that network, for port security, a filter on the switch, or a cloud that must be told of each address; {address} was removed again",
                lines.join("\n")
            )));
        }
        (false, _) => lines.push(format!(
            "not checked, whether anybody reaches it: there is {}",
            trial.gateway.map_or("no gateway on that interface to ask".to_owned(), |_| format!(
                "{target}, and it answers no ping"
            ))
        )),
    }
    lines.push(format!(
        "not checked, for one machine cannot see it: whether a neighbour that knew {address} from another machine believes the announcement; try a hand-over in a quiet hour"
    ));
    lines.push(format!("{address} was removed again"));
    say(&(lines.join("\n") + "\n"));
    Ok(())
}

/// What is needed for it.
struct Trial {
    address: IpAddr,
    interface: Interface,
    gateway: Option<IpAddr>,
    prober: Prober,
    interrupted: SignalFd,
}

/// An address that stands for as long as this lives.
struct Added {
    address: Address,
    removed: bool,
}

impl Added {
    /// As a network of its own, so that no route comes and goes with it.
    fn new(address: IpAddr, index: u32) -> Result<Self, Failure> {
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let address = Address::new(index, address, whole);
        Route::open().and_then(|mut route| route.add_address(&address)).map_err(unusable)?;
        Ok(Self { address, removed: false })
    }

    fn remove(mut self) -> Result<(), Failure> {
        self.take_away().map_err(|error| {
            let address = self.address.address;
            Failure::NotDone(format!(
                "{address} could not be removed again: {error}\nremove it by hand with `ip address del`"
            ))
        })
    }

    fn take_away(&mut self) -> Result<(), RouteError> {
        self.removed = true;
        Route::open()?.delete_address(&self.address)
    }
}

impl Drop for Added {
    fn drop(&mut self) {
        if !self.removed {
            // Whoever did not call `remove` has worse to tell.
            let _ = self.take_away();
        }
    }
}

impl Trial {
    fn new(address: IpAddr, interface: Option<&str>) -> Result<Self, Failure> {
        let mut route = Route::open().map_err(unusable)?;
        if route.addresses().map_err(unusable)?.iter().any(|there| there.address == address) {
            return Err(Failure::Unusable(format!(
                "{address} stands on this machine already\nname a spare address, which nobody has"
            )));
        }
        let link = match interface {
            Some(name) => route.link(name),
            None => {
                let path = route.path_to(address).map_err(unusable)?;
                let path = path.filter(|path| path.gateway.is_none() && path.prefix > 0);
                let path = path.ok_or_else(|| {
                    Failure::Unusable(format!(
                        "{address} is in no network of this machine\nname the interface with --interface NAME"
                    ))
                })?;
                route.link_at(path.index)
            }
        }
        .map_err(unusable)?;
        let Some(mac) = link.mac.filter(|_| link.up && link.carrier) else {
            return Err(Failure::Unusable(format!(
                "{} cannot announce: it is down, has no carrier, or is not of Ethernet's kind\nlook at `ip link show {}`",
                link.name, link.name
            )));
        };
        let gateways = route.default_gateways(link.index).map_err(unusable)?;
        let gateway = gateways
            .iter()
            .map(|gateway| gateway.address)
            .find(|gateway| gateway.is_ipv4() == address.is_ipv4());
        let mut prober = Prober::new(token()).map_err(|error| failed("listen", &error))?;
        let links = route.links().map_err(unusable)?;
        prober.own(links.iter().filter_map(|link| link.mac).collect::<BTreeSet<Mac>>());
        let name = link.name.as_str().into();
        let interface = Interface { index: link.index, name, mac, link_local: None, forwards: false };
        // Blocked, they wait here until it is looked for them, and the address is gone before this process is.
        let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let interrupted = signals
            .thread_block()
            .and_then(|()| SignalFd::with_flags(&signals, flags))
            .map_err(|error| failed("wait for signals", &error.into()))?;
        Ok(Self { address, interface, gateway, prober, interrupted })
    }

    /// Who answers for the address, if anybody does.
    fn seek(&mut self) -> Result<Option<Mac>, Failure> {
        for _ in 0..QUESTIONS {
            self.prober.seek(&self.interface, self.address).map_err(unusable)?;
            if let Some(mac) = self.listen(BETWEEN)? {
                return Ok(Some(mac));
            }
        }
        Ok(None)
    }

    /// Listens for so long; who speaks as the address.
    fn listen(&mut self, wait: Span) -> Result<Option<Mac>, Failure> {
        let until = boot_clock() + wait;
        let mut owner = None;
        loop {
            self.sleep(None, until)?;
            let address = self.address;
            self.prober
                .read(|heard| {
                    if let Heard::Owner { address: theirs, mac, .. } = heard
                        && theirs == address
                    {
                        owner = Some(mac);
                    }
                })
                .map_err(|error| failed("listen", &error))?;
            if owner.is_some() || boot_clock() >= until {
                return Ok(owner);
            }
        }
    }

    /// Announces it, with the repeats of the first seconds. How many frames left.
    fn announce(&mut self) -> Result<u64, Failure> {
        let (group, began) = (GroupId(0), boot_clock());
        let mut announcer = Announcer::new(Pace::default());
        announcer.announce(group, &[(self.interface.clone(), self.address)], began);
        let mut frames = 0;
        while let Some(due) = announcer.next_due().filter(|due| *due < began + AFTER) {
            if let Some(mac) = self.listen(due - boot_clock())? {
                let address = self.address;
                return Err(Failure::NotDone(format!(
                    "{mac} spoke for {address} after it was announced: somebody defends it\nname an address that nobody has; {address} was removed again"
                )));
            }
            let sent = announcer.run(boot_clock());
            frames += sent.frames;
            if let Some(failure) = sent.failures.into_iter().next() {
                return Err(Failure::NotDone(failure.to_string()));
            }
        }
        Ok(frames)
    }

    /// Whether the gateway answers, asked from this address, or from whichever the kernel takes.
    fn ping(&mut self, from: Option<IpAddr>) -> Result<bool, Failure> {
        let Some(gateway) = self.gateway else { return Ok(false) };
        let echo = Echo { token: token(), round: 1, group: 0 };
        let socket = ping_socket(gateway, from).map_err(|error| failed("ping", &error))?;
        let message = if gateway.is_ipv4() { echo.request_v4() } else { echo.request_v6() };
        let to = SockaddrStorage::from(SocketAddr::new(gateway, 0));
        if sendto(socket.as_raw_fd(), &message, &to, MsgFlags::empty()).is_err() {
            return Ok(false);
        }
        let until = boot_clock() + PING;
        let mut buffer = [0; BUFFER];
        while boot_clock() < until {
            self.sleep(Some(&socket), until)?;
            while let Ok(length) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                let answer = match gateway {
                    IpAddr::V4(_) => Echo::reply_v4(&buffer[..length])
                        .filter(|(from, _)| *from == gateway)
                        .map(|(_, echo)| echo),
                    IpAddr::V6(_) => Echo::reply_v6(&buffer[..length]),
                };
                if answer.is_some_and(|answer| answer.token == echo.token) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Until something was heard or it is time; an interruption ends all of it.
    fn sleep(&self, also: Option<&OwnedFd>, until: Span) -> Result<(), Failure> {
        let left_ms = (until - boot_clock()).as_micros().div_ceil(1_000);
        let timeout = PollTimeout::from(u16::try_from(left_ms).unwrap_or(u16::MAX));
        let fds = [Some(self.prober.as_fd()), Some(self.interrupted.as_fd()), also.map(AsFd::as_fd)];
        let mut fds: Vec<PollFd<'_>> =
            fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        poll(&mut fds, timeout).map_err(|error| failed("wait", &error.into()))?;
        match self.interrupted.read_signal() {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(_) => {
                let address = self.address;
                Err(Failure::NotDone(format!(
                    "interrupted: {address} is not on this machine any more\nask again for an answer"
                )))
            }
        }
    }
}

fn ping_socket(gateway: IpAddr, from: Option<IpAddr>) -> io::Result<OwnedFd> {
    let (family, protocol) = match gateway {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Raw, flags, protocol)?;
    if let Some(from) = from {
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
    }
    Ok(socket)
}

/// Tells our pings from those of others: nobody else began one in this process at this microsecond.
fn token() -> u64 {
    boot_clock().as_micros() << 16 | u64::from(std::process::id() & 0xffff)
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::Unusable(format!(
        "cannot {what}: {error}\nrun it as root, on the machine that shall have the address"
    ))
}

fn unusable(error: impl std::fmt::Display) -> Failure {
    Failure::Unusable(error.to_string())
}
