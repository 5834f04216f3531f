//! Tells the neighbours where an address is now.
//!
//! An address that moved is reachable once every neighbour's table and every switch knows its new place. A frame can be
//! lost, a switch can throttle what comes too fast, and some believe only one of the two forms of ARP. So each address is
//! announced in both forms, paced, and more than once. What is queued leaves only while the lease stands: `cancel` takes
//! back all of a group, and nothing here ever sends for a group that was cancelled. It never waits: what the kernel does
//! not take is counted and said.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::sys::socket::{setsockopt, sockopt};

use crate::time::Span;
use crate::types::GroupId;

use super::frame::{self, Interface};
use super::sys;

/// A frame that finds the socket full is offered so often, a millisecond apart; then it is lost, and its repeats remain.
const OFFERS: u32 = 5;

/// How fast, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Frames that may leave in a millisecond, over all groups.
    pub frames_per_ms: u32,
    /// When a burst is repeated, counted from its beginning.
    pub repeats: Vec<Span>,
    /// At least so long between two bursts of a group that rivals cause: two machines that each answer the other's
    /// announcement with their own would otherwise do so as fast as the wire lets them.
    pub rest: Span,
}

impl Default for Pace {
    /// 200 frames in a millisecond are 8 MB/s for as long as it takes: 500 addresses are through once in 3 ms and in both
    /// forms in 5. A repeat after 200 ms is for a frame that was lost, one after a second for a switch that counts frames
    /// by the second, and one after five for a port or a neighbour that was still finding its own feet.
    fn default() -> Self {
        Self {
            frames_per_ms: 200,
            repeats: vec![Span::millis(200), Span::seconds(1), Span::seconds(5)],
            rest: Span::millis(100),
        }
    }
}

/// The two forms of an announcement. All addresses are announced once before any is announced twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// A request of ARP, or an advertisement.
    First,
    /// A reply of ARP. IPv6 has no other form.
    Second,
}

/// One frame to send.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shot {
    interface: Arc<Interface>,
    address: IpAddr,
    form: Form,
}

impl Shot {
    fn frame(&self) -> Vec<u8> {
        let mac = self.interface.mac;
        match (self.address, self.form) {
            (IpAddr::V4(address), Form::First) => frame::gratuitous_request(mac, address),
            (IpAddr::V4(address), Form::Second) => frame::gratuitous_reply(mac, address),
            (IpAddr::V6(address), _) => {
                frame::unsolicited_advertisement(mac, address, self.interface.forwards)
            }
        }
    }
}

/// Addresses of a group that came together; the parts of a group are numbered from 0.
type Part = (GroupId, u32);

/// A part whose addresses are announced.
#[derive(Clone, Debug)]
struct Spoken {
    addresses: Vec<(Arc<Interface>, IpAddr)>,
    /// When its newest series of bursts began, or will begin.
    began: Span,
    /// Bursts of this series that have begun.
    bursts: usize,
    /// A rival was heard in the middle of a burst.
    once_more: bool,
    place: Place,
}

impl Spoken {
    /// A new series: when it begins.
    fn anew(&mut self, now: Span, rest: Span) -> Span {
        (self.began, self.bursts, self.once_more) = (now.max(self.began + rest), 0, false);
        self.began
    }

    fn next_turn(&self, from: Turn) -> Option<Turn> {
        let says = |turn: Turn, at: usize| turn.form == Form::First || self.addresses[at].1.is_ipv4();
        let find = |turn: Turn| (turn.next..self.addresses.len()).find(|at| says(turn, *at));
        if let Some(next) = find(from) {
            return Some(Turn { next, ..from });
        }
        let second = Turn { form: Form::Second, next: 0, ..from };
        (from.form == Form::First).then(|| find(second).map(|next| Turn { next, ..second })).flatten()
    }
}

/// Where a part stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Until then nothing is to be sent.
    Waiting(Span),
    /// In the middle of a burst.
    Ready(Turn),
    /// All was said.
    Through,
}

