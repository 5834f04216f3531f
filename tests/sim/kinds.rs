//! What each fault is counted as.

use crate::faults::{Op, Way};
use crate::node::MemoryFate;
use crate::servers;

impl Op {
    /// What it is counted as; `None` for an ending.
    pub(crate) fn kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::Cut { flap: 1.., .. } => "flapping paths",
            Self::Cut { way: Way::Both, link: None, .. } => "nodes cut off",
            Self::Cut { way: Way::Both, .. } => "links cut",
            Self::Cut { .. } => "nodes cut off one way",
            Self::Split { way: Way::Both, .. } => "partitions",
            Self::Split { .. } => "one-way partitions",
            Self::CutPair { .. } => "paths between two nodes cut",
            Self::Noise { extra: 1.., .. } => "delay bursts",
            Self::Noise { .. } => "loss and duplication",
            Self::Cable { cut: false, .. } => "cables pulled",
            Self::Cable { .. } => "cables cut behind the switch",
            Self::LooseCable { keeps: true, .. } => "loose cables, and pings kept back",
            Self::LooseCable { .. } => "loose cables",
            Self::SwappedCables { .. } => "swapped cables",
            Self::TargetDown { .. } => "ping targets down",
            Self::ServiceSplit { .. } => "service networks split",
            Self::EvidenceLoss { .. } => "probes lost",
            Self::KillAt { .. } => "crashes at the worst moment",
            Self::Kill { mid: 1.., .. } => "crashes between two effects",
            Self::Kill { fate: MemoryFate::Kept, .. } => "daemon restarts with memory",
            Self::Kill { fate: MemoryFate::Lost, .. } => "daemon restarts without memory",
            Self::Kill { .. } => "daemon restarts with damaged memory",
            Self::Off { after: 0, .. } => "machines off for long",
            Self::Off { .. } => "reboots",
            Self::Hang { .. } => "hung processes",
            Self::Pause { jumps: true, .. } => "suspended machines",
            Self::Pause { .. } => "paused machines",
            Self::SlowCommits { .. } => "slow kernels",
            Self::BreakWatchdog { .. } => "watchdogs that break",
            Self::LateTimers { .. } => "late timers",
            Self::Agent { .. } => "failing and slow agents",
            Self::Dies { .. } => "resources that die",
            Self::Command { .. } => "commands",
            Self::Leave { .. } => "daemons that leave",
            Self::Configure { .. } => "configurations loaded",
            Self::Flush { .. } => "flushed tables",
            Self::Replay { .. } => "replays",
            Self::PowerOn { .. } => "new machines",
            Self::Unhealthy { .. } => "failed health checks",
            Self::Servers { percent: 0, .. } => return None,
            Self::Servers { of: None, .. } => servers::LOST_TO_ALL,
            Self::Servers { .. } => "servers that one node loses",
            Self::EndRule(_)
            | Self::Quiet
            | Self::Plug { .. }
            | Self::TargetUp
            | Self::ServiceWhole
            | Self::Continue { .. }
            | Self::Resume { .. }
            | Self::Fast { .. }
            | Self::MendWatchdog { .. }
            | Self::Punctual { .. }
            | Self::Healthy { .. }
            | Self::ReplayOne { .. } => return None,
        })
    }
}
