//! A page is asked for: HTTP/1.1 as a client, RFC 9110 and RFC 9112.
//!
//! One request a connection. It is over as soon as the verdict is certain: with the status line if nothing is expected of
//! the page, and with the first 64 KiB of the page at the latest. A text that is expected ends it where it is found; a
//! pattern is held against all of that, so that it finds the same however the answer comes. Chunks are put together again.
//! No redirect is followed, no cookie kept, and nothing unpacked: the request asks for nothing packed.

use std::net::{IpAddr, SocketAddr};

use crate::config::{Page, StatusRange};

use super::expect::{Search, Wanted};
use super::lines::{Lines, TooLong};
use super::{Dialogue, SILENT_END, Step, Verdict, words};

/// A line of the header, and the line with a chunk's size.
const LINE: usize = 16 * 1024;

/// All lines of the headers, which may be several: RFC 9110, 15.2.
const HEADERS: usize = 64 * 1024;

/// So many lines of headers.
const LINES: usize = 500;

/// All that is listened to: the page may come in chunks of a byte each.
const HEARD: usize = 1 << 20;

/// What a status line begins with.
const BEGINNING: &[u8] = b"HTTP/1.";

/// What is asked, of whichever server, and what is well.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Before the host.
    head: String,
    host: Option<String>,
    /// After the host.
    tail: String,
    usual_port: u16,
    has_body: bool,
    status: Vec<StatusRange>,
    wanted: Wanted,
}

impl Asked {
    /// What is asked for a page, or why that cannot be asked.
    pub fn new(page: &Page, behind_tls: bool) -> Result<Self, String> {
        let Page { method, path, host, login, status, expect } = page;
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_word(method) {
            return Err(format!("{method:?} is no method of HTTP"));
        }
        if !is_word(path) || !(path.starts_with('/') || path == "*") {
            return Err(format!("{path:?} is no path: it begins with `/` and has no spaces"));
        }
        if let Some(host) = host.as_ref().filter(|host| !is_word(host)) {
            return Err(format!("{host:?} is no name of a host"));
        }
        let mut tail = format!(
            "User-Agent: systole/{}\r\nAccept: */*\r\nConnection: close\r\n",
            env!("CARGO_PKG_VERSION")
        );
        if let Some(login) = login {
            tail.push_str(&format!("Authorization: Basic {}\r\n", base64(login.as_bytes())));
        }
        if method == "POST" {
            tail.push_str("Content-Length: 0\r\n");
        }
        tail.push_str("\r\n");
        Ok(Self {
            head: format!("{method} {path} HTTP/1.1\r\nHost: "),
            host: host.clone(),
            tail,
            usual_port: if behind_tls { 443 } else { 80 },
            has_body: method != "HEAD",
            status: status.clone(),
            wanted: Wanted::new(expect)?,
        })
    }

    /// Asks the server there.
    pub fn of(&self, server: SocketAddr) -> Http {
        let host = self.host.clone().unwrap_or_else(|| match (server.ip(), server.port()) {
            (IpAddr::V4(address), port) if port == self.usual_port => address.to_string(),
            (IpAddr::V6(address), port) if port == self.usual_port => format!("[{address}]"),
            (IpAddr::V4(_) | IpAddr::V6(_), _) => server.to_string(),
        });
        Http {
            request: format!("{}{host}\r\n{}", self.head, self.tail).into_bytes(),
            status: self.status.clone(),
            has_body: self.has_body,
            search: Search::new(self.wanted.clone()),
            part: Part::Status,
            lines: Lines::default(),
            heard: 0,
            header: (0, 0),
            answer: String::new(),
            length: None,
            is_chunked: false,
        }
    }
}

/// Where in the answer the next byte belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Status,
    /// After a status line that is not the last one.
    Interim,
    Header,
    /// The page until the other side closes.
    Open,
    /// So much of the page is to come.
    Rest(u64),
    ChunkSize,
    /// So much of a chunk is to come.
    Chunk(u64),
    ChunkEnd,
}

/// One question and its answer.
#[derive(Clone, Debug)]
pub struct Http {
    request: Vec<u8>,
    status: Vec<StatusRange>,
    has_body: bool,
    search: Search,
    part: Part,
    lines: Lines,
    heard: usize,
    /// Bytes and lines of headers.
    header: (usize, usize),
    /// `200 OK`.
    answer: String,
    length: Option<u64>,
    is_chunked: bool,
}

