//! The orders that a lab takes, a line each. Pure: a line becomes an order, or a sentence that says what is wrong with it.

use std::fmt;
use std::net::IpAddr;

use super::site::Site;
use crate::config::nearest;
use crate::time::Span;

/// Something that shall happen in a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Something happens to a cable.
    Cable {
        /// Of this machine.
        machine: String,
        /// To this network.
        network: String,
        /// What.
        does: Does,
    },
    /// A node's daemon is killed.
    Kill(String),
    /// A node's daemon is started.
    Start(String),
    /// A node's daemon hangs.
    Stop(String),
    /// A node's daemon goes on.
    Continue(String),
    /// The rival claims a service address.
    Rival(IpAddr),
    /// An address is deleted from a machine, behind its daemon's back.
    Wipe {
        /// From which.
        machine: String,
        /// The address.
        address: IpAddr,
    },
    /// All processors are busy.
    Load(Span),
    /// A command is put to a node's daemon.
    Ask {
        /// Whose.
        node: String,
        /// The command, and what stands behind it.
        words: Vec<String>,
    },
    /// How the lab is.
    Status,
    /// The last that a node's daemon said.
    Log(String),
    /// Nothing happens for so long.
    Wait(Span),
    /// What can be ordered.
    Help,
    /// It is over.
    Quit,
}

/// What happens to a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// It is cut behind the switch.
    Cut,
    /// It is pulled at the machine.
    Pull,
    /// It is made whole.
    Plug,
    /// It loses so many frames of a hundred.
    Lose(u8, Way),
    /// It is so slow.
    Delay(Span, Way),
}

/// In which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Both.
    Both,
    /// From the machine.
    Out,
    /// To the machine.
    Into,
}

/// Every order: its first word, what stands behind it, and what it does.
pub const ORDERS: [(&str, &str, &str); 18] = [
    ("cut", "NODE NETWORK", "cut a cable behind the switch: silence, with carrier"),
    ("pull", "NODE NETWORK", "pull a cable at the machine: its carrier goes"),
    ("plug", "NODE NETWORK", "make a cable whole that was cut, pulled, lossy or slow"),
    ("loss", "NODE NETWORK PERCENT [in|out]", "let a cable lose frames"),
    ("delay", "NODE NETWORK MS [in|out]", "let a cable be slow"),
    ("kill", "NODE", "kill a node's daemon"),
    ("start", "NODE", "start a node's daemon"),
    ("stop", "NODE", "let a node's daemon hang (SIGSTOP)"),
    ("continue", "NODE", "let it go on"),
    ("rival", "ADDRESS", "a stranger claims a service address; `wipe rival ADDRESS` ends it"),
    ("wipe", "NODE ADDRESS", "delete an address behind the daemon's back"),
    ("load", "SECONDS", "keep all processors busy, while the orders go on"),
    ("ask", "NODE COMMAND...", "put a systole command to a node's daemon: `ask NODE why GROUP`"),
    ("status", "[NODE]", "how the lab is, or what `systole status` says on a node"),
    ("log", "NODE", "the last that a node's daemon said"),
    ("wait", "SECONDS", "read the next order so much later"),
    ("help", "", "this list"),
    ("quit", "", "end, as the end of the orders does"),
];

/// The commands that go to a daemon.
const COMMANDS: [&str; 14] = [
    "advise",
    "cleanup",
    "events",
    "fence-ack",
    "maintenance",
    "move",
    "online",
    "reexec",
    "reload",
    "standby",
    "status",
    "stop",
    "takeover",
    "why",
];

/// A wait, a load or a delay that is longer is a slip of the finger.
const LONGEST: Span = Span::seconds(24 * 60 * 60);

impl Order {
    /// Reads a line. Blank lines and what stands behind a `#` are no orders.
    pub fn read(line: &str, site: &Site) -> Result<Option<Self>, String> {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some((name, rest)) = words.split_first() else { return Ok(None) };
        let Some((name, takes, _)) = ORDERS.iter().find(|(known, ..)| known == name) else {
            return Err(unknown("order", name, ORDERS.iter().map(|(known, ..)| *known)));
        };
        let least = takes.split(' ').filter(|word| !word.is_empty() && !word.starts_with('[')).count();
        let most = if takes.ends_with("...") { usize::MAX } else { takes.split_whitespace().count() };
        if !(least..=most).contains(&rest.len()) {
            let takes = if takes.is_empty() { "nothing behind it" } else { takes };
            return Err(format!("`{name}` takes {takes}: {}", example(name, site)));
        }
        Words { site, rest }.order(name).map(Some)
    }
}

