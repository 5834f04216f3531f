//! Does a check: opens what it takes, lets the dialogue talk, and comes back with a verdict when the check's time is over at
//! the latest.
//!
//! What a check takes is made ready once, and may fail then, with a text. Its connection is torn down and not closed (a
//! reset in the place of a farewell): however many checks there are, none of them leaves a port behind that waits. Its
//! port is chosen when it connects, so that checks from one address to many servers can use the same one. No more than one
//! buffer is read at once, and nothing is kept but what the dialogue keeps.
//!
//! It must run in one runtime with the pings it was made ready with; that may have one thread.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::User;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::config::{Check, CheckKind, Tls};
use crate::programs::program::{Ended, Program};
use crate::time::Span;

use super::certificate::{self, Authorities};
use super::dns::Question;
use super::expect::Wanted;
use super::ping::Pinger;
use super::{Dialogue, SILENT_END, Step, Verdict, http, mysql, postgresql, smtp, talk, words};

/// What is read at once.
const BUFFER: usize = 4096;

/// A datagram that is longer is cut off: no name server sends more to whoever has not asked for it.
const DATAGRAM: usize = 8192;

/// So much of what was heard is shown when time is over.
const SHOWN: usize = 64;

/// What a program finds on its way.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Who is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The server's address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// What a program finds in its environment besides.
    pub variables: Vec<(String, String)>,
}

/// What checks have in common: for as long as one configuration holds.
#[derive(Debug)]
pub struct Means {
    pinger: Arc<Pinger>,
    machine: OnceLock<Result<Authorities, String>>,
}

impl Means {
    /// Opens nothing yet.
    pub fn new() -> io::Result<Self> {
        let token = u64::from_be_bytes(chance()?);
        Ok(Self { pinger: Arc::new(Pinger::new(token)), machine: OnceLock::new() })
    }

    fn authorities(&self) -> Result<Authorities, String> {
        self.machine.get_or_init(Authorities::of_this_machine).clone()
    }
}

/// A check, made ready.
#[derive(Debug)]
pub struct Prepared {
    address: Option<IpAddr>,
    port: Option<u16>,
    source: Option<IpAddr>,
    timeout: Span,
    what: What,
}

/// What is done.
#[derive(Debug)]
enum What {
    Stream { tls: Option<Behind>, talk: Option<Talk> },
    Datagram { send: Vec<u8>, wanted: Wanted },
    Dns(Question),
    Ping(Arc<Pinger>),
    Program { program: PathBuf, args: Vec<String>, user: Option<User>, weighs: bool },
}

/// What is said over a stream.
#[derive(Debug)]
enum Talk {
    Http(http::Asked),
    Plain(talk::Talk),
    Smtp(smtp::Smtp),
    Mysql,
    Postgresql,
}

/// Behind TLS.
struct Behind {
    connector: TlsConnector,
    /// `None`: the server's address.
    name: Option<ServerName<'static>>,
}

impl std::fmt::Debug for Behind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Behind").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Behind {
    fn new(tls: &Tls, protocol: Option<&[u8]>, means: &Means) -> Result<Self, String> {
        let config = certificate::tls_config(&tls.certificate, || means.authorities(), protocol)?;
        let name = tls.name.clone().map(|name| {
            ServerName::try_from(name.clone()).map_err(|_| format!("{name:?} is no name of a server"))
        });
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name: name.transpose()? })
    }
}