/// Who sends before whom: first bursts before repeats, and everybody's first form before anybody's second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    burst: usize,
    form: Form,
    /// In the order in which bursts began.
    ticket: u64,
    /// The next address.
    next: usize,
}

/// What is to be sent and when; it has no socket.
#[derive(Debug)]
struct Queue {
    pace: Pace,
    parts: BTreeMap<Part, Spoken>,
    waiting: BTreeSet<(Span, Part)>,
    ready: BTreeSet<(Turn, Part)>,
    tickets: u64,
    /// The millisecond that runs, and what may still leave in it.
    window: Span,
    left: u32,
}

impl Queue {
    fn new(pace: Pace) -> Self {
        Self {
            left: pace.frames_per_ms.max(1),
            pace,
            parts: BTreeMap::new(),
            waiting: BTreeSet::new(),
            ready: BTreeSet::new(),
            tickets: 0,
            window: Span::ZERO,
        }
    }

    fn announce(&mut self, group: GroupId, addresses: Vec<(Arc<Interface>, IpAddr)>, now: Span) {
        self.cancel(group);
        self.add(group, addresses, now);
    }

    fn add(&mut self, group: GroupId, addresses: Vec<(Arc<Interface>, IpAddr)>, now: Span) {
        if addresses.is_empty() {
            return;
        }
        let part = (group, self.parts_of(group).last().map_or(0, |(_, number)| number + 1));
        let spoken = Spoken { addresses, began: now, bursts: 0, once_more: false, place: Place::Through };
        self.parts.insert(part, spoken);
        self.put(part, Place::Waiting(now));
    }

    fn again(&mut self, group: GroupId, now: Span) {
        for part in self.parts_of(group) {
            let Some(spoken) = self.parts.get_mut(&part) else { continue };
            if matches!(spoken.place, Place::Ready(_)) {
                // What has not been said yet does not wait for what is said again.
                spoken.once_more = true;
            } else if spoken.bursts > 0 {
                let at = spoken.anew(now, self.pace.rest);
                self.put(part, Place::Waiting(at));
            }
        }
    }

    fn cancel(&mut self, group: GroupId) {
        for part in self.parts_of(group) {
            self.put(part, Place::Through);
            self.parts.remove(&part);
        }
    }

    fn parts_of(&self, group: GroupId) -> Vec<Part> {
        self.parts.range((group, 0)..=(group, u32::MAX)).map(|(part, _)| *part).collect()
    }

    /// Moves a part to a new place.
    fn put(&mut self, part: Part, place: Place) {
        let Some(spoken) = self.parts.get_mut(&part) else { return };
        match std::mem::replace(&mut spoken.place, place) {
            Place::Waiting(at) => self.waiting.remove(&(at, part)),
            Place::Ready(turn) => self.ready.remove(&(turn, part)),
            Place::Through => true,
        };
        match place {
            Place::Waiting(at) => self.waiting.insert((at, part)),
            Place::Ready(turn) => self.ready.insert((turn, part)),
            Place::Through => true,
        };
    }

    fn next_due(&self) -> Option<Span> {
        let open = if self.left > 0 { self.window } else { self.window + Span::millis(1) };
        let waiting = self.waiting.first().map(|(at, _)| open.max(*at));
        if self.ready.is_empty() { waiting } else { Some(open) }
    }

    /// The frame whose turn it is, if one may leave now.
    fn peek(&mut self, now: Span) -> Option<Shot> {
        while let Some((_, part)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.begin(part);
        }
        if now >= self.window + Span::millis(1) {
            (self.window, self.left) = (now, self.pace.frames_per_ms.max(1));
        }
        let (turn, part) = self.ready.first().filter(|_| self.left > 0)?;
        let (interface, address) = self.parts.get(part)?.addresses.get(turn.next)?;
        Some(Shot { interface: Arc::clone(interface), address: *address, form: turn.form })
    }

    /// The frame whose turn it was has had it.
    fn advance(&mut self) {
        let Some((turn, part)) = self.ready.first().copied() else { return };
        self.left = self.left.saturating_sub(1);
        self.seek(part, Turn { next: turn.next + 1, ..turn });
    }