/// What stands behind an order's first word.
struct Words<'a> {
    site: &'a Site,
    rest: &'a [&'a str],
}

impl Words<'_> {
    fn order(&self, name: &str) -> Result<Order, String> {
        Ok(match name {
            "cut" => self.cable(Does::Cut)?,
            "pull" => self.cable(Does::Pull)?,
            "plug" => self.cable(Does::Plug)?,
            "loss" => self.cable(Does::Lose(self.percent()?, self.way()?))?,
            "delay" => self.cable(Does::Delay(self.milliseconds()?, self.way()?))?,
            "kill" => Order::Kill(self.node()?),
            "start" => Order::Start(self.node()?),
            "stop" => Order::Stop(self.node()?),
            "continue" => Order::Continue(self.node()?),
            "rival" => Order::Rival(self.service()?),
            "wipe" => Order::Wipe { machine: self.machine()?, address: self.address(1)? },
            "load" => Order::Load(self.seconds()?),
            "ask" => Order::Ask { node: self.node()?, words: self.command()? },
            "status" if self.rest.is_empty() => Order::Status,
            "status" => Order::Ask { node: self.node()?, words: vec!["status".to_owned()] },
            "log" => Order::Log(self.node()?),
            "wait" => Order::Wait(self.seconds()?),
            "quit" => Order::Quit,
            _ => Order::Help,
        })
    }

    fn word(&self, at: usize) -> &str {
        self.rest.get(at).copied().unwrap_or_default()
    }

    fn node(&self) -> Result<String, String> {
        pick("node", self.word(0), self.site.nodes.iter().map(String::as_str))
    }

    fn machine(&self) -> Result<String, String> {
        let machines = self.site.plan.machines.iter();
        pick("machine", self.word(0), machines.map(|machine| machine.name.as_str()))
    }

    fn cable(&self, does: Does) -> Result<Order, String> {
        let machine = self.machine()?;
        let planned = self.site.plan.machines.iter().find(|planned| planned.name == machine);
        let own: Vec<&str> =
            planned.iter().flat_map(|planned| &planned.ports).map(|port| port.network.as_str()).collect();
        let links = self.site.links.iter().filter(|(_, network)| own.contains(&network.as_str()));
        let links: Vec<(&str, &str)> =
            links.map(|(link, network)| (link.as_str(), network.as_str())).collect();
        let written = self.word(1);
        // An interface comes first: a link may have the name of another one's.
        let network = own.iter().find(|network| **network == written);
        let link = links.iter().find(|(link, _)| *link == written).map(|(_, network)| network);
        let Some(network) = network.or(link) else {
            let names = own.iter().copied().chain(links.iter().map(|(link, _)| *link));
            return Err(unknown(&format!("cable of {machine} to the network"), written, names));
        };
        Ok(Order::Cable { machine, network: (*network).to_owned(), does })
    }

    fn address(&self, at: usize) -> Result<IpAddr, String> {
        let word = self.word(at);
        word.parse().map_err(|_| format!("\"{word}\" is no address: {}", self.services()))
    }

    fn service(&self) -> Result<IpAddr, String> {
        let address = self.address(0)?;
        let is_known = self.site.services.iter().any(|service| service.address == address);
        is_known
            .then_some(address)
            .ok_or_else(|| format!("{address} is no service address: {}", self.services()))
    }

    fn services(&self) -> String {
        let all: Vec<String> = self.site.services.iter().map(|service| service.address.to_string()).collect();
        format!("the service addresses are {}", all.join(", "))
    }

    fn percent(&self) -> Result<u8, String> {
        let word = self.word(2);
        let percent = word.trim_end_matches('%').parse().ok().filter(|percent| *percent <= 100);
        percent.ok_or_else(|| format!("\"{word}\" is no percentage: write a whole number from 0 to 100"))
    }

    fn milliseconds(&self) -> Result<Span, String> {
        let word = self.word(2);
        let span = word.trim_end_matches("ms").parse().ok().map(Span::millis).filter(|span| *span <= LONGEST);
        span.ok_or_else(|| format!("\"{word}\" is no number of milliseconds: write one such as 50"))
    }

    fn seconds(&self) -> Result<Span, String> {
        let word = self.word(0);
        let (whole, part) =
            word.trim_end_matches('s').split_once('.').unwrap_or((word.trim_end_matches('s'), "0"));
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let millis = || {
            let whole = whole.parse::<u64>().ok().filter(|_| is_digits(whole))?;
            let part =
                format!("{:0<3}", part).parse::<u64>().ok().filter(|_| is_digits(part) && part.len() <= 3)?;
            whole.checked_mul(1_000)?.checked_add(part)
        };
        let span = millis().map(Span::millis).filter(|span| *span <= LONGEST);
        span.ok_or_else(|| format!("\"{word}\" is no number of seconds: write one such as 5 or 0.5"))
    }

    fn way(&self) -> Result<Way, String> {
        match self.word(3) {
            "" => Ok(Way::Both),
            "out" => Ok(Way::Out),
            "in" => Ok(Way::Into),
            word => Err(format!("\"{word}\" is no direction: write in or out, or nothing for both")),
        }
    }

    fn command(&self) -> Result<Vec<String>, String> {
        let command = self.word(1);
        if !COMMANDS.contains(&command) {
            return Err(unknown("command to a daemon", command, COMMANDS));
        }
        Ok(self.rest.iter().skip(1).map(|word| (*word).to_owned()).collect())
    }
}

