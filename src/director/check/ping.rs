//! Pings: one socket a family for all checks, however many there are.
//!
//! Answers are handed to whoever waits for them by their numbers; one that nobody waits for any more is dropped.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::net::ping::Pings;

/// After so many questions it is looked for answers.
const AT_ONCE: u64 = 32;

/// Who waits, by the number of the ping.
type Waiting = Arc<Mutex<BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>>>;

/// Pings for all checks of one runtime.
#[derive(Debug)]
pub struct Pinger {
    token: u64,
    next: AtomicU64,
    v4: Mutex<Option<Arc<Line>>>,
    v6: Mutex<Option<Arc<Line>>>,
}

/// The socket of a family, and who waits for what it hears.
#[derive(Debug)]
struct Line {
    pings: Arc<Pings>,
    waiting: Waiting,
    reader: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Pinger {
    /// Nothing is open before the first ping. The token is chance.
    pub fn new(token: u64) -> Self {
        Self { token, next: AtomicU64::new(1), v4: Mutex::default(), v6: Mutex::default() }
    }

    /// Comes back when the target has answered: never, if it does not.
    pub async fn ping(&self, to: IpAddr, from: Option<IpAddr>) -> io::Result<()> {
        let line = self.line(to.is_ipv6())?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, answered) = oneshot::channel();
        let _entry = Entry::new(&line.waiting, number, to, tell);
        line.pings.ask(number, to, from)?;
        if number.is_multiple_of(AT_ONCE) {
            // Many are asked before the reader has its turn: what has come makes room for what will.
            for _ in 0..AT_ONCE {
                let Ok(heard) = line.pings.read() else { break };
                tell_whoever_waits(&line.waiting, heard);
            }
        }
        answered.await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn line(&self, is_v6: bool) -> io::Result<Arc<Line>> {
        let line = if is_v6 { &self.v6 } else { &self.v4 };
        let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = line.as_ref() {
            return Ok(Arc::clone(line));
        }
        let pings = Arc::new(Pings::open(is_v6, self.token)?);
        let waiting = Waiting::default();
        let reader = tokio::spawn(listen(Arc::clone(&pings), Arc::clone(&waiting)));
        let opened = Arc::new(Line { pings, waiting, reader });
        *line = Some(Arc::clone(&opened));
        Ok(opened)
    }
}

/// Hands answers over for as long as the pinger lives.
async fn listen(pings: Arc<Pings>, waiting: Waiting) {
    loop {
        match pings.hear().await {
            Ok(heard) => tell_whoever_waits(&waiting, heard),
            // What an interface left behind as it went down: reading it has cleared it.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

fn tell_whoever_waits(waiting: &Waiting, heard: Option<(IpAddr, u64)>) {
    let Some((from, number)) = heard else { return };
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    // Only he whom it asked can answer it.
    if waiting.get(&number).is_some_and(|(to, _)| *to == from)
        && let Some((_, tell)) = waiting.remove(&number)
    {
        // Whoever waited may just have given up.
        let _ = tell.send(());
    }
}

/// Somebody waits, until this is dropped.
struct Entry<'a> {
    waiting: &'a Waiting,
    number: u64,
}

impl<'a> Entry<'a> {
    fn new(waiting: &'a Waiting, number: u64, to: IpAddr, tell: oneshot::Sender<()>) -> Self {
        waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(number, (to, tell));
        Self { waiting, number }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}