    /// The next millisecond at the earliest.
    fn pause(&mut self) {
        self.left = 0;
    }

    fn begin(&mut self, part: Part) {
        let Some(spoken) = self.parts.get_mut(&part) else { return };
        let burst = spoken.bursts;
        spoken.bursts += 1;
        self.tickets += 1;
        let ticket = self.tickets;
        self.seek(part, Turn { burst, form: Form::First, ticket, next: 0 });
    }

    /// Moves on to the next address from this turn on that has anything to say.
    fn seek(&mut self, part: Part, from: Turn) {
        let Some(spoken) = self.parts.get_mut(&part) else { return };
        let place = if let Some(turn) = spoken.next_turn(from) {
            Place::Ready(turn)
        } else if spoken.once_more {
            // Its rest counts from the beginning of this burst.
            Place::Waiting(spoken.anew(spoken.began, self.pace.rest))
        } else {
            let after = spoken.bursts.checked_sub(1).and_then(|repeat| self.pace.repeats.get(repeat));
            after.map_or(Place::Through, |after| Place::Waiting(spoken.began + *after))
        };
        self.put(part, place);
    }
}

/// What the kernel did not take.
#[derive(Debug, thiserror::Error)]
#[error(
    "{frames} announcements could not leave through {interface}: {error}; look at `ip link show {interface}`, and at \
     rules of nftables on its way out"
)]
pub struct Failure {
    /// The interface's name.
    pub interface: Arc<str>,
    /// How many frames in this run.
    pub frames: u64,
    /// Why the last of them did not leave.
    pub error: io::Error,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Sent {
    /// Frames that left.
    pub frames: u64,
    /// What did not leave, an interface each.
    pub failures: Vec<Failure>,
}

/// Announces the addresses of groups.
#[derive(Debug)]
pub struct Announcer {
    queue: Queue,
    /// One an interface.
    sockets: BTreeMap<u32, OwnedFd>,
    /// So often was the frame whose turn it is offered to a full socket.
    offers: u32,
}

impl Announcer {
    /// One that has nothing to say yet.
    pub fn new(pace: Pace) -> Self {
        Self { queue: Queue::new(pace), sockets: BTreeMap::new(), offers: 0 }
    }

    /// Makes ready for announcements through this interface: when one is due, there is no time for it. What fails is said
    /// when it matters.
    pub fn prepare(&mut self, interface: &Interface) {
        if let Ok(socket) = socket(interface.index) {
            self.sockets.insert(interface.index, socket);
        }
    }

    /// Announces these addresses from now on, instead of what was queued for the group. `run` sends.
    pub fn announce(&mut self, group: GroupId, addresses: &[(Interface, IpAddr)], now: Span) {
        self.queue.announce(group, shared(addresses), now);
    }

    /// Announces these addresses from now on, beside what was queued for the group.
    pub fn add(&mut self, group: GroupId, addresses: &[(Interface, IpAddr)], now: Span) {
        self.queue.add(group, shared(addresses), now);
    }

    /// A rival was heard, or the keeper meets its peer again: all of it once more from now on, but not sooner than the
    /// pace's rest. A group that was never announced, or was cancelled, stays silent.
    pub fn again(&mut self, group: GroupId, now: Span) {
        self.queue.again(group, now);
    }

    /// The group's lease has ended: nothing of it leaves any more.
    pub fn cancel(&mut self, group: GroupId) {
        self.queue.cancel(group);
    }

    /// When `run` has something to do.
    pub fn next_due(&self) -> Option<Span> {
        self.queue.next_due()
    }

    /// Sends what is due, as far as the pace allows.
    pub fn run(&mut self, now: Span) -> Sent {
        let mut sent = Sent::default();
        while let Some(shot) = self.queue.peek(now) {
            match self.send(&shot) {
                Ok(()) => sent.frames += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.offers < OFFERS => {
                    self.offers += 1;
                    self.queue.pause();
                    continue;
                }
                Err(error) => failed(&mut sent.failures, &shot.interface.name, error),
            }
            self.offers = 0;
            self.queue.advance();
        }
        sent
    }

