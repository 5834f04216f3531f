//! What runs on each node, and who asks for it: each connection is told the name of the node that has it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use systole::lab::{Space, Stop, Work};

/// What is asked for.
pub(crate) const PORT: u16 = 80;
/// Of the responders of the lab.
pub(crate) const ECHO: u16 = 7;
/// Longer than anything takes, on any machine; a packet that is lost is sent again within it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Says the node's name on each connection, and again for each byte that comes.
pub(crate) fn serve(space: &Space, name: &str) -> Work<()> {
    let name = name.to_owned();
    space.work("service", move |stop| serve_all(&name, stop)).unwrap()
}

fn serve_all(name: &str, stop: &Stop) {
    let wildcards = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let listeners = wildcards.map(listen);
    let mut open: Vec<TcpStream> = Vec::new();
    while !stop.is_set() {
        let all = listeners.iter().map(AsFd::as_fd).chain(open.iter().map(AsFd::as_fd));
        let mut fds: Vec<PollFd<'_>> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let _ = poll(&mut fds, PollTimeout::from(20_u8));
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        let mut place = listeners.len();
        open.retain_mut(|stream| {
            place += 1;
            !ready[place - 1] || answer(stream, name)
        });
        for listener in &listeners {
            while let Ok((mut stream, _)) = listener.accept() {
                stream.set_nonblocking(true).unwrap();
                // Who has gone already hears nothing.
                if stream.write_all(format!("{name}\n").as_bytes()).is_ok() {
                    open.push(stream);
                }
            }
        }
    }
}

fn listen(wildcard: IpAddr) -> TcpListener {
    let domain = if wildcard.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).unwrap();
    if wildcard.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    socket.set_nonblocking(true).unwrap();
    socket.bind(&SocketAddr::new(wildcard, PORT).into()).unwrap();
    socket.listen(1_024).unwrap();
    socket.into()
}

/// Whether the connection goes on.
fn answer(stream: &mut TcpStream, name: &str) -> bool {
    let mut bytes = [0; 64];
    match stream.read(&mut bytes) {
        Ok(0) => false,
        Ok(_) => stream.write_all(format!("{name}\n").as_bytes()).is_ok(),
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// Whether packets would leave from here to there.
pub(crate) fn has_way(from: IpAddr, to: IpAddr) -> bool {
    let socket = std::net::UdpSocket::bind(SocketAddr::new(from, 0));
    socket.and_then(|socket| socket.connect(SocketAddr::new(to, PORT))).is_ok()
}

/// A connection of the client's.
pub(crate) struct Connection {
    stream: TcpStream,
    pub(crate) from: SocketAddr,
    pub(crate) node: String,
}

impl Connection {
    /// From this address and port to the service; in the client's namespace.
    pub(crate) fn open(from: SocketAddr, to: IpAddr) -> io::Result<Self> {
        let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())?;
        // Closed, it leaves nothing behind that would hold the port.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.connect_timeout(&SocketAddr::new(to, PORT).into(), PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut stream: TcpStream = socket.into();
        let node = line(&mut stream)?;
        Ok(Self { stream, from, node })
    }

    /// Whether the same node answers still.
    pub(crate) fn asks_again(&mut self) -> io::Result<bool> {
        self.stream.write_all(b"?")?;
        Ok(line(&mut self.stream)? == self.node)
    }
}

fn line(stream: &mut TcpStream) -> io::Result<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 {
        if byte == *b"\n" {
            return String::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData.into());
        }
        text.extend_from_slice(&byte);
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// The nodes that answer a datagram from each of these, at the same time; what comes twice is there twice.
pub(crate) fn ask_all(from: &[SocketAddr], to: IpAddr) -> BTreeMap<SocketAddr, Vec<String>> {
    let sockets: Vec<Socket> = from.iter().map(|from| datagrams(*from)).collect();
    let mut heard: BTreeMap<SocketAddr, Vec<String>> = from.iter().map(|from| (*from, Vec::new())).collect();
    // Whatever answers a second time has had the time of a whole round for it: each is asked once more.
    for question in [b"question", b"another!"] {
        for socket in &sockets {
            socket.send_to(question, &SocketAddr::new(to, ECHO).into()).unwrap();
        }
        for (socket, from) in sockets.iter().zip(from) {
            heard.get_mut(from).unwrap().extend(answered(socket));
        }
    }
    for (socket, from) in sockets.iter().zip(from) {
        socket.set_nonblocking(true).unwrap();
        heard.get_mut(from).unwrap().extend(std::iter::from_fn(|| answered(socket)));
    }
    heard
}

/// Who answers a question that does not fit into one frame.
pub(crate) fn ask_at_length(from: SocketAddr, to: IpAddr) -> Option<String> {
    let socket = datagrams(from);
    socket.send_to(&[7; 4_000], &SocketAddr::new(to, ECHO).into()).unwrap();
    answered(&socket)
}

fn datagrams(from: SocketAddr) -> Socket {
    let domain = if from.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).unwrap();
    socket.bind(&from.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    setsockopt(&socket, sockopt::RcvBuf, &4_096).unwrap();
    socket
}

/// The name behind the eight bytes that come back.
fn answered(mut socket: &Socket) -> Option<String> {
    let mut bytes = [0; 64];
    let length = socket.read(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes[8..length]).into_owned())
}