impl Prepared {
    /// Makes a check ready, or says why it cannot be. It reads files (authorities, users), so it may block.
    pub fn new(check: &Check, means: &Means) -> Result<Self, String> {
        let behind = |tls: &Option<Tls>, protocol| {
            tls.as_ref().map(|tls| Behind::new(tls, protocol, means)).transpose()
        };
        let what = match &check.kind {
            CheckKind::Tcp => What::Stream { tls: None, talk: None },
            CheckKind::Tls(tls) => What::Stream { tls: Some(Behind::new(tls, None, means)?), talk: None },
            CheckKind::Http { tls, page } => {
                let asked = http::Asked::new(page, tls.is_some())?;
                What::Stream { tls: behind(tls, Some(b"http/1.1"))?, talk: Some(Talk::Http(asked)) }
            }
            CheckKind::Talk { tls, send, expect } => {
                let talk = talk::Talk::new(send.clone(), Wanted::new(expect)?);
                What::Stream { tls: behind(tls, None)?, talk: Some(Talk::Plain(talk)) }
            }
            CheckKind::Smtp { hello } => {
                What::Stream { tls: None, talk: Some(Talk::Smtp(smtp::Smtp::new(hello)?)) }
            }
            CheckKind::Mysql => What::Stream { tls: None, talk: Some(Talk::Mysql) },
            CheckKind::Postgresql => What::Stream { tls: None, talk: Some(Talk::Postgresql) },
            CheckKind::Udp { send, expect } => {
                What::Datagram { send: send.clone(), wanted: Wanted::new(expect)? }
            }
            CheckKind::Dns { name, record, answer } => {
                What::Dns(Question::new(name, *record, answer.as_deref())?)
            }
            CheckKind::Ping => What::Ping(Arc::clone(&means.pinger)),
            CheckKind::Program { program, args, user, weighs } => {
                let known = |name: &String| {
                    let found =
                        User::from_name(name).map_err(|error| format!("cannot look up {name:?}: {error}"))?;
                    found.ok_or_else(|| format!("there is no user {name:?} here"))
                };
                let user = user.as_ref().map(known).transpose()?;
                What::Program { program: program.clone(), args: args.clone(), user, weighs: *weighs }
            }
        };
        let Check { address, port, source, timeout, .. } = check;
        Ok(Self { address: *address, port: *port, source: *source, timeout: *timeout, what })
    }
}

/// Does it. It comes back when the check's time is over at the latest.
pub async fn perform(check: &Prepared, target: Target) -> Verdict {
    let Target { address, port, variables } = target;
    let server = SocketAddr::new(check.address.unwrap_or(address), check.port.unwrap_or(port));
    let deadline = Instant::now() + Duration::from_micros(check.timeout.as_micros());
    let call = Call { check, server, deadline };
    match &check.what {
        What::Stream { tls, talk } => call.stream(tls.as_ref(), talk.as_ref()).await,
        What::Datagram { send, wanted } => call.datagram(send, wanted).await,
        What::Dns(question) => call.dns(question).await,
        What::Ping(pinger) => call.ping(pinger).await,
        What::Program { program, args, user, weighs } => {
            let variables = call.variables(&variables);
            let program =
                Program { user: user.clone(), ..Program::bare(program, args, &variables, check.timeout) };
            call.program(program, *weighs).await
        }
    }
}

/// A check that is under way.
#[derive(Clone, Copy)]
struct Call<'a> {
    check: &'a Prepared,
    server: SocketAddr,
    deadline: Instant,
}