    fn send(&mut self, shot: &Shot) -> io::Result<()> {
        let frame = shot.frame();
        let index = shot.interface.index;
        if let Some(socket) = self.sockets.get(&index) {
            match write(socket, &frame) {
                // Full for now; or refused on its way out, as by a lease that has ended. The socket is good.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS)) => {
                    return Err(error);
                }
                // An interface that was away leaves its error with the socket, once: a new one shows how things are.
                Err(_) => drop(self.sockets.remove(&index)),
                Ok(()) => return Ok(()),
            }
        }
        let socket = socket(index)?;
        write(&socket, &frame)?;
        self.sockets.insert(index, socket);
        Ok(())
    }
}

/// Of no protocol: it sends and hears nothing.
fn socket(index: u32) -> io::Result<OwnedFd> {
    let socket = sys::packet_socket(index, 0)?;
    // Room for a few milliseconds of frames; refused only where limits are tight.
    let _ = setsockopt(&socket, sockopt::SndBuf, &(1 << 20));
    Ok(socket)
}

fn shared(addresses: &[(Interface, IpAddr)]) -> Vec<(Arc<Interface>, IpAddr)> {
    let mut interfaces: BTreeMap<u32, Arc<Interface>> = BTreeMap::new();
    let shared = addresses.iter().map(|(interface, address)| {
        let shared = interfaces.entry(interface.index).or_insert_with(|| Arc::new(interface.clone()));
        (Arc::clone(shared), *address)
    });
    shared.collect()
}

fn write(socket: &OwnedFd, frame: &[u8]) -> io::Result<()> {
    Ok(nix::unistd::write(socket, frame).map(drop)?)
}

