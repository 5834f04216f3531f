//! The daemon: a thin shell around the core.
//!
//! | file | what it does |
//! | --- | --- |
//! | `beats.rs` | the real-time thread that feeds the core and carries out its effects |
//! | `addresses.rs`, `vip.rs` | the real-time thread with its hands in the kernel: leases, addresses, announcements |
//! | `renewals.rs` | when the kernel has to know that a lease was renewed |
//! | `probes.rs` | evidence: asks the network, and says who answered |
//! | `paths.rs` | whether a service network is dead on this side |
//! | `desk.rs`, `systemd.rs` | the ordinary thread: log, disk, control socket, signals |
//! | `agents.rs`, `director.rs` | the ways to the agents' supervisor, and to the director |
//! | `notify.rs` | the program of `[notify]` |
//! | `tracks.rs` | what is tracked beside the network, and the groups that hang on it |
//! | `machine.rs` | what of this machine does not go with the configuration |
//! | `reexec.rs` | a new version takes this one's place |
//! | `files.rs` | what is kept in files, and the keys |
//! | `mailbox.rs` | how the threads tell each other something without waiting |
//! | `clock.rs` | the only clock |
//!
//! It decides nothing about groups: that is the core's business. It must never let anything slow stand beside a beat.

mod addresses;
mod agents;
mod beats;
mod belief;
mod clock;
mod desk;
mod director;
mod files;
mod gaps;
pub mod machine;
mod mailbox;
mod memory;
mod notify;
mod packets;
mod paths;
mod probes;
mod put_back;
mod reexec;
mod renewals;
mod systemd;
mod tracks;
mod vip;
mod watchdog;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use ring::rand::{SecureRandom, SystemRandom};
use tracing::{info, warn};

use crate::beat::Phase;
use crate::cluster::{Core, Effects, Memory, Start};
use crate::config::{self, Config, Enforcement, LoadError};
use crate::control::words::Words;
use crate::control::{BindError, LeaseBy, Socket};
use crate::net::announce::{Announcer, Pace};
use crate::net::answer::Answerer;
use crate::net::lease::{KernelLease, LeaseError};
use crate::net::probe::Prober;
use crate::net::route::{Route, RouteError, Watch};
use crate::net::sys;
use crate::net::watch::LeaseWatch;
use crate::time::{Moment, Span};
use crate::types::{GroupId, NodeId};
use crate::wire::{KeyRing, Life, Opener, Sealer};

use addresses::{Addresses, Order};
use beats::{Beats, Told};
use desk::Said;
use files::{FileError, Places};
use mailbox::Mailbox;
use memory::MemoryFiles;
use notify::Notifier;
use tracks::{News, Tracks};
use vip::Vips;
use watchdog::{Feeder, Meal};

/// Above ordinary work and below what keeps the machine itself alive.
const BEATS_PRIORITY: i32 = 50;
const ADDRESSES_PRIORITY: i32 = 49;
const WATCHDOG_PRIORITY: i32 = 48;

/// The real-time threads use little of it, and it is locked in memory.
const STACK: usize = 256 * 1024;

/// The name of our tables in the kernel.
const TABLE: &str = "systole";

/// How a daemon is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// A `systole.toml`, or a Heartbeat directory.
    pub config: PathBuf,
    /// Which of its nodes this is; `None`: the machine's name.
    pub node: Option<String>,
    /// What survives a reboot.
    pub state_dir: PathBuf,
    /// What survives the daemon.
    pub run_dir: PathBuf,
    /// Agents are not run: what they would do is taken for done.
    pub play_agents: bool,
}