impl Call<'_> {
    /// Waits for it, until time is over.
    async fn in_time<T>(
        self,
        what: &str,
        work: impl Future<Output = Result<T, Verdict>>,
    ) -> Result<T, Verdict> {
        let late = |_| Err(Verdict::bad(format!("{what} within {}", self.check.timeout)));
        timeout_at(self.deadline, work).await.unwrap_or_else(late)
    }

    async fn stream(self, tls: Option<&Behind>, talk: Option<&Talk>) -> Verdict {
        let stream = match self.in_time("no connection", self.connect()).await {
            Ok(stream) => stream,
            Err(verdict) => return verdict,
        };
        let Some(behind) = tls else {
            return match talk {
                Some(talk) => self.converse(stream, talk).await,
                None => Verdict::well("takes connections"),
            };
        };
        let name = behind.name.clone().unwrap_or_else(|| ServerName::IpAddress(self.server.ip().into()));
        let connector = behind.connector.clone();
        let handshake = async { connector.connect(name, stream).await.map_err(|error| failed(&error)) };
        let stream = match self.in_time("connected, but no handshake of TLS", handshake).await {
            Ok(stream) => stream,
            Err(verdict) => return verdict,
        };
        if let Some(talk) = talk {
            return self.converse(stream, talk).await;
        }
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let until = shown.and_then(|certificate| certificate::dates(certificate)).map(|(_, until)| until);
        Verdict::well(until.map_or("a certificate".to_owned(), |until| {
            format!("certificate until {}", certificate::day(until))
        }))
    }

    async fn connect(self) -> Result<TcpStream, Verdict> {
        let socket = self.socket(Type::STREAM, Protocol::TCP)?;
        let prepared = socket.set_linger(Some(Duration::ZERO)).and_then(|()| socket.set_tcp_nodelay(true));
        prepared.map_err(|error| failed(&error))?;
        // A socket is one, connected or not.
        let socket = TcpSocket::from_std_stream(socket.into());
        socket.connect(self.server).await.map_err(|error| failed(&error))
    }

    /// Bound to where the check comes from.
    fn socket(self, kind: Type, protocol: Protocol) -> Result<Socket, Verdict> {
        let open = || {
            let socket = Socket::new(Domain::for_address(self.server), kind.nonblocking(), Some(protocol))?;
            if let Some(source) = self.check.source {
                setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
                socket.bind(&SocketAddr::new(source, 0).into())?;
            }
            Ok(socket)
        };
        open().map_err(|error: io::Error| match (error.kind(), self.check.source) {
            (io::ErrorKind::AddrNotAvailable, Some(source)) => {
                Verdict::untold(format!("{source} is not on this node"))
            }
            _ => failed(&error),
        })
    }

    async fn converse(self, mut stream: impl AsyncRead + AsyncWrite + Unpin, talk: &Talk) -> Verdict {
        let mut dialogue: Box<dyn Dialogue> = match talk {
            Talk::Http(asked) => Box::new(asked.of(self.server)),
            Talk::Plain(talk) => Box::new(talk.clone()),
            Talk::Smtp(smtp) => Box::new(smtp.clone()),
            Talk::Mysql => Box::new(mysql::Mysql::default()),
            Talk::Postgresql => Box::new(postgresql::Postgresql::default()),
        };
        let mut shown = Vec::new();
        let work = converse(&mut stream, &mut *dialogue, &mut shown);
        match timeout_at(self.deadline, work).await {
            Ok(verdict) => verdict,
            Err(_) if shown.is_empty() => self.no_answer(),
            Err(_) => self.only(&shown),
        }
    }

    fn no_answer(self) -> Verdict {
        Verdict::bad(format!("no answer within {}", self.check.timeout))
    }

    /// Something was answered, and it was not enough.
    fn only(self, heard: &[u8]) -> Verdict {
        Verdict::bad(format!("only {} within {}", words::first_line(heard), self.check.timeout))
    }

    async fn datagram(self, send: &[u8], wanted: &Wanted) -> Verdict {
        let mut shown = None;
        let work = async {
            let socket = self.udp().await?;
            socket.send(send).await.map_err(|error| failed(&error))?;
            let mut buffer = vec![0; DATAGRAM];
            loop {
                let length = socket.recv(&mut buffer).await.map_err(|error| failed(&error))?;
                let heard = buffer.get(..length).unwrap_or_default();
                if wanted.is_in(heard) {
                    return Ok(Verdict::well(words::first_line(heard)));
                }
                shown = Some(heard.get(..SHOWN).unwrap_or(heard).to_vec());
            }
        };
        match timeout_at(self.deadline, work).await {
            Ok(Ok(verdict) | Err(verdict)) => verdict,
            Err(_) if wanted.is_anything() => Verdict::well("silence"),
            Err(_) => shown.map_or_else(|| self.no_answer(), |shown| self.only(&shown)),
        }
    }

    async fn udp(self) -> Result<UdpSocket, Verdict> {
        let socket = self.socket(Type::DGRAM, Protocol::UDP)?;
        // It hears only this server then, and also that nobody listens there.
        socket.connect(&self.server.into()).map_err(|error| failed(&error))?;
        UdpSocket::from_std(socket.into()).map_err(|error| failed(&error))
    }

    async fn dns(self, question: &Question) -> Verdict {
        let work = async {
            let id = u16::from_be_bytes(chance().map_err(|error| failed(&error))?);
            let socket = self.udp().await?;
            socket.send(&question.datagram(id)).await.map_err(|error| failed(&error))?;
            let mut buffer = vec![0; DATAGRAM];
            loop {
                let length = socket.recv(&mut buffer).await.map_err(|error| failed(&error))?;
                if let Some(verdict) = question.judge(id, buffer.get(..length).unwrap_or_default()) {
                    return Ok(verdict);
                }
            }
        };
        match self.in_time("no answer", work).await {
            Ok(verdict) | Err(verdict) => verdict,
        }
    }

    async fn ping(self, pinger: &Pinger) -> Verdict {
        let work =
            async { pinger.ping(self.server.ip(), self.check.source).await.map_err(|error| failed(&error)) };
        match self.in_time("no answer", work).await {
            Ok(()) => Verdict::well("answers"),
            Err(verdict) => verdict,
        }
    }

    fn variables(self, besides: &[(String, String)]) -> Vec<(String, String)> {
        let own = [
            ("PATH", PATH.to_owned()),
            ("SYSTOLE_SERVER_ADDRESS", self.server.ip().to_string()),
            ("SYSTOLE_SERVER_PORT", self.server.port().to_string()),
        ];
        own.map(|(name, value)| (name.to_owned(), value)).into_iter().chain(besides.iter().cloned()).collect()
    }

    async fn program(self, program: Program<'_>, weighs: bool) -> Verdict {
        let mut last = String::new();
        let say = |line: String| {
            if !line.is_empty() {
                last = line;
            }
        };
        // Whoever drops it kills it, with all that it has started. What it leaves behind is ended with it, too: a check
        // would leave as much again each time.
        let work = async { program.whole(std::future::pending(), say).await.map_err(Verdict::untold) };
        let ended = match self.in_time("no end", work).await {
            Ok(ended) => ended,
            Err(verdict) => return verdict,
        };
        let with_words = |text: String| if last.is_empty() { text } else { format!("{text}: {last}") };
        match ended {
            Ended::Code(0) => Verdict::well(with_words("exit code 0".to_owned())),
            Ended::Code(code @ 2..=255) if weighs => Verdict::Well {
                answer: words::short(&with_words(format!("exit code {code}"))),
                weight: u32::try_from(code - 2).ok(),
            },
            Ended::Code(code) => Verdict::bad(with_words(format!("exit code {code}"))),
            Ended::Signal(signal) => Verdict::bad(with_words(format!("ended by signal {signal}"))),
            // Only who waits has a limit.
            Ended::Late => Verdict::bad("no end"),
        }
    }
}