fn failed(failures: &mut Vec<Failure>, interface: &Arc<str>, error: io::Error) {
    match failures.iter_mut().find(|failure| failure.interface == *interface) {
        Some(failure) => (failure.frames, failure.error) = (failure.frames + 1, error),
        None => failures.push(Failure { interface: Arc::clone(interface), frames: 1, error }),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::super::frame::Mac;
    use super::*;

    const A: GroupId = GroupId(1);
    const B: GroupId = GroupId(2);

    fn interface() -> Arc<Interface> {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        Arc::new(Interface { index: 2, name: "eth0".into(), mac, link_local: None, forwards: false })
    }

    fn addresses(third: u8, count: u16) -> Vec<(Arc<Interface>, IpAddr)> {
        let interface = interface();
        let address =
            |at: u16| IpAddr::V4(Ipv4Addr::new(10, third, at.to_be_bytes()[0], at.to_be_bytes()[1]));
        (0..count).map(|at| (Arc::clone(&interface), address(at))).collect()
    }

    /// Everything that leaves up to a time, by a caller who comes exactly when something is due.
    fn play(queue: &mut Queue, from: Span, until: Span) -> Vec<(Span, Shot)> {
        let (mut sent, mut now) = (Vec::new(), from);
        loop {
            while let Some(shot) = queue.peek(now) {
                sent.push((now, shot));
                queue.advance();
            }
            match queue.next_due() {
                Some(due) if due <= until => {
                    assert!(due > now, "it asks to be called again at {due}, and that is over at {now}");
                    now = due;
                }
                Some(_) | None => return sent,
            }
        }
    }

    fn once(repeats: &[Span]) -> Pace {
        Pace { repeats: repeats.to_vec(), ..Pace::default() }
    }

    #[test]
    fn five_hundred_addresses_are_announced_once_in_three_milliseconds_and_twice_in_five() {
        let mut queue = Queue::new(Pace::default());
        let start = Span::seconds(7);
        queue.announce(A, addresses(0, 500), start);
        let sent = play(&mut queue, start, start + Span::millis(100));
        assert_eq!(sent.len(), 1_000);
        let last = |form| sent.iter().filter(|(_, shot)| shot.form == form).map(|(at, _)| *at - start).max();
        assert_eq!(last(Form::First), Some(Span::millis(2)));
        assert_eq!(last(Form::Second), Some(Span::millis(4)));
        for window in 0..5 {
            let at = start + Span::millis(window);
            assert_eq!(sent.iter().filter(|(sent, _)| *sent == at).count(), 200, "in millisecond {window}");
        }
        let first: BTreeSet<IpAddr> = sent[..500].iter().map(|(_, shot)| shot.address).collect();
        assert_eq!(first.len(), 500, "everybody once before anybody twice");
    }

    #[test]
    fn a_burst_is_repeated_when_the_pace_says_and_then_no_more() {
        let mut queue = Queue::new(Pace::default());
        queue.announce(A, addresses(0, 1), Span::ZERO);
        let sent = play(&mut queue, Span::ZERO, Span::seconds(3_600));
        let at: Vec<u64> = sent.iter().map(|(at, _)| at.as_micros() / 1_000).collect();
        assert_eq!(at, [0, 0, 200, 200, 1_000, 1_000, 5_000, 5_000]);
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn nothing_of_a_cancelled_group_leaves() {
        let mut queue = Queue::new(Pace::default());
        queue.announce(A, addresses(0, 500), Span::ZERO);
        queue.announce(B, addresses(1, 1), Span::ZERO);
        for _ in 0..10 {
            queue.peek(Span::ZERO).unwrap();
            queue.advance();
        }
        queue.cancel(A);
        queue.again(A, Span::ZERO);
        let sent = play(&mut queue, Span::ZERO, Span::seconds(60));
        assert_eq!(sent.len(), 8, "the other group goes on");
        assert!(sent.iter().all(|(_, shot)| shot.address == addresses(1, 1)[0].1));
    }

    #[test]
    fn a_cancelled_repeat_does_not_leave_either() {
        let mut queue = Queue::new(Pace::default());
        queue.announce(A, addresses(0, 1), Span::ZERO);
        assert_eq!(play(&mut queue, Span::ZERO, Span::millis(100)).len(), 2);
        queue.cancel(A);
        assert_eq!(queue.next_due(), None);
        assert_eq!(queue.peek(Span::seconds(10)), None);
    }

    #[test]
    fn a_newer_announcement_takes_the_place_of_the_older_one() {
        let mut queue = Queue::new(once(&[Span::millis(200)]));
        queue.announce(A, addresses(0, 3), Span::ZERO);
        queue.peek(Span::ZERO).unwrap();
        queue.advance();
        queue.announce(A, addresses(1, 1), Span::millis(50));
        let sent = play(&mut queue, Span::millis(50), Span::seconds(60));
        assert_eq!(
            sent.iter().map(|(at, _)| at.as_micros()).collect::<Vec<_>>(),
            [50_000, 50_000, 250_000, 250_000]
        );
        assert!(sent.iter().all(|(_, shot)| shot.address == addresses(1, 1)[0].1));
    }

    #[test]
    fn what_is_added_takes_nothing_back_and_goes_with_its_group() {
        let mut queue = Queue::new(once(&[Span::millis(200)]));
        queue.announce(A, addresses(0, 1), Span::ZERO);
        assert_eq!(play(&mut queue, Span::ZERO, Span::millis(50)).len(), 2);
        queue.add(A, addresses(1, 1), Span::millis(50));
        let sent = play(&mut queue, Span::millis(50), Span::millis(240));
        let at: Vec<u64> = sent.iter().map(|(at, _)| at.as_micros() / 1_000).collect();
        assert_eq!(at, [50, 50, 200, 200], "the first is repeated");
        queue.again(A, Span::millis(240));
        assert_eq!(
            play(&mut queue, Span::millis(240), Span::millis(245)).len(),
            4,
            "a rival is answered for both"
        );
        queue.cancel(A);
        assert_eq!(queue.next_due(), None);
        assert_eq!(queue.peek(Span::seconds(10)), None);
    }

    #[test]
    fn what_is_new_goes_before_what_is_repeated() {
        let mut queue = Queue::new(Pace { frames_per_ms: 1, ..once(&[Span::millis(50)]) });
        queue.announce(A, addresses(0, 2), Span::ZERO);
        play(&mut queue, Span::ZERO, Span::millis(40));
        queue.peek(Span::millis(50)).unwrap();
        queue.advance();
        queue.announce(B, addresses(1, 1), Span::millis(50));
        let order: Vec<u8> = play(&mut queue, Span::millis(50), Span::millis(60))
            .iter()
            .map(|(_, shot)| match shot.address {
                IpAddr::V4(address) => address.octets()[1],
                IpAddr::V6(_) => 9,
            })
            .collect();
        assert_eq!(order, [1, 1, 0, 0, 0], "the other's first burst goes in between");
    }

    #[test]
    fn an_address_of_ipv6_has_one_form() {
        let mut queue = Queue::new(once(&[]));
        let mut both = addresses(0, 1);
        both.insert(0, (interface(), IpAddr::V6(Ipv6Addr::LOCALHOST)));
        queue.announce(A, both, Span::ZERO);
        let sent = play(&mut queue, Span::ZERO, Span::seconds(1));
        let kinds: Vec<(usize, u8)> =
            sent.iter().map(|(_, shot)| (shot.frame().len(), shot.frame()[21])).collect();
        assert_eq!(kinds, [(86, 255), (42, 1), (42, 2)]);
    }

    #[test]
    fn a_rival_is_answered_at_once_but_not_as_fast_as_it_speaks() {
        let mut queue = Queue::new(once(&[Span::millis(200)]));
        queue.again(A, Span::ZERO);
        assert_eq!(queue.next_due(), None, "a group that was never announced stays silent");
        queue.announce(A, addresses(0, 1), Span::ZERO);
        let mut sent = play(&mut queue, Span::ZERO, Span::seconds(10));
        assert_eq!(sent.len(), 4);
        for heard in 0..1_000 {
            let now = Span::seconds(20) + Span::millis(heard);
            queue.again(A, now);
            sent.extend(play(&mut queue, now, now));
        }
        let at = |(at, _): &(Span, Shot)| (*at - Span::seconds(20)).as_micros() / 1_000;
        let answers: Vec<u64> = sent[4..].iter().step_by(2).map(at).collect();
        assert_eq!(answers, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
    }

    #[test]
    fn a_rival_heard_in_the_middle_of_a_burst_does_not_hold_up_the_rest_of_it() {
        let mut queue = Queue::new(Pace { frames_per_ms: 1, ..once(&[]) });
        queue.announce(A, addresses(0, 2), Span::ZERO);
        queue.peek(Span::ZERO).unwrap();
        queue.advance();
        queue.again(A, Span::ZERO);
        let sent = play(&mut queue, Span::ZERO, Span::seconds(10));
        let at: Vec<u64> = sent.iter().map(|(at, _)| at.as_micros() / 1_000).collect();
        assert_eq!(at, [1, 2, 3, 100, 101, 102, 103]);
    }

    #[test]
    fn a_pause_lasts_a_millisecond_and_loses_nothing() {
        let mut queue = Queue::new(once(&[]));
        queue.announce(A, addresses(0, 1), Span::seconds(1));
        let shot = queue.peek(Span::seconds(1)).unwrap();
        queue.pause();
        assert_eq!(queue.peek(Span::seconds(1)), None);
        let due = queue.next_due().unwrap();
        assert_eq!(due, Span::seconds(1) + Span::millis(1));
        assert_eq!(queue.peek(due), Some(shot));
    }

    #[test]
    fn an_interface_that_is_not_there_is_said_and_holds_nobody_up() {
        let gone = Interface { index: 0x7fff_fff0, name: "gone0".into(), ..(*interface()).clone() };
        let mut announcer = Announcer::new(once(&[]));
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        announcer.announce(A, &[(gone.clone(), address), (gone, address)], Span::ZERO);
        let sent = announcer.run(Span::ZERO);
        assert_eq!((sent.frames, sent.failures.len(), announcer.next_due()), (0, 1, None));
        let said = sent.failures[0].to_string();
        assert!(said.starts_with("4 announcements could not leave through gone0: "), "{said}");
    }
}