fn pick<'a>(
    what: &str,
    written: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Result<String, String> {
    match known.clone().find(|name| *name == written) {
        Some(name) => Ok(name.to_owned()),
        None => Err(unknown(what, written, known)),
    }
}

fn unknown<'a>(what: &str, written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    // A link is often named as its interface is.
    known.dedup();
    let there_is = format!("there is no {what} \"{written}\"");
    match nearest(written, known.iter().copied()) {
        Some(near) => format!("{there_is}: did you mean {near}?"),
        None => format!("{there_is}: name one of {}", known.join(", ")),
    }
}

/// The order as it may be written here.
fn example(name: &str, site: &Site) -> String {
    let node = site.nodes.first().map_or("NODE", String::as_str);
    let network = site.plan.networks.first().map_or("NETWORK", String::as_str);
    let address =
        site.services.first().map_or_else(|| "ADDRESS".to_owned(), |service| service.address.to_string());
    match name {
        "cut" | "pull" | "plug" => format!("`{name} {node} {network}`"),
        "loss" => format!("`loss {node} {network} 30`"),
        "delay" => format!("`delay {node} {network} 50`"),
        "rival" => format!("`rival {address}`"),
        "wipe" => format!("`wipe {node} {address}`"),
        "load" | "wait" => format!("`{name} 5`"),
        "ask" => format!("`ask {node} status`"),
        "help" | "quit" => format!("`{name}`"),
        _ => format!("`{name} {node}`"),
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cable { machine, network, does } => match does {
                Does::Cut => write!(f, "cut {machine} {network}"),
                Does::Pull => write!(f, "pull {machine} {network}"),
                Does::Plug => write!(f, "plug {machine} {network}"),
                Does::Lose(percent, way) => write!(f, "loss {machine} {network} {percent}{way}"),
                Does::Delay(span, way) => {
                    write!(f, "delay {machine} {network} {}{way}", span.as_micros() / 1_000)
                }
            },
            Self::Kill(node) => write!(f, "kill {node}"),
            Self::Start(node) => write!(f, "start {node}"),
            Self::Stop(node) => write!(f, "stop {node}"),
            Self::Continue(node) => write!(f, "continue {node}"),
            Self::Rival(address) => write!(f, "rival {address}"),
            Self::Wipe { machine, address } => write!(f, "wipe {machine} {address}"),
            Self::Load(span) => write!(f, "load {span}"),
            Self::Ask { node, words } => write!(f, "ask {node} {}", words.join(" ")),
            Self::Status => f.write_str("status"),
            Self::Log(node) => write!(f, "log {node}"),
            Self::Wait(span) => write!(f, "wait {span}"),
            Self::Help => f.write_str("help"),
            Self::Quit => f.write_str("quit"),
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "",
            Self::Out => " out",
            Self::Into => " in",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn site() -> Site {
        let text = "haresources = \"lb0 192.168.7.20/24/eth0\"\n[cluster]\nname = \"web\"\n[node.lb0]\n[node.lb1]\n\
                    [link.lan]\ninterface = \"eth0\"\nunicast = { lb0 = \"192.168.7.1\", lb1 = \"192.168.7.2\" }\n\
                    [link.cross]\ninterface = \"eth1\"\nmulticast = \"239.0.0.43\"\n";
        let loaded = config::parse_toml("systole.toml", text).unwrap_or_else(|report| panic!("{report}"));
        Site::of(&loaded.config).unwrap()
    }

    #[test]
    fn every_order_reads_as_it_is_shown() {
        let site = site();
        for line in [
            "cut lb0 eth0",
            "pull lb1 eth1",
            "plug client eth0",
            "loss lb0 eth0 30",
            "loss lb0 eth0 30 out",
            "delay gateway eth0 50 in",
            "kill lb0",
            "start lb0",
            "stop lb1",
            "continue lb1",
            "rival 192.168.7.20",
            "wipe rival 192.168.7.20",
            "load 2s",
            "ask lb0 move web lb1",
            "status",
            "log lb0",
            "wait 5s",
            "help",
            "quit",
        ] {
            let order = Order::read(line, &site).unwrap().unwrap();
            assert_eq!(order.to_string(), line);
        }
        for (name, takes, _) in ORDERS {
            assert!(
                !takes.contains("  ") && Order::read(&example(name, &site).replace('`', ""), &site).is_ok(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_network_has_the_name_of_its_interface_and_of_its_link() {
        let read = |line: &str| Order::read(line, &site()).unwrap().unwrap();
        assert_eq!(read("cut lb0 cross"), read("cut lb0 eth1"));
        assert_eq!(read("status lb0"), read("ask lb0 status"));
    }

    #[test]
    fn times_are_seconds_and_their_parts() {
        let wait = |word: &str| Order::read(&format!("wait {word}"), &site()).map(Option::unwrap);
        for (word, millis) in [("5", 5_000), ("0.5", 500), ("1.25s", 1_250), ("0", 0)] {
            assert_eq!(wait(word), Ok(Order::Wait(Span::millis(millis))), "{word}");
        }
        for word in ["-1", "1.2345", "soon", "1e3", ".5", "+5", "99999999999999999999", "90000"] {
            assert_eq!(
                wait(word),
                Err(format!("\"{word}\" is no number of seconds: write one such as 5 or 0.5"))
            );
        }
    }

    #[test]
    fn blank_lines_and_remarks_are_no_orders() {
        for line in ["", "  \t", "# cut lb0 eth0", "   # why"] {
            assert_eq!(Order::read(line, &site()), Ok(None), "{line}");
        }
        assert_eq!(Order::read(" kill\tlb0 # hard", &site()), Ok(Some(Order::Kill("lb0".to_owned()))));
    }

    #[test]
    fn a_slip_is_answered_with_the_nearest_name() {
        for (line, said) in [
            ("cutt lb0 eth0", "there is no order \"cutt\": did you mean cut?"),
            ("kill lb7", "there is no node \"lb7\": did you mean lb0?"),
            ("kill client", "there is no node \"client\": name one of lb0, lb1"),
            ("cut clent eth0", "there is no machine \"clent\": did you mean client?"),
            ("cut lb0 croos", "there is no cable of lb0 to the network \"croos\": did you mean cross?"),
            ("cut client eth1", "there is no cable of client to the network \"eth1\": did you mean eth0?"),
            ("cut client wan", "there is no cable of client to the network \"wan\": did you mean lan?"),
            (
                "cut client backup",
                "there is no cable of client to the network \"backup\": name one of eth0, lan",
            ),
            ("cut lb0", "`cut` takes NODE NETWORK: `cut lb0 eth0`"),
            ("kill", "`kill` takes NODE: `kill lb0`"),
            ("quit now", "`quit` takes nothing behind it: `quit`"),
            ("ask lb0", "`ask` takes NODE COMMAND...: `ask lb0 status`"),
            ("loss lb0 eth0", "`loss` takes NODE NETWORK PERCENT [in|out]: `loss lb0 eth0 30`"),
            ("loss lb0 eth0 101", "\"101\" is no percentage: write a whole number from 0 to 100"),
            ("loss lb0 eth0 10 up", "\"up\" is no direction: write in or out, or nothing for both"),
            ("delay lb0 eth0 soon", "\"soon\" is no number of milliseconds: write one such as 50"),
            (
                "rival 192.168.7.21",
                "192.168.7.21 is no service address: the service addresses are 192.168.7.20",
            ),
            ("wipe lb0 vip", "\"vip\" is no address: the service addresses are 192.168.7.20"),
            ("ask lb0 standbye", "there is no command to a daemon \"standbye\": did you mean standby?"),
        ] {
            assert_eq!(Order::read(line, &site()), Err(said.to_owned()), "{line}");
        }
    }
}