impl Http {
    /// A line of what is not the page.
    fn line(&mut self, line: &[u8]) -> Result<(), Verdict> {
        match self.part {
            Part::Status => return self.status_line(line),
            Part::Interim if line.is_empty() => self.part = Part::Status,
            Part::Header if line.is_empty() => return self.page_begins(),
            Part::Header => self.field(line)?,
            Part::ChunkSize => self.chunk(line)?,
            Part::ChunkEnd if line.is_empty() => self.part = Part::ChunkSize,
            Part::ChunkEnd => return Err(garbage("where a chunk ends", line)),
            Part::Interim | Part::Open | Part::Rest(_) | Part::Chunk(_) => {}
        }
        Ok(())
    }

    fn status_line(&mut self, line: &[u8]) -> Result<(), Verdict> {
        let none = || Verdict::bad(format!("no HTTP: {}", words::seen(line)));
        let rest = line.strip_prefix(BEGINNING).ok_or_else(none)?;
        let [b'0'..=b'9', b' ', code @ ..] = rest else { return Err(none()) };
        let (code, reason) = code.split_at_checked(3).ok_or_else(none)?;
        let is_number =
            code.iter().all(u8::is_ascii_digit) && reason.first().is_none_or(|byte| *byte == b' ');
        let number = std::str::from_utf8(code).ok().and_then(|code| code.parse::<u16>().ok());
        let number = number.filter(|number| is_number && *number >= 100).ok_or_else(none)?;
        self.answer = words::told(rest.get(2..).unwrap_or_default()).trim_end().to_owned();
        let is_well = self.status.iter().any(|range| range.range().contains(&number));
        // RFC 9110, 15.2: any number of these come before the answer. 101 is one.
        if number < 200 && number != 101 {
            self.part = Part::Interim;
            return Ok(());
        }
        if !is_well {
            return Err(Verdict::bad(&self.answer));
        }
        if self.search.is_certain() {
            return Err(Verdict::well(&self.answer));
        }
        self.has_body &= !matches!(number, 101 | 204 | 304);
        self.part = Part::Header;
        Ok(())
    }

    /// A line of the header. Only what tells where the page ends matters.
    fn field(&mut self, line: &[u8]) -> Result<(), Verdict> {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let name = halves.next().unwrap_or_default();
        let Some(value) = halves.next().map(<[u8]>::trim_ascii) else {
            // Before RFC 7230 a line could go on in the next one.
            let goes_on = line.first().is_some_and(|byte| byte.is_ascii_whitespace());
            return if goes_on { Ok(()) } else { Err(garbage("in the header", line)) };
        };
        if name.eq_ignore_ascii_case(b"Transfer-Encoding") {
            let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
            self.is_chunked = last.eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case(b"Content-Length") {
            let number = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            if number.is_none() || self.length.is_some_and(|length| Some(length) != number) {
                return Err(garbage("as the length of the page", value));
            }
            self.length = number;
        }
        Ok(())
    }

    /// The header is over: RFC 9112, 6.3.
    fn page_begins(&mut self) -> Result<(), Verdict> {
        self.part = match (self.has_body, self.is_chunked, self.length) {
            (false, ..) | (true, false, Some(0)) => return Err(self.page_ends()),
            (true, true, _) => Part::ChunkSize,
            (true, false, Some(length)) => Part::Rest(length),
            (true, false, None) => Part::Open,
        };
        Ok(())
    }

    fn chunk(&mut self, line: &[u8]) -> Result<(), Verdict> {
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
        let number = std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
        match number.filter(|_| is_number) {
            None => Err(garbage("as the size of a chunk", line)),
            Some(0) => Err(self.page_ends()),
            Some(size) => {
                self.part = Part::Chunk(size);
                Ok(())
            }
        }
    }

    /// Some of the page.
    fn page(&mut self, rest: &mut &[u8]) -> Result<(), Verdict> {
        let (left, after) = match self.part {
            Part::Rest(left) => (left, None),
            Part::Chunk(left) => (left, Some(Part::ChunkEnd)),
            Part::Status | Part::Interim | Part::Header | Part::Open | Part::ChunkSize | Part::ChunkEnd => {
                (u64::MAX, None)
            }
        };
        let (mine, others) =
            rest.split_at(usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len())));
        *rest = others;
        self.search.take(mine);
        if self.search.is_certain() {
            return Err(Verdict::well(&self.answer));
        }
        let left = left - mine.len() as u64;
        let is_over = left == 0 && after.is_none();
        if is_over || self.search.is_full() {
            return Err(self.page_ends());
        }
        self.part = match self.part {
            Part::Rest(_) => Part::Rest(left),
            Part::Chunk(_) => after.filter(|_| left == 0).unwrap_or(Part::Chunk(left)),
            part @ (Part::Status
            | Part::Interim
            | Part::Header
            | Part::Open
            | Part::ChunkSize
            | Part::ChunkEnd) => part,
        };
        Ok(())
    }

    fn page_ends(&self) -> Verdict {
        if self.search.is_found() {
            return Verdict::well(&self.answer);
        }
        let first = if self.search.is_full() { "its first 64 KiB " } else { "" };
        Verdict::bad(format!("{}, {first}{}", self.answer, self.search.missing()))
    }

    /// Bounds what is not the page.
    fn next_line(&mut self, rest: &mut &[u8]) -> Result<(), Verdict> {
        let before = rest.len();
        let line = self.lines.next(rest, LINE);
        let begun = self.lines.begun();
        let same = begun.len().min(BEGINNING.len());
        if self.part == Part::Status && begun[..same] != BEGINNING[..same] {
            return Err(Verdict::bad(format!("no HTTP: {}", words::seen(begun))));
        }
        if matches!(self.part, Part::Status | Part::Interim | Part::Header) {
            self.header.0 += before - rest.len();
            self.header.1 += usize::from(matches!(line, Ok(Some(_))));
        }
        let said = if self.answer.is_empty() { String::new() } else { format!("{}, ", self.answer) };
        match line {
            Err(TooLong) => Err(Verdict::bad(format!("{said}a line of more than 16 KiB in the header"))),
            _ if self.header.0 > HEADERS => Err(Verdict::bad(format!("{said}a header of more than 64 KiB"))),
            _ if self.header.1 > LINES => Err(Verdict::bad(format!("{said}a header of more than 500 lines"))),
            Ok(Some(line)) => self.line(&line),
            Ok(None) => Ok(()),
        }
    }
}