/// Why it does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The operator's text.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The configuration does not name this machine.
    #[error(
        "this machine is called {me}, and the configuration names {known}: say which of them it is with --node NAME"
    )]
    NoSuchNode {
        /// What we took for the name.
        me: String,
        /// Those of the configuration.
        known: String,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The control socket.
    #[error(transparent)]
    Socket(#[from] BindError),
    /// The network.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The kernel's rules.
    #[error(
        "{0}. Where nftables cannot be had, write [lease] enforce = \"daemon\": then nobody enforces a lease while the daemon hangs"
    )]
    Lease(#[from] LeaseError),
    /// The machine.
    #[error("the daemon cannot run: {0}")]
    System(#[from] io::Error),
}

/// Runs until everything is handed over.
pub fn run(options: &Options) -> Result<(), RunError> {
    let known = Known::read(options)?;
    // It is also what keeps a second daemon away.
    let socket = Socket::bind(&options.run_dir)?;
    let mut memory_files = known.places.memory(&known.boot);
    let memory = memory_files.read();
    let stored = known.places.stored()?;
    // A life that was stored and never spoke costs nothing.
    let incarnation = known.places.begin_life(clock::wall_seconds())?;
    let kernel = Kernel::open(&known.config, memory.as_ref())?;
    let bad = memory.is_some().then(|| known.places.bad(&known.boot));
    let all_names = Arc::new(with_groups_of(&known.config, memory.as_ref()));
    abort_on_panic();
    let start = Start {
        config: Arc::clone(&known.config),
        node: known.node,
        incarnation,
        seed: random()?,
        now: kernel.read_at,
        stored,
        memory,
        standing: kernel.standing.clone(),
    };
    let boxes = Boxes::new()?;
    let names = Words::new(&known.config);
    let notifier = Notifier::new(&known.config, names.node(known.node));
    let mut tracks = Tracks::new(&known.config, names.node(known.node), bad.as_ref());
    // Before the first beat is read: nothing may be claimed that this node is unfit for.
    tracks.settle(&known.config).into_iter().filter_map(News::told).for_each(|told| boxes.beats.post(told));
    let watchdog = known.watchdog(options, &boxes)?;
    let (to_watchdog, feeder) = watchdog.map_or((None, None), |(inbox, thread)| (Some(inbox), Some(thread)));
    let beats = known.beat(start, memory_files, kernel.lease_by(), &boxes, to_watchdog)?;
    let threads = [Some(beats), Some(known.touch(kernel, &boxes)?), feeder];
    if let Err(error) = sys::lock_memory() {
        warn!("memory is not locked ({error}): under memory pressure beats may be late");
    }
    let places = known.places.clone();
    let desk = desk::OrdinaryThread {
        notifier,
        tracks,
        config_path: options.config.clone(),
        node: known.node,
        names: all_names,
        directs: desk::directs(&known.config, known.node),
        config: known.config,
        places: known.places,
        director: None,
        supervisor: agents::Supervisor { run_dir: options.run_dir.clone(), plays: options.play_agents },
        inbox: boxes.desk,
        to_beats: boxes.beats,
        alarms: BTreeMap::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(desk.run(socket))?;
    for thread in threads.into_iter().flatten() {
        thread.join().map_err(|_| io::Error::other("a thread of ours panicked"))?;
    }
    places.forget();
    info!("stopped");
    Ok(())
}

/// The threads' boxes.
struct Boxes {
    beats: Mailbox<Told>,
    addresses: Mailbox<Order>,
    desk: Mailbox<Said>,
}

impl Boxes {
    fn new() -> io::Result<Self> {
        Ok(Self { beats: Mailbox::new()?, addresses: Mailbox::new()?, desk: Mailbox::new()? })
    }
}

/// What the operator wrote, read and found usable.
struct Known {
    config: Arc<Config>,
    node: NodeId,
    keys: KeyRing,
    places: Places,
    boot: String,
}

impl Known {
    fn read(options: &Options) -> Result<Self, RunError> {
        let loaded = config::load(&options.config)?;
        for line in loaded.warnings.render(false).lines() {
            warn!("{line}");
        }
        let config = Arc::new(loaded.config);
        let node = which_node(&config, options.node.as_deref())?;
        for line in machine::remarks(&config, Some(node), Path::new("/")) {
            warn!("{line}");
        }
        let (keys, warnings) = files::read_keys(&config.keys)?;
        for line in warnings.render(false).lines() {
            warn!("{line}");
        }
        let places = Places::make(&options.state_dir, &options.run_dir)?;
        Ok(Self { config, node, keys, places, boot: files::boot_id()? })
    }

    /// Starts the thread that beats.
    fn beat(
        &self,
        start: Start,
        memory: MemoryFiles,
        lease_by: LeaseBy,
        boxes: &Boxes,
        to_watchdog: Option<Mailbox<Meal>>,
    ) -> io::Result<JoinHandle<()>> {
        let Self { config, node, keys, .. } = self;
        let life = Life { incarnation: start.incarnation, random: random()? };
        let mut effects = Effects::new();
        let core = Core::start(start, &mut effects);
        let beats = Beats::new(beats::Beginning {
            core,
            node: *node,
            config: Arc::clone(config),
            sealer: Sealer::new(keys, &config.cluster, *node, life),
            opener: Opener::new(keys, &config.cluster, *node, life, config.nodes.keys().copied()),
            memory,
            inbox: boxes.beats.clone(),
            to_addresses: boxes.addresses.clone(),
            to_desk: boxes.desk.clone(),
            to_watchdog,
            lease_by,
            token: random()?,
        })?;
        // Without it nothing of this daemon is worth anything: the kernel ends the leases, and systemd starts it anew.
        let body = move || beats.run(effects).expect("a socket and a timer can be waited for");
        real_time("beats", BEATS_PRIORITY, body)
    }

    /// Starts the thread that feeds the watchdog, where there is one, and the way to it. An arbiter holds nothing.
    fn watchdog(
        &self,
        options: &Options,
        boxes: &Boxes,
    ) -> io::Result<Option<(Mailbox<Meal>, JoinHandle<()>)>> {
        let owns_nothing = self.config.nodes.get(&self.node).is_some_and(|node| node.arbiter);
        let Some(watchdog) = self.config.watchdog.as_ref().filter(|_| !owns_nothing) else { return Ok(None) };
        let inbox = Mailbox::new()?;
        let feeder = Feeder {
            device: watchdog.device.clone(),
            timeout: watchdog.timeout,
            plays: options.play_agents,
            inbox: inbox.clone(),
            to_beats: boxes.beats.clone(),
            to_desk: boxes.desk.clone(),
        };
        Ok(Some((inbox, real_time("watchdog", WATCHDOG_PRIORITY, move || feeder.run())?)))
    }

    /// Starts the thread that has its hands in the kernel.
    fn touch(&self, kernel: Kernel, boxes: &Boxes) -> io::Result<JoinHandle<()>> {
        let Kernel { lease, standing, route, watch, vips, .. } = kernel;
        let addresses = Addresses::new(
            addresses::Beginning {
                config: Arc::clone(&self.config),
                lease,
                route,
                watch,
                announcer: Announcer::new(Pace::default()),
                ears: Prober::new(random()?)?,
                answerer: Answerer::new()?,
                inbox: boxes.addresses.clone(),
                to_beats: boxes.beats.clone(),
                to_desk: boxes.desk.clone(),
                standing,
            },
            vips,
        );
        real_time("addresses", ADDRESSES_PRIORITY, move || addresses.run())
    }
}

/// What stands in the kernel, and the ways to it.
struct Kernel {
    lease: Option<(KernelLease, LeaseWatch)>,
    /// Before what stood was read, so that no lease is taken for longer than it is.
    read_at: Moment,
    standing: BTreeMap<GroupId, Span>,
    route: Route,
    watch: Watch,
    vips: Vips,
}

impl Kernel {
    /// Opens everything, and puts the rules in force. Without memory whatever stood is gone when this returns.
    fn open(config: &Config, memory: Option<&Memory>) -> Result<Self, RunError> {
        let (route, watch) = (Route::open()?, Watch::open()?);
        let mut vips = Vips::new(Route::open()?);
        let (mut lease, mut standing, mut read_at) = (None, BTreeMap::new(), clock::now());
        if config.lease == Enforcement::Kernel {
            let mut kernel = KernelLease::open(TABLE)?;
            if memory.is_none() {
                kernel.drop_all()?;
            }
            let interfaces = named_interfaces(config, &mut vips);
            let installed = kernel.install(&addresses::guarded(config), &interfaces)?;
            for (interface, error) in installed.unfiltered {
                warn!("announcements through {interface} are not filtered in the kernel: {error}");
            }
            read_at = clock::now();
            standing = kernel.standing()?;
            let watch = LeaseWatch::open(&kernel)?;
            lease = Some((kernel, watch));
        }
        let held = memory.iter().flat_map(|memory| &memory.claims);
        for (group, claim) in
            held.filter(|(group, claim)| claim.phase == Phase::Held && standing.contains_key(group))
        {
            for (place, resource) in claim.group.resources.iter().enumerate() {
                let place = (*group, u16::try_from(place).unwrap_or(u16::MAX));
                if let Err(error) = vips.adopt(place, resource) {
                    warn!("{}: {error}", claim.group.name);
                }
            }
        }
        Ok(Self { lease, read_at, standing, route, watch, vips })
    }

    fn lease_by(&self) -> LeaseBy {
        match &self.lease {
            Some(_) => LeaseBy::Kernel,
            None => LeaseBy::Daemon("the configuration says [lease] enforce = \"daemon\"".to_owned()),
        }
    }
}

/// The interfaces of the service addresses, as far as they can be found now.
fn named_interfaces(config: &Config, vips: &mut Vips) -> Vec<String> {
    let resources = config.groups.values().flat_map(|group| &group.resources);
    let placed = resources.filter_map(|resource| vips.places_of(resource).ok()).flatten();
    let mut names: Vec<String> = placed.map(|placed| placed.interface.name.to_string()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The node of the configuration that this machine is: the one that was asked for, or of the machine's name.
pub fn which_node(config: &Config, asked: Option<&str>) -> Result<NodeId, RunError> {
    let me = match asked {
        Some(name) => name.to_owned(),
        None => {
            let name = nix::unistd::gethostname().map_err(io::Error::from)?;
            name.to_string_lossy().to_lowercase()
        }
    };
    let short = me.split('.').next().unwrap_or(&me);
    let found =
        config.nodes.iter().find(|(_, node)| node.name == me || asked.is_none() && node.name == short);
    let known = || {
        let mut names: Vec<&str> = config.nodes.values().map(|node| node.name.as_str()).collect();
        names.sort_unstable();
        names.join(", ")
    };
    found.map(|(id, _)| *id).ok_or_else(|| RunError::NoSuchNode { me: me.clone(), known: known() })
}

/// What a new configuration keeps, adds, changes and removes: a line each.
fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, group) in &old.groups {
        lines.push(match new.groups.get(id) {
            Some(same) if same == group => format!("group {} is kept", group.name),
            Some(_) => format!("group {} is changed", group.name),
            None => format!("group {} is removed", group.name),
        });
    }
    let added = new.groups.iter().filter(|(id, _)| !old.groups.contains_key(id));
    lines.extend(added.map(|(_, group)| format!("group {} is added", group.name)));
    for (what, same) in [
        ("the nodes are", old.nodes == new.nodes),
        ("the links are", old.links == new.links),
        ("the timing is", old.timing == new.timing),
        ("what is told of events is", old.notify == new.notify),
        ("what is tracked is", old.tracks == new.tracks),
        ("what is kept running is", old.respawns == new.respawns),
        ("the services are", old.services == new.services),
    ] {
        if !same {
            lines.push(format!("{what} changed"));
        }
    }
    lines
}

fn real_time(
    name: &'static str,
    priority: i32,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(move || {
        if let Err(error) = sys::real_time(priority) {
            warn!("the thread of {name} is not real-time ({error}): on a busy machine it may be late");
        }
        body();
    })
}

/// Lets go of packet sockets where nobody waits for it: the kernel closes each of them only when every processor has let
/// go of it, which takes milliseconds.
fn drop_aside(sockets: impl Send + 'static) {
    let thread = std::thread::Builder::new().name("close".to_owned()).stack_size(STACK);
    // Where no thread can be had, they are closed here.
    let _ = thread.spawn(move || drop(sockets));
}

/// Groups that an earlier daemon ran have names, too, until they are stopped.
fn with_groups_of(config: &Config, memory: Option<&Memory>) -> Config {
    let mut names = config.clone();
    for (id, claim) in memory.iter().flat_map(|memory| &memory.claims) {
        names.groups.entry(*id).or_insert_with(|| config::Group::clone(&claim.group));
    }
    names
}

/// A thread that is gone must take the others with it: the kernel ends the leases, and systemd starts the daemon anew.
pub fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the kernel gives no random bytes"))?;
    Ok(u64::from_ne_bytes(bytes))
}
