//! Both ends of the connections: servers that say their name and then repeat what they hear, and a client that counts who
//! answered.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// The program is a server if this is its first word, and its name the second.
pub(crate) const SERVE: &str = "serve";

/// Where it listens; the second one is only for services that don't translate it.
const PORT: u16 = 80;

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
                let _ = connection.write_all(&bytes[..length]);
            }
        });
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
}

/// Opens so many connections, one after the other: how many each server had.
pub(crate) fn ask(to: &str, times: usize) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for _ in 0..times {
        *counted.entry(Connection::open(to).server).or_default() += 1;
    }
    counted
}
