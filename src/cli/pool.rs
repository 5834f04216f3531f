//! `systole pool`: the services, their servers, and what an operator wants of these.

use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::beat::ServerWish;
use crate::config::{At, Transport};
use crate::control::{Request, Servers};
use crate::director::message::{Ask, SOCKET_NAME, VERSION, Word};
use crate::director::pool::{CheckView, PoolView, ServerView, ServiceView};
use crate::time::Span;

use super::connection::Daemon;
use super::failure::Failure;
use super::terminal::{say, still_read, wait_ms, wants_colour};

/// Show the services and their real servers: which are up, since when, why not, and what the last check heard. Drain a
/// server, or give it another weight.
///
/// Exit status: 0 done, 1 refused, 2 no director was reached.
#[derive(clap::Args, Debug)]
pub struct Pool {
    #[command(subcommand)]
    order: Option<Ordered>,
    /// Of this service only
    #[arg(long, value_name = "NAME", global = true)]
    service: Option<String>,
    /// As one line of JSON
    #[arg(long)]
    json: bool,
    /// Show it again every second, until interrupted
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// The run directory of the daemon
    #[arg(long, value_name = "DIR", default_value = "/run/systole", global = true)]
    run_dir: PathBuf,
}

/// What is ordered of a server, on every node. It holds until `undrain`, wherever the group goes.
#[derive(clap::Subcommand, Debug)]
enum Ordered {
    /// Give a server no new connections, and take it out when its time to end the others is over
    Drain {
        /// Its name or address
        #[arg(value_name = "SERVER")]
        server: String,
    },
    /// Give a server connections again, as its checks and the configuration say
    Undrain {
        /// Its name or address
        #[arg(value_name = "SERVER")]
        server: String,
    },
    /// Give a server this weight until `undrain`
    Weight {
        /// Its name or address
        #[arg(value_name = "SERVER")]
        server: String,
        /// 0: no new connections
        #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(u16))]
        weight: u16,
    },
}

impl Ordered {
    fn request(&self, service: &Option<String>) -> Request {
        let service = service.clone();
        match self {
            Self::Drain { server } => Request::Drain(Servers { service, server: server.clone() }),
            Self::Undrain { server } => Request::Undrain(Servers { service, server: server.clone() }),
            Self::Weight { server, weight } => {
                Request::Weigh { service, server: server.clone(), weight: *weight }
            }
        }
    }

    fn done(&self) -> String {
        match self {
            Self::Drain { server } => format!("no new connections for {server}"),
            Self::Undrain { server } => format!("as the checks and the configuration say: {server}"),
            Self::Weight { server, weight } => format!("weight {weight} for {server}"),
        }
    }
}

/// A director answers at once, or not at all.
const UNANSWERED: Duration = Duration::from_secs(10);

impl Pool {
    /// Shows or orders.
    pub fn run(&self) -> Result<(), Failure> {
        let Some(order) = &self.order else {
            if self.watch {
                self.watch();
                return Ok(());
            }
            return self.show();
        };
        Daemon { run_dir: self.run_dir.clone() }.connect()?.order(&order.request(&self.service))?;
        let of = self.service.as_ref().map(|service| format!(" of {service}")).unwrap_or_default();
        say(&format!("{}{of}, on every node\n", order.done()));
        Ok(())
    }

    fn show(&self) -> Result<(), Failure> {
        let view = self.view()?;
        if self.json {
            say(&format!("{}\n", json!({ "version": VERSION, "pool": view })));
        } else {
            say(&render(&view, wants_colour(io::stdout().is_terminal())));
        }
        Ok(())
    }

    fn watch(&self) {
        let clear = if io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
        loop {
            let text = match self.view() {
                Ok(view) => render(&view, wants_colour(io::stdout().is_terminal())),
                Err(Failure::NotDone(text) | Failure::Unusable(text)) => format!("{text}\n"),
            };
            if !still_read(&format!("{clear}{text}")) {
                return;
            }
            wait_ms(1_000);
        }
    }

    fn view(&self) -> Result<PoolView, Failure> {
        let mut view = match self.ask(&Ask::Pool)? {
            Word::Pool(view) => view,
            Word::Refused { .. } | Word::Trouble { .. } | Word::Outlook { .. } => {
                return Err(self.strange());
            }
        };
        if let Some(name) = &self.service {
            view.services.retain(|service| service.name == *name);
            if view.services.is_empty() {
                let what =
                    format!("there is no service {name}\n`systole pool` shows all services and servers");
                return Err(Failure::NotDone(what));
            }
        }
        Ok(view)
    }