impl Dialogue for Http {
    fn begin(&mut self) -> Step {
        Step::Say(std::mem::take(&mut self.request))
    }

    fn hear(&mut self, bytes: &[u8]) -> Step {
        let mut rest = bytes;
        while !rest.is_empty() {
            let before = rest.len();
            let outcome = match self.part {
                Part::Open | Part::Rest(_) | Part::Chunk(_) => self.page(&mut rest),
                Part::Status | Part::Interim | Part::Header | Part::ChunkSize | Part::ChunkEnd => {
                    self.next_line(&mut rest)
                }
            };
            self.heard += before - rest.len();
            match outcome {
                Err(verdict) => return Step::Done(verdict),
                Ok(()) if self.heard > HEARD => {
                    return Step::bad(format!("{}, more than 1 MiB around the page", self.answer));
                }
                Ok(()) => {}
            }
        }
        Step::More
    }

    fn end(&mut self) -> Verdict {
        match self.part {
            Part::Status if self.heard == 0 => Verdict::bad(SILENT_END),
            Part::Status | Part::Interim => Verdict::bad("closed in the middle of the status line"),
            Part::Header => Verdict::bad(format!("{}, closed in the middle of the header", self.answer)),
            Part::Open => self.page_ends(),
            Part::Rest(_) | Part::ChunkSize | Part::Chunk(_) | Part::ChunkEnd => {
                Verdict::bad(format!("{}, closed in the middle of the page", self.answer))
            }
        }
    }
}

