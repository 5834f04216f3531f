//! Every limit on a configuration, with its reason. A file beyond one of them is refused when it is read, so that the
//! rest of the house can size its tables by these figures.

use crate::time::Span;

/// Bytes of one file: a thousand groups, written at length, are a tenth of it. A wrong path (a log, a device) ends here.
pub const FILE_BYTES: usize = 4 * 1024 * 1024;

/// Nodes and arbiters. A beat says something of each peer, and each of them sends it to each: a thousand is as far as a
/// network carries that, and far beyond a pair.
pub const NODES: usize = 1_000;

/// Groups, each instance of a cloned group counted. A beat carries a claim or a grant for each.
pub const GROUPS: usize = 1_000;

/// Links: Heartbeat's limit on media, so that every `ha.cf` fits.
pub const LINKS: usize = 64;

/// Resources of a group: they start one after the other, and a takeover waits for all.
pub const RESOURCES: usize = 256;

/// Service addresses of the whole cluster: each is an element in the kernel's sets and is announced after a takeover.
pub const ADDRESSES: usize = 4_096;

/// Ping targets in all: each is asked several times a second while evidence is gathered.
pub const PING_TARGETS: usize = 64;

/// Fences.
pub const FENCES: usize = 64;

/// Services that the director watches over.
pub const SERVICES: usize = 4_096;

/// Servers of all services together: each has checks of its own, and each check a socket while it is under way.
pub const SERVERS: usize = 32_768;

/// Checks of one server.
pub const CHECKS: usize = 16;

/// Between two checks, at the least: more often, and the checks would be the load.
pub const CHECK_EVERY_LEAST: Span = Span::millis(100);

/// The weight of a server: what IPVS' tools take.
pub const SERVER_WEIGHT: u32 = 65_535;

/// The weights of all servers of a service together: what fits into the arithmetic of every balancer.
pub const WEIGHT_OF_ALL: u32 = 1 << 30;

/// What a check sends, and what it looks for, in bytes: a page of text.
pub const CHECK_BYTES: usize = 4_096;

/// What is tracked: each is looked at every second or so.
pub const TRACKS: usize = 64;

/// Programs that are kept running.
pub const RESPAWNS: usize = 64;

/// Between two looks at what is tracked, at the least: programs are started for it.
pub const TRACK_EVERY_LEAST: Span = Span::millis(100);

/// Looks in a row that must agree: more would be hours.
pub const IN_A_ROW: u32 = 100;

/// The weight of what is tracked: as if so many ping targets were reached.
pub const WEIGHT: u32 = 100;

/// Length of a name, in bytes: Linux' limit on host names.
pub const NAME_BYTES: usize = 64;

/// Length of an interface's name, in bytes: the kernel's IFNAMSIZ less its final zero.
pub const INTERFACE_BYTES: usize = 15;

/// Length of an address label, in bytes: the kernel stores it where it stores an interface's name.
pub const LABEL_BYTES: usize = 15;

/// Parameters or positional arguments of a resource: they are handed to its agent as environment or command line.
pub const PARAMS: usize = 64;

/// Length of one parameter's value, in bytes: half of what the kernel takes in one string, and room for a `vip` with
/// thousands of addresses.
pub const PARAM_BYTES: usize = 64 * 1024;

/// Keys in a ring: Heartbeat's limit on `authkeys`.
pub const KEYS: usize = 16;

/// The fewest bytes of a key of ours: 128 bits cannot be guessed.
pub const KEY_BYTES_LEAST: usize = 16;

/// The most bytes of a key: more than one block of the hash adds nothing.
pub const KEY_BYTES_MOST: usize = 64;

/// A passphrase of Heartbeat's `authkeys` that is shorter is used, with a warning: it can be guessed off the wire.
pub const PASSPHRASE_BYTES: usize = 16;

/// Between beats, at the least: a shorter time is below what a timer and a thread can keep.
pub const KEEPALIVE_LEAST: Span = Span::millis(1);

/// The longest time that can be written: a day. Whatever is longer is a slip of the unit.
pub const SPAN_MOST: Span = Span::seconds(24 * 60 * 60);

/// Restarts in place before a group moves: more would be for ever.
pub const RESTARTS: u32 = 1_000;

/// Mistakes reported in one run: who has more has given us the wrong file.
pub const MISTAKES: usize = 200;

/// The shortest deadtime. It is the length of a lease, and a lease ends two kernel ticks early (10 ms each at worst):
/// below this nothing of it would be left.
pub const DEADTIME_LEAST: Span = Span::millis(25);