    fn ask(&self, ask: &Ask) -> Result<Word, Failure> {
        let path = self.run_dir.join(SOCKET_NAME);
        let lost = |error: io::Error| {
            Failure::Unusable(format!(
                "no director was reached at {}: {error}\nthe daemon has it started where its configuration has a \
                 [service.NAME]: see `systole status`; ask as root, and name another run directory with --run-dir DIR",
                path.display()
            ))
        };
        let mut stream = UnixStream::connect(&path).map_err(lost)?;
        let bounded = stream
            .set_read_timeout(Some(UNANSWERED))
            .and_then(|()| stream.set_write_timeout(Some(UNANSWERED)));
        bounded.map_err(lost)?;
        let line = serde_json::to_string(ask).unwrap_or_default();
        stream.write_all(format!("{line}\n").as_bytes()).map_err(lost)?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).map_err(lost)?;
        serde_json::from_str(&answer).map_err(|_| self.strange())
    }

    fn strange(&self) -> Failure {
        let path = self.run_dir.join(SOCKET_NAME);
        Failure::Unusable(format!(
            "the director at {} answered something that this command does not understand\nuse the command of the same \
             version as the daemon",
            path.display()
        ))
    }
}

const GREEN: &str = "\x1b[1;32m";
const RED: &str = "\x1b[1;31m";
const PLAIN: &str = "\x1b[0m";

/// As a person reads it.
pub fn render(view: &PoolView, colour: bool) -> String {
    if view.services.is_empty() {
        return "no services\n".to_owned();
    }
    let services: Vec<String> = view.services.iter().map(|service| service_lines(service, colour)).collect();
    services.join("\n")
}

fn service_lines(service: &ServiceView, colour: bool) -> String {
    let mut text = format!("{}  {}, {}\n", service.name, place(service.at), service.balancer);
    if let Some(trouble) = &service.trouble {
        text.push_str(&format!("  {}\n", paint(trouble, RED, colour)));
    }
    if service.is_withheld {
        text.push_str(
            "  not in this node's kernel: this node does not hold it, and is itself a server of it\n",
        );
    }
    if !service.has_enough {
        let what = if service.is_sorry {
            "too few servers are well: the sorry server answers"
        } else {
            "too few servers are well"
        };
        text.push_str(&format!("  {}\n", paint(what, RED, colour)));
    }
    let width = |of: fn(&ServerView) -> &str| {
        service.servers.iter().map(|server| of(server).chars().count()).max().unwrap_or(0)
    };
    let (names, addresses) = (width(|server| &server.name), width(|server| &server.address));
    for server in &service.servers {
        let address = if server.address == server.name { String::new() } else { server.address.clone() };
        let addresses = if service.servers.iter().all(|one| one.address == one.name) { 0 } else { addresses };
        let painted = match server.state.as_str() {
            "up" => paint(&format!("{:<8}", server.state), GREEN, colour),
            "down" => paint(&format!("{:<8}", server.state), RED, colour),
            _ => format!("{:<8}", server.state),
        };
        let weight = server.weight.map_or_else(|| "-".to_owned(), |weight| format!("weight {weight}"));
        let told = match server.order {
            Some(ServerWish::Weight(_)) => ", as ordered",
            Some(ServerWish::Drain) | None => "",
        };
        text.push_str(&format!(
            "  {:<names$}  {address:<addresses$}  {painted}  {weight}{told}, for {}\n",
            server.name,
            rough(server.for_us)
        ));
        for check in &server.checks {
            text.push_str(&check_line(check));
        }
    }
    text
}

fn place(at: At) -> String {
    match at {
        At::Address { address, port, protocol } => {
            let protocol = match protocol {
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
                Transport::Sctp => "sctp",
            };
            format!("{} {protocol}", std::net::SocketAddr::new(address, port))
        }
        At::Mark { mark, v6 } => format!("mark {mark}{}", if v6 { " of IPv6" } else { "" }),
    }
}

fn check_line(check: &CheckView) -> String {
    let (Some(is_well), Some(answer), Some(took), Some(ago)) =
        (check.is_well, &check.answer, check.took_us, check.ago_us)
    else {
        return format!("      {}: not asked yet\n", check.kind);
    };
    let word = if is_well { "well" } else { "bad" };
    format!("      {}: {word}, {answer} ({}, {} ago)\n", check.kind, Span::micros(took), rough(ago))
}

/// So long that nobody counts what is left out.
fn rough(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}min", seconds / 60),
        3_600..86_400 => format!("{}h {}min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

fn paint(text: &str, with: &str, colour: bool) -> String {
    if colour { format!("{with}{text}{PLAIN}") } else { text.to_owned() }
}