/// A dialogue over a stream. What it hears first is shown besides.
async fn converse(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    dialogue: &mut dyn Dialogue,
    shown: &mut Vec<u8>,
) -> Verdict {
    let mut buffer = [0; BUFFER];
    let mut step = dialogue.begin();
    loop {
        let mut unsaid = None;
        match step {
            Step::More => {}
            Step::Say(words) => unsaid = say(stream, &words).await.err(),
            Step::Done(verdict) => return verdict,
        }
        // Who refuses to listen may have said why.
        let heard = match stream.read(&mut buffer).await {
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            // Many close without the farewell of TLS.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => &[],
            Err(error) => return failed(&unsaid.unwrap_or(error)),
        };
        if heard.is_empty() {
            return match unsaid {
                Some(_) if shown.is_empty() => Verdict::bad(SILENT_END),
                Some(_) | None => dialogue.end(),
            };
        }
        let room = SHOWN.saturating_sub(shown.len());
        shown.extend_from_slice(heard.get(..room).unwrap_or(heard));
        step = dialogue.hear(heard);
    }
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), words: &[u8]) -> io::Result<()> {
    stream.write_all(words).await?;
    stream.flush().await
}

/// What went wrong, in few words. What is wrong with this machine and not with the server is told as such.
fn failed(error: &io::Error) -> Verdict {
    if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        return Verdict::bad(certificate::why(error));
    }
    let known = KNOWN.iter().find(|(kind, _)| *kind == error.kind());
    known.map_or_else(|| Verdict::untold(error.to_string()), |(_, words)| Verdict::bad(words))
}

/// What a server, or the way there, does to a connection.
const KNOWN: [(io::ErrorKind, &str); 8] = [
    (io::ErrorKind::ConnectionRefused, "refused"),
    (io::ErrorKind::ConnectionReset, "reset"),
    (io::ErrorKind::ConnectionAborted, "reset"),
    (io::ErrorKind::BrokenPipe, "reset"),
    (io::ErrorKind::HostUnreachable, "host unreachable"),
    (io::ErrorKind::NetworkUnreachable, "network unreachable"),
    (io::ErrorKind::UnexpectedEof, "closed in the middle of TLS"),
    (io::ErrorKind::TimedOut, "gone: its packets stay away"),
];

/// Bytes that nobody can guess.
fn chance<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| io::Error::other("the kernel gives no random bytes"))?;
    Ok(bytes)
}
