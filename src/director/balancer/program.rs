//! A program as a balancer: whatever divides the connections, somebody's script tells it.
//!
//! `PATH apply` is called with the whole table of one service on its standard input, `PATH remove` with an empty one when
//! the service is gone. Exit code 0: it is done. Anything else: it is not, the last line that it printed says why, and it
//! is called again at the next settling. It is called where the table is another than it was given last, and once for
//! each service after the director was started: so it is asked for the whole and never for a difference, and may be asked
//! twice. Never are two of them called at the same time.
//!
//! What the program has made nobody can see, so nothing is ever mended here. This file must never guess at it.
//!
//! The shape of the table is told in docs/director.md; it only grows, and what changes its meaning changes `version`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use crate::config::{At, Balancer, Forwarding, Transport};
use crate::director::balancer::{Balance, BalancerError};
use crate::director::table::{Table, Tables};
use crate::programs::program::{Ended, Program};
use crate::time::Span;

/// The version of the table's shape.
const VERSION: u32 = 1;

/// Longer, and it is killed with all that it has started.
const LIMIT: Span = Span::seconds(10);

/// All that it finds on its way.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The programs of this node's services.
pub struct Programs {
    runtime: Runtime,
    /// By the service's name: the program that was told of it last, and what.
    given: BTreeMap<String, (PathBuf, Given)>,
}

/// What a program is given of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    /// The table as text; `None`: the last call failed, and who knows what of it was done.
    text: Option<String>,
    /// For the call that takes it back.
    empty: String,
    variables: Vec<(String, String)>,
}

/// Why a call came to nothing.
struct Failure {
    why: String,
    /// There is a program, and it ran.
    ran: bool,
}

/// One service, as a program reads it.
#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    service: &'a str,
    at: WrittenAt,
    scheduler: Option<&'a str>,
    persistence: Option<WrittenPersistence>,
    servers: Vec<WrittenServer<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum WrittenAt {
    Address { address: String, port: u16, protocol: &'static str },
    Mark { mark: u32, family: &'static str },
}

#[derive(Serialize)]
struct WrittenPersistence {
    seconds: u64,
    mask: u32,
}

#[derive(Serialize)]
struct WrittenServer<'a> {
    name: &'a str,
    address: String,
    port: u16,
    weight: u32,
    forwarding: &'static str,
}

impl Programs {
    /// Nobody has been told of anything.
    pub fn new() -> Result<Self, BalancerError> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| BalancerError(format!("no program can be run: {error}")))?;
        Ok(Self { runtime, given: BTreeMap::new() })
    }

    /// Tells one program of one service, unless it knows.
    fn apply(&mut self, name: &str, table: &Table, faults: &mut Vec<String>) {
        let Some(path) = program(table) else { return };
        // Two programs would both believe that the service is theirs: the old one goes first.
        if self.given.get(name).is_some_and(|(old, _)| old != path) {
            self.remove(name, faults);
        }
        let text = written(name, table, true);
        if self.given.get(name).is_some_and(|(_, given)| given.text.as_ref() == Some(&text)) {
            return;
        }
        let (empty, variables) = (written(name, table, false), variables(name, table));
        let result = self.run("apply", name, path, &variables, &text);
        // What has failed may be half done, and has to be taken back as well.
        let given = Given { text: result.is_ok().then_some(text), empty, variables };
        self.given.insert(name.to_owned(), (path.clone(), given));
        faults.extend(result.err().map(|failure| failure.why));
    }

    /// Takes back what a program was told of a service. One that is not there any more cannot, and is not asked again.
    fn remove(&mut self, name: &str, faults: &mut Vec<String>) {
        let Some((path, given)) = self.given.get(name) else { return };
        let result = self.run("remove", name, path, &given.variables, &given.empty);
        if result.as_ref().map_or_else(|failure| !failure.ran, |()| true) {
            self.given.remove(name);
        }
        faults.extend(result.err().map(|failure| failure.why));
    }

    fn run(
        &self,
        action: &str,
        service: &str,
        path: &PathBuf,
        variables: &[(String, String)],
        input: &str,
    ) -> Result<(), Failure> {
        let args = [action.to_owned()];
        let mut last = String::new();
        let note = |line: String| {
            if !line.is_empty() {
                last = line;
            }
        };
        let program = Program { input, ..Program::bare(path, &args, variables, LIMIT) };
        let ended = self.runtime.block_on(program.end(note));
        let because = if last.is_empty() { "it said nothing".to_owned() } else { format!("\"{last}\"") };
        let ran = ended.is_ok();
        let why = match ended {
            Ok(Ended::Code(0)) => return Ok(()),
            Ok(Ended::Code(code)) => format!("exit code {code}, {because}"),
            Ok(Ended::Signal(signal)) => format!("ended by signal {signal}, {because}"),
            Ok(Ended::Late) => {
                format!("it took longer than {LIMIT}, and was killed with all that it had started")
            }
            Err(why) => why,
        };
        Err(Failure { why: format!("service {service}: {} {action}: {why}", path.display()), ran })
    }
}

