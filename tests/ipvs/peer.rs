//! Both ends of the connections: servers that say their name and then repeat what they hear, and a client that counts who
//! answered.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use systole::lab::clock;
use systole::time::Span;

/// The program is a server if this is its first word, and its name the second.
pub(crate) const SERVE: &str = "serve";

/// Where it listens; the second one is only for services that don't translate it.
const PORT: u16 = 80;

/// Who is told this speaks by himself from then on.
const STREAM: &[u8] = b"stream\n";

/// Under emulation a connection may take long. This bounds a test that fails, and is no measure of one that passes.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn serve(name: &str) -> ! {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).unwrap();
    let named = format!("{name}\n");
    loop {
        let (mut connection, _) = listener.accept().unwrap();
        let named = named.clone();
        thread::spawn(move || {
            let mut bytes = [0; 1024];
            let _ = connection.write_all(named.as_bytes());
            while let Ok(length @ 1..) = connection.read(&mut bytes) {
                if bytes.starts_with(STREAM) {
                    stream(&mut connection);
                }
                let _ = connection.write_all(&bytes[..length]);
            }
        });
    }
}

/// Says what time it is until nobody listens any more.
fn stream(connection: &mut TcpStream) {
    while connection.write_all(format!("{}\n", clock::now().0).as_bytes()).is_ok() {
        clock::wait(Span::millis(50));
    }
}

/// An open connection, and who is at its other end.
pub(crate) struct Connection {
    pub(crate) server: String,
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(to: &str) -> Self {
        let stream = TcpStream::connect_timeout(&to.parse::<SocketAddr>().unwrap(), PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut connection = Self { server: String::new(), stream: BufReader::new(stream) };
        connection.server = connection.hear();
        connection
    }

    /// Whether one comes about and is answered, where that may not be so.
    pub(crate) fn opens(to: &str, patience: Span) -> bool {
        let end = clock::now() + patience;
        let at_most = Duration::from_micros(patience.as_micros());
        let Ok(stream) = TcpStream::connect_timeout(&to.parse::<SocketAddr>().unwrap(), at_most) else {
            return false;
        };
        let mut connection = Self { server: String::new(), stream: BufReader::new(stream) };
        connection.next_line(end).is_some() && connection.lives_within(end - clock::now())
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Whether the other end still hears and answers.
    pub(crate) fn lives(&mut self) -> bool {
        self.stream.get_mut().write_all(b"still there?\n").unwrap();
        self.hear() == "still there?"
    }

    /// The same for so long, where it may be dead.
    pub(crate) fn lives_within(&mut self, patience: Span) -> bool {
        self.stream.get_mut().write_all(b"still there?\n").is_ok()
            && self.next_line(clock::now() + patience).is_some_and(|line| line == "still there?")
    }

    /// The server speaks by itself from now on.
    pub(crate) fn stream(&mut self) {
        self.stream.get_mut().write_all(STREAM).unwrap();
    }

    /// Whether something comes that it has said after this time.
    pub(crate) fn streams_after(&mut self, time: Span, patience: Span) -> bool {
        let end = clock::now() + patience;
        while let Some(line) = self.next_line(end) {
            if line.parse().is_ok_and(|said| Span(said) > time) {
                return true;
            }
        }
        false
    }

    /// The number of its port at this end.
    pub(crate) fn port(&self) -> u16 {
        self.stream.get_ref().local_addr().unwrap().port()
    }

    fn next_line(&mut self, end: Span) -> Option<String> {
        let left = Duration::from_micros((end - clock::now()).as_micros().max(1));
        self.stream.get_mut().set_read_timeout(Some(left)).unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
        Some(line.trim_end().to_owned())
    }
}

/// Opens so many connections, one after the other: how many each server had.
pub(crate) fn ask(to: &str, times: usize) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for _ in 0..times {
        *counted.entry(Connection::open(to).server).or_default() += 1;
    }
    counted
}
