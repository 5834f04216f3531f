//! The servers: one thread that answers at every address, and writes down when it was asked where.
//!
//! It has real-time priority, and all connections that wait have room: what it writes down is when a check came, and not
//! when this machine had time for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use systole::lab::{Space, Stop, Work, clock};
use systole::net::sys;
use systole::time::Span;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// Of the thread.
const PRIORITY: i32 = 20;
/// Connections that wait: more than are begun at once.
const WAITING: u32 = 65_535;
/// So often it looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(20);
/// A client that says nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is answered to whoever asks for a page.
const PAGE: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 8\r\nConnection: close\r\n\r\nwelcome\n";

/// When somebody connected, by where.
pub(crate) type Came = BTreeMap<SocketAddr, Vec<Span>>;

/// Whoever answers.
pub(crate) struct Servers {
    came: Arc<Mutex<Came>>,
    _work: Work<()>,
}

impl Servers {
    /// Listens on these ports of each address.
    pub(crate) fn start(far: &Space, ports: &[u16]) -> Self {
        let ports = ports.to_vec();
        let (ready, is_ready): (_, Receiver<()>) = mpsc::channel();
        let came = Arc::new(Mutex::new(Came::new()));
        let notes = Arc::clone(&came);
        let work = far
            .work("servers", move |stop| {
                sys::real_time(PRIORITY).unwrap();
                let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(serve(&ports, &notes, stop, || ready.send(()).unwrap()));
            })
            .unwrap();
        is_ready.recv().unwrap();
        Self { came, _work: work }
    }

    /// How often each of so many was asked at least.
    pub(crate) fn least(&self, servers: usize) -> usize {
        let came = self.came.lock().unwrap();
        if came.len() < servers { 0 } else { came.values().map(Vec::len).min().unwrap_or(0) }
    }

    /// What was before does not count.
    pub(crate) fn forget(&self) {
        self.came.lock().unwrap().clear();
    }

    /// Who came until now.
    pub(crate) fn finish(self) -> Came {
        std::mem::take(&mut *self.came.lock().unwrap())
    }
}

async fn serve(ports: &[u16], notes: &Arc<Mutex<Came>>, stop: &Stop, ready: impl FnOnce()) {
    let mut listeners = JoinSet::new();
    for port in ports {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(SocketAddr::from(([0, 0, 0, 0], *port))).unwrap();
        listeners.spawn(listen(socket.listen(WAITING).unwrap(), Arc::clone(notes)));
    }
    ready();
    while !stop.is_set() {
        tokio::time::sleep(LOOK).await;
    }
}

async fn listen(listener: TcpListener, notes: Arc<Mutex<Came>>) {
    loop {
        // Who has gone already has come all the same.
        let Ok((stream, _)) = listener.accept().await else { continue };
        if let Ok(at) = stream.local_addr() {
            let now = clock::now();
            notes.lock().unwrap().entry(at).or_default().push(now);
        }
        tokio::spawn(tokio::time::timeout(PATIENCE, answer(stream)));
    }
}

/// A page to whoever asks for one; whoever says nothing is waited for until he goes.
async fn answer(mut stream: TcpStream) {
    let mut heard = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        heard.extend_from_slice(buffer.get(..length).unwrap_or_default());
        if heard.ends_with(b"\r\n\r\n") {
            let _ = stream.write_all(PAGE).await;
            let _ = stream.shutdown().await;
            return;
        }
    }
}