impl Balance for Programs {
    fn settle(&mut self, wanted: &Tables) -> Result<Vec<String>, BalancerError> {
        let mut faults = Vec::new();
        let is_gone = |name: &&String| wanted.get(*name).and_then(program).is_none();
        for name in self.given.keys().filter(is_gone).cloned().collect::<Vec<_>>() {
            self.remove(&name, &mut faults);
        }
        for (name, table) in wanted {
            self.apply(name, table, &mut faults);
        }
        all(&faults).map(|()| Vec::new())
    }

    fn change(&mut self, name: &str, wanted: &Table) -> Result<(), BalancerError> {
        let mut faults = Vec::new();
        self.apply(name, wanted, &mut faults);
        all(&faults)
    }
}

fn all(faults: &[String]) -> Result<(), BalancerError> {
    if faults.is_empty() { Ok(()) } else { Err(BalancerError(faults.join("; "))) }
}

/// The program of a service; `None`: it has another balancer.
fn program(table: &Table) -> Option<&PathBuf> {
    match &table.service.balancer {
        Balancer::Program(path) => Some(path),
        Balancer::Ipvs | Balancer::Nftables | Balancer::Haproxy { .. } => None,
    }
}

fn protocol(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
        Transport::Sctp => "sctp",
    }
}

fn family(v6: bool) -> &'static str {
    if v6 { "ipv6" } else { "ipv4" }
}

/// What a script can use without reading JSON.
fn variables(name: &str, table: &Table) -> Vec<(String, String)> {
    let mut all =
        vec![("PATH", PATH.to_owned()), ("LC_ALL", "C".to_owned()), ("SYSTOLE_SERVICE", name.to_owned())];
    match table.service.at {
        At::Address { address, port, protocol: transport } => all.extend([
            ("SYSTOLE_ADDRESS", address.to_string()),
            ("SYSTOLE_PORT", port.to_string()),
            ("SYSTOLE_PROTOCOL", protocol(transport).to_owned()),
        ]),
        At::Mark { mark, v6 } => {
            all.extend([("SYSTOLE_MARK", mark.to_string()), ("SYSTOLE_FAMILY", family(v6).to_owned())]);
        }
    }
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The table as text: one line, which ends as a line does.
fn written(name: &str, table: &Table, with_servers: bool) -> String {
    let service = &table.service;
    let servers = table.entries.iter().filter(|_| with_servers).map(|(name, entry)| WrittenServer {
        name,
        address: entry.server.address.to_string(),
        port: entry.server.port,
        weight: entry.weight,
        forwarding: match entry.server.forwarding {
            Forwarding::Nat => "nat",
            Forwarding::Direct => "direct",
            Forwarding::Tunnel => "tunnel",
        },
    });
    let whole = Written {
        version: VERSION,
        service: name,
        at: match service.at {
            At::Address { address, port, protocol: transport } => {
                WrittenAt::Address { address: address.to_string(), port, protocol: protocol(transport) }
            }
            At::Mark { mark, v6 } => WrittenAt::Mark { mark, family: family(v6) },
        },
        scheduler: service.scheduler.as_ref().map(|scheduler| scheduler.name.as_str()),
        persistence: service.persistence.map(|persistence| WrittenPersistence {
            seconds: persistence.timeout.as_micros() / 1_000_000,
            mask: persistence.mask.into(),
        }),
        servers: servers.collect(),
    };
    // Strings and numbers: there is nothing in it that JSON could not hold.
    serde_json::to_string(&whole).unwrap_or_default() + "\n"
}
