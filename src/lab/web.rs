//! A small web server that says which machine it is, and a client that fetches its page. RFC 9112, the least of it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use super::network::Machine;
use super::space::{Stop, Work};
use super::{LabError, clock};
use crate::time::Span;

const PORT: u16 = 80;
/// So often the server looks whether it shall stop.
const LOOK: Span = Span::millis(20);
/// A client that says nothing for so long is let go.
const PATIENCE: Duration = Duration::from_millis(500);
/// More of a request or a page is not read.
const LONGEST: u64 = 4_096;

impl Machine {
    /// Serves one page at every address that it has or gets: its name.
    pub fn serve(&self) -> Result<Work<()>, LabError> {
        let name = self.name.clone();
        // One socket for both families.
        let open = || {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener = self.space.run(open).map_err(LabError::machine("open the socket of a web server"))?;
        self.space.work("lab-web", move |stop| serve(&listener, &name, stop))
    }
}

fn serve(listener: &TcpListener, name: &str, stop: &Stop) {
    while !stop.is_set() {
        clock::readable(&[listener.as_fd()], LOOK);
        while let Ok((mut stream, _)) = listener.accept() {
            // Whoever went away meanwhile wants no page.
            let _ = answer(&mut stream, name);
        }
    }
}

fn answer(stream: &mut TcpStream, name: &str) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut bytes = [0; 512];
        let length = stream.read(&mut bytes)?;
        request.extend_from_slice(bytes.get(..length).unwrap_or_default());
        if length == 0 || request.len() as u64 > LONGEST {
            return Ok(());
        }
    }
    let length = name.len() + 1;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n{name}\n").as_bytes())
}

/// Fetches the page from an address, in the namespace of the calling thread, and takes so long at most for each step.
/// Which machine served it, and how long that took.
pub fn fetch(address: IpAddr, at_most: Duration) -> io::Result<(String, Span)> {
    let began = clock::now();
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, PORT), at_most)?;
    stream.set_read_timeout(Some(at_most))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    stream.take(LONGEST).read_to_string(&mut page)?;
    let body = page.split_once("\r\n\r\n").filter(|(head, _)| head.starts_with("HTTP/1.1 200 "));
    let name = body.map(|(_, body)| body.trim_end().to_owned());
    Ok((name.ok_or(io::ErrorKind::InvalidData)?, clock::now() - began))
}
