//! `systole lab`: the cluster of a configuration on this one machine, and what is ordered to happen to it.

use std::io::{self, BufRead};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, TryRecvError};

use crate::config::{self, Config, LoadError, Tracked};
use crate::lab::{
    Done, LabError, ORDERS, Order, PortPlan, Rehearsal, Seen, Site, SiteError, Told, become_root, interrupts,
};
use crate::time::Span;

use super::terminal::{complain, say, wants_colour};

/// Run the cluster of a configuration on this machine, and order what happens to it.
///
/// Each node is a machine of its own, in network namespaces: neither root nor a second machine is needed, and nothing is
/// left behind. Each interface of the configuration is a network with a switch. A client asks the service addresses five
/// times a millisecond, and tells who answers. Orders come from standard input, a line each: `help` lists them, and the
/// end of the input ends the lab.
///
/// Exit status: 0 if all orders were carried out and never two answered at once, 1 if not, 2 if the lab cannot be built.
#[derive(clap::Args, Debug)]
pub struct Lab {
    /// A systole.toml, or a Heartbeat directory such as /etc/ha.d
    #[arg(value_name = "FILE")]
    pub config: PathBuf,
    /// Another systole to run
    #[arg(long, value_name = "PATH", default_value = "/proc/self/exe")]
    pub daemon: PathBuf,
}

/// Between two looks at the orders.
const LOOK: Span = Span::millis(20);

/// Why there is no lab.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Config(#[from] LoadError),
    #[error("there is no lab for this configuration: {0}")]
    Site(#[from] SiteError),
    #[error(transparent)]
    Lab(#[from] LabError),
}

impl Lab {
    /// What happens goes to standard output; what cannot happen, to standard error.
    pub fn run(&self) -> ExitCode {
        match self.rehearse() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            Err(Failed::Config(LoadError::Wrong(report))) => {
                let colour = wants_colour(io::IsTerminal::is_terminal(&io::stderr()));
                complain(&report.render(colour));
                complain(
                    "there is no lab for a configuration with mistakes: mend them, and check with `systole check`\n",
                );
                ExitCode::from(2)
            }
            Err(error) => {
                complain(&format!("systole: {error}\n"));
                ExitCode::from(2)
            }
        }
    }

    /// Whether everything was carried out, and never two answered.
    fn rehearse(&self) -> Result<bool, Failed> {
        let config = config::load(&self.config)?.config;
        let site = Site::of(&config)?;
        become_root()?;
        let interrupted = interrupts()?;
        say(&description(&site));
        say(&remarks(&site, &config));
        let mut rehearsal = Rehearsal::new(site, (&self.config, &config), &self.daemon, interrupted.clone())?;
        if rehearsal.has_new_keys() {
            say(&format!("The keys {} cannot be read: new ones take their place.\n", config.keys.display()));
        }
        say("The daemons start; `help` lists the orders. Times are since the beginning.\n\n");
        let mut tell = |at: Span, told: Told| say(&text(at, &told));
        let mut is_well = true;
        if !rehearsal.start(&mut tell)? && !interrupted.is_set() {
            complain(
                "not every address is answered for: look at the reasons above, or with `log NODE` and `ask NODE status`\n",
            );
            is_well = false;
        }
        let orders = lines();
        let mut is_over = false;
        while !is_over && !interrupted.is_set() {
            rehearsal.watch(LOOK, &mut tell, |_| false);
            // What waits is carried out at once: faults that are given together come together.
            while !is_over && let Some(done) = take(&orders, &mut rehearsal, &mut tell) {
                is_well &= done != Done::Badly;
                is_over |= done == Done::Over || interrupted.is_set();
            }
        }
        if rehearsal.has_seen_two() {
            complain("two machines answered at once at times: look above for when\n");
        }
        Ok(is_well && !rehearsal.has_seen_two())
    }
}

/// Carries the next order out; `None`: none waits.
fn take(
    orders: &Receiver<String>,
    rehearsal: &mut Rehearsal,
    tell: &mut dyn FnMut(Span, Told),
) -> Option<Done> {
    match orders.try_recv() {
        Ok(line) => Some(carry_out(&line, rehearsal, tell)),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Disconnected) => Some(Done::Over),
    }
}

fn carry_out(line: &str, rehearsal: &mut Rehearsal, tell: &mut dyn FnMut(Span, Told)) -> Done {
    let refused = |why: String| {
        complain(&format!("{why}\n"));
        Done::Badly
    };
    match Order::read(line, rehearsal.site()) {
        Ok(None) => Done::Well,
        Ok(Some(Order::Help)) => {
            say(&help());
            Done::Well
        }
        Ok(Some(order)) => rehearsal.give(&order, tell).unwrap_or_else(|error| refused(error.to_string())),
        Err(why) => refused(why),
    }
}