fn garbage(place: &str, bytes: &[u8]) -> Verdict {
    Verdict::bad(format!("garbage {place}: {}", words::seen(bytes)))
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=three.len()].copy_from_slice(three);
        let word = u32::from_be_bytes(word);
        for place in 0..4 {
            let digit = DIGITS[usize::try_from(word >> (18 - 6 * place) & 63).unwrap_or_default()];
            text.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::trial;
    use super::*;
    use crate::config::Expect;

    fn page() -> Page {
        Page {
            method: "GET".into(),
            path: "/health?a=b".into(),
            host: None,
            login: None,
            status: vec![StatusRange(200, 299), StatusRange(302, 302)],
            expect: Expect::default(),
        }
    }

    fn expecting(text: Option<&str>, pattern: Option<&str>) -> Page {
        let expect = Expect { text: text.map(Into::into), pattern: pattern.map(Into::into) };
        Page { expect, ..page() }
    }

    fn http(page: &Page) -> Http {
        Asked::new(page, false).unwrap().of("192.0.2.7:80".parse().unwrap())
    }

    #[test]
    fn the_request_is_these_bytes() {
        let request = |page: &Page, tls, server: &str| {
            let asked = Asked::new(page, tls).unwrap().of(server.parse().unwrap());
            String::from_utf8(asked.request).unwrap()
        };
        let version = env!("CARGO_PKG_VERSION");
        let rest = format!("User-Agent: systole/{version}\r\nAccept: */*\r\nConnection: close\r\n");
        let head = "GET /health?a=b HTTP/1.1\r\nHost: ";
        assert_eq!(request(&page(), false, "192.0.2.7:80"), format!("{head}192.0.2.7\r\n{rest}\r\n"));
        assert_eq!(request(&page(), true, "192.0.2.7:80"), format!("{head}192.0.2.7:80\r\n{rest}\r\n"));
        assert_eq!(request(&page(), true, "[2001:db8::7]:443"), format!("{head}[2001:db8::7]\r\n{rest}\r\n"));
        assert_eq!(
            request(&page(), false, "[2001:db8::7]:81"),
            format!("{head}[2001:db8::7]:81\r\n{rest}\r\n")
        );
        let login = Some("Aladdin:open sesame".into());
        let post = Page { method: "POST".into(), host: Some("www.example.org".into()), login, ..page() };
        let said = request(&post, false, "192.0.2.7:80");
        assert!(said.starts_with("POST /health?a=b HTTP/1.1\r\nHost: www.example.org\r\n"), "{said}");
        assert!(
            said.contains("Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\nContent-Length: 0\r\n\r\n")
        );
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        let texts = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ];
        texts.iter().for_each(|(plain, coded)| assert_eq!(base64(plain.as_bytes()), *coded));
    }

    #[test]
    fn what_would_be_two_requests_is_refused() {
        for (method, path, host) in [
            ("GET\r\n", "/", "a"),
            ("GET", "/ HTTP/1.1\r\nX: y", "a"),
            ("GET", "/", "a\r\nX: y"),
            ("GET", "a", "a"),
        ] {
            let page = Page { method: method.into(), path: path.into(), host: Some(host.into()), ..page() };
            assert!(Asked::new(&page, false).is_err());
        }
        assert!(Asked::new(&expecting(None, Some("(")), false).is_err());
    }

    #[test]
    fn the_status_line_is_enough_where_nothing_is_expected() {
        let ask = || http(&page());
        assert_eq!(trial::well(ask, b"HTTP/1.1 200 OK\r\n"), "200 OK");
        assert_eq!(trial::well(ask, b"HTTP/1.0 302\nLocation: x\n"), "302");
        assert_eq!(
            trial::well(ask, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 \r\n\r\n"),
            "204"
        );
        assert_eq!(trial::bad(ask, b"HTTP/1.1 503 Service Unavailable\r\n\r\nx"), "503 Service Unavailable");
        assert_eq!(trial::bad(ask, b"HTTP/1.1 301 Moved\r\n"), "301 Moved");
        assert_eq!(trial::bad(ask, b"HTTP/1.1 200"), "closed in the middle of the status line");
        assert_eq!(trial::bad(ask, b""), "closed before an answer");
    }

    #[test]
    fn what_is_no_http_is_bad_at_its_first_wrong_byte() {
        let ask = || http(&page());
        assert_eq!(ask().hear(b"S"), Step::bad("no HTTP: \"S\""));
        for answer in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/2 200\r\n",
            "HTTP/1.1 20 OK\r\n",
            "HTTP/1.1 2000 OK\r\n",
            "HTTP/1.1 \r\n",
            "HTTP/1.1 099 a\r\n",
            "HTTP/1.1 +20 a\r\n",
            "HTTP/1.\r\n",
            "\r\n",
        ] {
            let (_, verdict) = trial::play(ask(), [answer.as_bytes()]);
            assert!(
                matches!(&verdict, Verdict::Bad(why) if why.starts_with("no HTTP: ")),
                "{answer:?}: {verdict:?}"
            );
        }
    }

    #[test]
    fn the_page_is_looked_through_however_it_is_framed() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n3;x=y\r\nwel\r\n004\r\ncome\r\n0\r\n\r\n";
        let length = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n welcome more";
        let open = b"HTTP/1.1 200 OK\r\nX: y\r\n continued\r\n\r\nwelcome";
        for answer in [&chunked[..], length, open] {
            assert_eq!(trial::well(|| http(&expecting(Some("welcome"), None)), answer), "200 OK");
            assert_eq!(
                trial::bad(|| http(&expecting(Some("gone"), None)), answer),
                "200 OK, without \"gone\""
            );
        }
        for answer in [&chunked[..], length] {
            assert_eq!(trial::well(|| http(&expecting(None, Some("we.*e"))), answer), "200 OK");
        }
        let late = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nwelcome";
        assert_eq!(
            trial::bad(|| http(&expecting(Some("welcome"), None)), late),
            "200 OK, without \"welcome\""
        );
        // One that ends with what ends the page is found only there.
        let (_, verdict) =
            trial::play(http(&expecting(None, Some("^wel$"))), [&open[..open.len() - 4], b"come"]);
        assert!(!verdict.is_well());
    }

    #[test]
    fn an_answer_without_a_page_is_not_waited_for() {
        let head = Page { method: "HEAD".into(), ..expecting(Some("a"), None) };
        for (page, answer) in [
            (&head, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
            (&expecting(Some("a"), None), "HTTP/1.1 204 No Content\r\n\r\n"),
            (&expecting(Some("a"), None), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ] {
            let mut ask = http(page);
            assert!(matches!(ask.hear(answer.as_bytes()), Step::Done(Verdict::Bad(_))), "{answer:?}");
        }
    }

    #[test]
    fn a_page_that_is_cut_off_and_garbage_in_the_frame_are_told() {
        let ask = || http(&expecting(Some("welcome"), None));
        for (rest, why) in [
            ("Content-Length: 9\r\n\r\nwel", "200 OK, closed in the middle of the page"),
            ("Transfer-Encoding: chunked\r\n\r\n9\r\nwel", "200 OK, closed in the middle of the page"),
            ("Content-Le", "200 OK, closed in the middle of the header"),
            ("Content-Length: -1\r\n\r\n", "garbage as the length of the page: \"-1\""),
            ("Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "garbage as the length of the page: \"2\""),
            ("Transfer-Encoding: chunked\r\n\r\n+1\r\n", "garbage as the size of a chunk: \"+1\""),
            ("Transfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n", "garbage where a chunk ends: \"yz\""),
            ("no colon\r\n", "garbage in the header: \"no colon\""),
        ] {
            assert_eq!(trial::bad(ask, format!("HTTP/1.1 200 OK\r\n{rest}").as_bytes()), why);
        }
    }

    #[test]
    fn what_never_ends_is_bad() {
        let ask = || http(&expecting(Some("welcome"), Some("x")));
        let begins = b"HTTP/1.1 200 OK\r\n";
        assert!(trial::bad_for_ever(ask(), b"HTTP/1.1 200 ", b"x").contains("a line of more than 16 KiB"));
        assert!(trial::bad_for_ever(ask(), begins, b"x").contains("a line of more than 16 KiB"));
        assert!(trial::bad_for_ever(ask(), begins, b"X: yyyyyyyyy\r\n").contains("more than 500 lines"));
        assert!(trial::bad_for_ever(ask(), begins, &[b'X'; 8_000].map(|b| b)).contains("more than 16 KiB"));
        let long = [b"X: ".as_slice(), &[b'y'; 9_000], b"\r\n"].concat();
        assert!(trial::bad_for_ever(ask(), begins, &long).contains("more than 64 KiB"));
        let early = b"HTTP/1.1 100 Continue\r\n\r\n";
        assert!(trial::bad_for_ever(ask(), early, early).contains("more than 500 lines"));
        let body = [&begins[..], b"\r\n"].concat();
        assert!(
            trial::bad_for_ever(ask(), &body, &[b'x'; 5_000])
                .contains("its first 64 KiB without \"welcome\"")
        );
        let chunked = [&begins[..], b"Transfer-Encoding: chunked\r\n\r\n"].concat();
        let padded = [b"1;".as_slice(), &[b'y'; 9_000], b"\r\nx\r\n"].concat();
        assert!(trial::bad_for_ever(ask(), &chunked, &padded).contains("more than 1 MiB around the page"));
        assert!(trial::bad_for_ever(ask(), &chunked, b"ffffffffffffffff\r\n").contains("its first 64 KiB"));
    }

    #[test]
    fn garbage_leads_to_a_verdict() {
        let seeds: [&[u8]; 3] = [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwel\r\n4\r\ncome\r\n0\r\n\r\n",
            b"HTTP/1.1 100 a\r\n\r\nHTTP/1.0 200 b\r\nContent-Length: 7\r\n\r\nwelcome",
            b"HTTP/1.1 200 OK\r\n\r\nwelcome",
        ];
        trial::survives_garbage(|| http(&expecting(Some("welcome"), Some("[a-z]+"))), &seeds);
    }
}