/// The lines of standard input.
fn lines() -> Receiver<String> {
    let (tell, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            // Whoever listened may have ended already.
            let Ok(line) = line else { return };
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// The networks, and who is in each of them under which address.
fn description(site: &Site) -> String {
    let mut text = String::new();
    for network in &site.plan.networks {
        let over = site.links.iter().filter(|(_, over)| over == network);
        let links: Vec<&str> = over.map(|(link, _)| link.as_str()).collect();
        let machines = site.plan.machines.iter().flat_map(|machine| {
            let here = machine.ports.iter().filter(|port| port.network == *network);
            here.map(|port| format!("{}{}", machine.name, addresses(site, port)))
        });
        let links = if links.is_empty() { String::new() } else { format!(" (link {})", links.join(", ")) };
        text.push_str(&format!("{network}{links}: {}\n", machines.collect::<Vec<_>>().join(", ")));
    }
    if !site.invented.is_empty() {
        text.push_str("What has a * is invented: the configuration does not name it.\n");
    }
    text
}

fn addresses(site: &Site, port: &PortPlan) -> String {
    let shown = |(address, prefix): &(IpAddr, u8)| {
        let mark = if site.invented.contains(address) { "*" } else { "" };
        format!(" {address}/{prefix}{mark}")
    };
    port.addresses.iter().map(shown).collect()
}

/// What a user should know before it begins.
fn remarks(site: &Site, config: &Config) -> String {
    let listed = |watched: bool| {
        let which = site.services.iter().filter(|service| service.watched == watched);
        which.map(|service| service.address.to_string()).collect::<Vec<_>>().join(", ")
    };
    let (asked, others) = (listed(true), listed(false));
    let mut text = format!("{} asks {asked} five times a millisecond", site.client);
    text.push_str(&if others.is_empty() {
        ".\n".to_owned()
    } else {
        format!(", and does not ask {others}.\n")
    });
    if let Some(notify) = &config.notify {
        text.push_str(&format!("These daemons, too, run {} of [notify].\n", notify.program.display()));
    }
    for track in &config.tracks {
        let what = match &track.what {
            Tracked::Program { program, .. } => format!("run {}", program.display()),
            Tracked::File(_) | Tracked::NoFile(_) | Tracked::Process(_) => "look at this machine".to_owned(),
        };
        text.push_str(&format!("These daemons, too, {what} for [track.{}].\n", track.name));
    }
    text
}

fn help() -> String {
    let line = |(name, takes, does): (&str, &str, &str)| {
        let takes = format!("{name} {takes}");
        format!("  {takes:<32} {does}\n")
    };
    let notes = "  NODE is also client, gateway or rival where a cable or an address is meant; NETWORK is an interface or a link.\n";
    ORDERS.into_iter().map(line).collect::<String>() + notes
}

fn text(at: Span, told: &Told) -> String {
    let line = |text: String| format!("{:>8} ms  {text}\n", at.as_micros() / 1_000);
    let indented = |lines: &[String]| lines.iter().map(|line| format!("    {line}\n")).collect::<String>();
    match told {
        Told::Does(order) => format!("\n{}", line(format!("** {order}"))),
        Told::Sees(address, Seen::Answers { machine, silence }) if *silence == Span::ZERO => {
            line(format!("{address}: {machine} answers"))
        }
        Told::Sees(address, Seen::Answers { machine, silence }) => {
            line(format!("{address}: {machine} answers, after {} without an answer", milliseconds(*silence)))
        }
        Told::Sees(address, Seen::Announces { machine }) => {
            line(format!("{address}: {machine} announces it"))
        }
        Told::Sees(address, Seen::Double { machines }) => {
            line(format!("{address}: two answer at once: {}", machines.join(" and ")))
        }
        Told::Silent { address, silence } => {
            line(format!("{address}: nobody answers, for {} so far", milliseconds(*silence)))
        }
        Told::Ended { node, how, words } => {
            line(format!("the daemon of {node} has ended ({how}); its last words:")) + &indented(words)
        }
        Told::Shows(lines) => indented(lines),
    }
}

fn milliseconds(span: Span) -> String {
    format!("{}.{} ms", span.as_micros() / 1_000, span.as_micros() / 100 % 10)
}
