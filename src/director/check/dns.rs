//! A name is asked for: one question in a datagram, RFC 1035; for SRV RFC 2782, for AAAA RFC 3596.
//!
//! An answer is a stranger's: every length in it is checked, and a pointer leads only to what stands before it, so that none
//! leads round in a circle. What has another number, or answers another question, is no answer to us, and is waited past.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::DnsRecord;

use super::Verdict;

/// A name, with its lengths: RFC 1035, 2.3.4.
const NAME: usize = 255;

/// A label.
const LABEL: usize = 63;

/// What stands before the question: RFC 1035, 4.1.1.
const HEADER: usize = 12;

/// Of the class Internet.
const INTERNET: u16 = 1;

/// So many records are told of.
const TOLD: usize = 3;

/// What is asked, and what must be answered.
#[derive(Clone, Debug)]
pub struct Question {
    /// The name, the type and the class, as they are sent and come back.
    asked: Vec<u8>,
    record: DnsRecord,
    answer: Option<String>,
}

impl Question {
    /// A question for a name, or why that is none.
    pub fn new(name: &str, record: DnsRecord, answer: Option<&str>) -> Result<Self, String> {
        let mut asked = Vec::new();
        for label in name.strip_suffix('.').unwrap_or(name).split('.').filter(|_| name != ".") {
            let length =
                u8::try_from(label.len()).ok().filter(|length| (1..=LABEL).contains(&usize::from(*length)));
            let length = length.filter(|_| label.bytes().all(|byte| byte.is_ascii_graphic()));
            asked.push(
                length
                    .ok_or_else(|| format!("{name:?} is no name of the DNS: {label:?} is no part of one"))?,
            );
            asked.extend_from_slice(label.as_bytes());
        }
        asked.push(0);
        if asked.len() > NAME {
            return Err(format!("{name:?} is no name of the DNS: it is longer than {NAME} bytes"));
        }
        asked.extend_from_slice(&number(record).to_be_bytes());
        asked.extend_from_slice(&INTERNET.to_be_bytes());
        let answer = answer.map(|answer| wanted(record, answer)).transpose()?;
        Ok(Self { asked, record, answer })
    }

    /// The datagram, with a number that nobody can guess.
    pub fn datagram(&self, id: u16) -> Vec<u8> {
        // Recursion is desired, as resolvers do it; a server that has the zone does not mind.
        let [a, b] = id.to_be_bytes();
        [&[a, b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], self.asked.as_slice()].concat()
    }

    /// What a datagram means; `None`: it is no answer to this question.
    pub fn judge(&self, id: u16, datagram: &[u8]) -> Option<Verdict> {
        let flags = half(datagram, 2)?;
        let (is_answer, is_cut, code) = (flags & 0x8000 != 0, flags & 0x200 != 0, flags & 0xf);
        if half(datagram, 0)? != id || !is_answer {
            return None;
        }
        let (questions, answers) = (half(datagram, 4)?, half(datagram, 6)?);
        let body = datagram.get(HEADER..)?;
        let same = body.get(..self.asked.len()).is_some_and(|asked| asked.eq_ignore_ascii_case(&self.asked));
        match (questions, code) {
            // Whoever does not understand a question need not repeat it.
            (0, 1..) => {}
            (1, _) if same => {}
            _ => return None,
        }
        if code != 0 {
            return Some(Verdict::bad(error(code)));
        }
        let records = self.records(datagram, answers);
        Some(match records {
            None => Verdict::bad(format!("garbage among its {answers} records")),
            Some(records) => self.found(&records, is_cut),
        })
    }

    /// What the records of the type that was asked for say; `None`: they cannot be read.
    fn records(&self, datagram: &[u8], count: u16) -> Option<Vec<Vec<String>>> {
        let mut at = HEADER + self.asked.len();
        let mut found = Vec::new();
        for _ in 0..count {
            at = after_name(datagram, at)?;
            let (kind, class, length) =
                (half(datagram, at)?, half(datagram, at + 2)?, half(datagram, at + 8)?);
            at += 10;
            let end = at + usize::from(length);
            datagram.get(at..end)?;
            if kind == number(self.record) && class == INTERNET {
                found.push(said(self.record, datagram, at, end)?);
            }
            at = end;
        }
        Some(found)
    }

    fn found(&self, records: &[Vec<String>], is_cut: bool) -> Verdict {
        let mut told = String::new();
        for record in records.iter().take(TOLD) {
            let _ = write!(
                told,
                "{}{}",
                if told.is_empty() { "" } else { ", " },
                record.first().map_or("", |it| it)
            );
        }
        if records.len() > TOLD {
            let _ = write!(told, " and {} more", records.len() - TOLD);
        }
        let none = if is_cut { "an answer that was cut off" } else { "no records" };
        match &self.answer {
            None if records.is_empty() => Verdict::well(none),
            None => Verdict::well(told),
            Some(wanted) if records.iter().flatten().any(|said| said == wanted) => Verdict::well(wanted),
            Some(wanted) if records.is_empty() => Verdict::bad(format!("{none} instead of {wanted}")),
            Some(wanted) => {
                let cut = if is_cut { ", and more was cut off" } else { "" };
                Verdict::bad(format!("{told} instead of {wanted}{cut}"))
            }
        }
    }
}

/// As records are written when they are compared.
fn wanted(record: DnsRecord, answer: &str) -> Result<String, String> {
    let none = |what: &str| format!("{answer:?} is no {what}, which this record holds");
    match record {
        DnsRecord::A => {
            answer.parse::<Ipv4Addr>().map(|a| a.to_string()).map_err(|_| none("address of IPv4"))
        }
        DnsRecord::Aaaa => {
            answer.parse::<Ipv6Addr>().map(|a| a.to_string()).map_err(|_| none("address of IPv6"))
        }
        DnsRecord::Txt => Ok(escaped(answer.as_bytes())),
        DnsRecord::Cname
        | DnsRecord::Mx
        | DnsRecord::Ns
        | DnsRecord::Ptr
        | DnsRecord::Soa
        | DnsRecord::Srv => {
            let text = answer.to_ascii_lowercase();
            Ok(text.strip_suffix('.').filter(|rest| !rest.is_empty()).unwrap_or(&text).to_owned())
        }
    }
}

/// The number of a type.
fn number(record: DnsRecord) -> u16 {
    match record {
        DnsRecord::A => 1,
        DnsRecord::Ns => 2,
        DnsRecord::Cname => 5,
        DnsRecord::Soa => 6,
        DnsRecord::Ptr => 12,
        DnsRecord::Mx => 15,
        DnsRecord::Txt => 16,
        DnsRecord::Aaaa => 28,
        DnsRecord::Srv => 33,
    }
}

/// RFC 1035, 4.1.1, and RFC 6895, 2.3.
fn error(code: u16) -> String {
    match code {
        1 => "FORMERR: it does not understand the question".to_owned(),
        2 => "SERVFAIL: it cannot answer".to_owned(),
        3 => "NXDOMAIN: there is no such name".to_owned(),
        4 => "NOTIMP: it does not answer such questions".to_owned(),
        5 => "REFUSED: it does not answer us".to_owned(),
        9 => "NOTAUTH: it does not serve this name".to_owned(),
        code => format!("error {code}"),
    }
}

/// What a record says, in each form in which one may expect it; the first is shown.
fn said(record: DnsRecord, datagram: &[u8], at: usize, end: usize) -> Option<Vec<String>> {
    let data = datagram.get(at..end)?;
    let name_at = |from: usize| name(datagram, from).filter(|(_, after)| *after <= end).map(|(name, _)| name);
    Some(match record {
        DnsRecord::A => vec![IpAddr::from(<[u8; 4]>::try_from(data).ok()?).to_string()],
        DnsRecord::Aaaa => vec![IpAddr::from(<[u8; 16]>::try_from(data).ok()?).to_string()],
        DnsRecord::Cname | DnsRecord::Ns | DnsRecord::Ptr | DnsRecord::Soa => vec![name_at(at)?],
        DnsRecord::Mx => {
            let host = name_at(at + 2)?;
            vec![format!("{} {host}", half(datagram, at)?), host]
        }
        DnsRecord::Srv => {
            let target = name_at(at + 6)?;
            let (priority, weight, port) = (half(data, 0)?, half(data, 2)?, half(data, 4)?);
            vec![format!("{priority} {weight} {port} {target}"), format!("{target}:{port}"), target]
        }
        DnsRecord::Txt => {
            let (mut text, mut rest) = (Vec::new(), data);
            while let Some((length, after)) = rest.split_first() {
                let (part, after) = after.split_at_checked(usize::from(*length))?;
                text.extend_from_slice(part);
                rest = after;
            }
            vec![escaped(&text)]
        }
    })
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*two))
}

/// Where a name ends, without looking where its pointer leads.
fn after_name(datagram: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *datagram.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return Some(at + 2),
            // There are no such labels: RFC 6891, 5.
            64..=191 => return None,
        }
    }
}

/// A name in small letters and without its last dot, and where it ends.
fn name(datagram: &[u8], mut at: usize) -> Option<(String, usize)> {
    let after = after_name(datagram, at)?;
    let (mut text, mut length) = (String::new(), 0);
    // Each run of labels begins before the last one began.
    let mut begin = at;
    loop {
        match *datagram.get(at)? {
            0 => break,
            label @ 1..=63 => {
                let bytes = datagram.get(at + 1..at + 1 + usize::from(label))?;
                length += 1 + bytes.len();
                if length >= NAME {
                    return None;
                }
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&escaped(&bytes.to_ascii_lowercase()));
                at += 1 + bytes.len();
            }
            0xc0.. => {
                let to = usize::from(half(datagram, at)? & 0x3fff);
                if to >= begin {
                    return None;
                }
                (at, begin) = (to, to);
            }
            64..=191 => return None,
        }
    }
    if text.is_empty() {
        text.push('.');
    }
    Some((text, after))
}

/// Bytes that are no visible characters are written as zones write them: RFC 1035, 5.1.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b' '..=b'~' => text.push(char::from(*byte)),
            byte => {
                let _ = write!(text, "\\{byte:03}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u16 = 0x1234;

    fn question(record: DnsRecord, answer: Option<&str>) -> Question {
        Question::new("www.example.org", record, answer).unwrap()
    }

    /// An answer to a question, with these records: their type and their data, which may point to the name at 12.
    fn answer(question: &Question, flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut datagram = question.datagram(ID);
        datagram[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
        datagram[7] = u8::try_from(records.len()).unwrap();
        for (kind, data) in records {
            datagram.extend_from_slice(&[0xc0, 12]);
            datagram.extend_from_slice(&kind.to_be_bytes());
            datagram.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
            datagram.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
            datagram.extend_from_slice(data);
        }
        datagram
    }

    #[test]
    fn the_question_is_these_bytes() {
        let expected = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03org\0\0\x1c\0\x01";
        assert_eq!(question(DnsRecord::Aaaa, None).datagram(ID), expected);
        let root = Question::new(".", DnsRecord::Soa, None).unwrap();
        assert_eq!(root.datagram(ID)[12..], [0, 0, 6, 0, 1]);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = ["a".repeat(60).as_str(); 5].join(".");
        for name in ["", "a..b", ".a", "a b", "a.b..", &"a".repeat(64), &long] {
            assert!(Question::new(name, DnsRecord::A, None).is_err(), "{name:?}");
        }
        assert!(Question::new("a", DnsRecord::A, Some("2001:db8::1")).is_err());
    }

    #[test]
    fn each_type_is_compared_in_its_own_form() {
        let soa = [b"\x02ns\xc0\x10\x04root\xc0\x10".as_slice(), &[0; 20]].concat();
        for (record, kind, data, forms) in [
            (DnsRecord::A, 1, &[192, 0, 2, 1][..], &["192.0.2.1"][..]),
            (
                DnsRecord::Aaaa,
                28,
                &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
                &["2001:0db8::0001"],
            ),
            (DnsRecord::Cname, 5, b"\x03Web\xc0\x10", &["web.example.org", "WEB.EXAMPLE.ORG."]),
            (DnsRecord::Ns, 2, b"\x02ns\x03net\0", &["ns.net"]),
            (DnsRecord::Ptr, 12, b"\xc0\x0c", &["www.example.org"]),
            (DnsRecord::Mx, 15, b"\0\x0a\x02mx\xc0\x10", &["10 mx.example.org", "mx.example.org."]),
            (DnsRecord::Soa, 6, &soa, &["ns.example.org"]),
            (
                DnsRecord::Srv,
                33,
                b"\0\x01\0\x02\x14\x66\x03sip\xc0\x10",
                &["1 2 5222 sip.example.org", "sip.example.org:5222"],
            ),
            (DnsRecord::Txt, 16, b"\x05v=ok \x03a\"\xff", &["v=ok a\"\\255"]),
        ] {
            let any = question(record, None);
            let datagram = answer(&any, 0, &[(99, b"other"), (kind, data)]);
            assert!(any.judge(ID, &datagram).unwrap().is_well(), "{record:?}");
            for form in forms {
                // What cannot be written in a configuration is tried in its raw form.
                let mut one = question(record, Some(if form.contains('\\') { "x" } else { form }));
                one.answer = if form.contains('\\') { Some((*form).to_owned()) } else { one.answer };
                assert!(one.judge(ID, &datagram).unwrap().is_well(), "{record:?} {form}");
            }
            let other = question(
                record,
                Some(if kind == 1 {
                    "192.0.2.9"
                } else if kind == 28 {
                    "::9"
                } else {
                    "no.such"
                }),
            );
            let verdict = other.judge(ID, &datagram).unwrap();
            assert!(matches!(&verdict, Verdict::Bad(why) if why.contains(" instead of ")), "{verdict:?}");
        }
    }

    #[test]
    fn errors_have_their_names() {
        let asked = question(DnsRecord::A, None);
        for (code, why) in [(2, "SERVFAIL"), (3, "NXDOMAIN"), (5, "REFUSED"), (11, "error 11")] {
            let verdict = asked.judge(ID, &answer(&asked, code, &[])).unwrap();
            assert!(matches!(&verdict, Verdict::Bad(said) if said.starts_with(why)), "{verdict:?}");
        }
        assert_eq!(asked.judge(ID, &answer(&asked, 0, &[])), Some(Verdict::well("no records")));
        let mut bare = vec![0x12, 0x34, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(asked.judge(ID, &bare).is_some_and(|verdict| !verdict.is_well()));
        bare[3] = 0;
        assert_eq!(asked.judge(ID, &bare), None, "no error, and no question either");
    }

    #[test]
    fn what_answers_something_else_is_no_answer() {
        let asked = question(DnsRecord::A, None);
        let good = answer(&asked, 0, &[(1, &[192, 0, 2, 1])]);
        assert_eq!(asked.judge(ID + 1, &good), None);
        assert_eq!(question(DnsRecord::Aaaa, None).judge(ID, &good), None);
        assert_eq!(asked.judge(ID, &asked.datagram(ID)), None, "our own question");
        assert_eq!(asked.judge(ID, b"garbage"), None);
        let mut small = good.clone();
        small[13..16].copy_from_slice(b"WwW");
        assert!(asked.judge(ID, &small).unwrap().is_well());
    }

    #[test]
    fn what_was_cut_off_is_told() {
        let asked = question(DnsRecord::A, Some("192.0.2.9"));
        let verdict = |records: &[(u16, &[u8])]| asked.judge(ID, &answer(&asked, 0x200, records)).unwrap();
        assert_eq!(verdict(&[]), Verdict::bad("an answer that was cut off instead of 192.0.2.9"));
        let cut = Verdict::bad("192.0.2.1 instead of 192.0.2.9, and more was cut off");
        assert_eq!(verdict(&[(1, &[192, 0, 2, 1])]), cut);
    }

    #[test]
    fn a_pointer_leads_only_back() {
        let asked = question(DnsRecord::Cname, None);
        let data_at = HEADER + asked.asked.len() + 12;
        let to_itself = [0xc0, u8::try_from(data_at).unwrap()];
        let ahead = [0xc0, 0xff];
        let in_a_ring = [1, b'a', 0xc0, u8::try_from(data_at).unwrap()];
        for data in [&to_itself[..], &ahead, &in_a_ring, &[0x40, 0], &[0xc0]] {
            let verdict = asked.judge(ID, &answer(&asked, 0, &[(5, data)])).unwrap();
            assert_eq!(verdict, Verdict::bad("garbage among its 1 records"), "{data:?}");
        }
    }

    #[test]
    fn a_name_of_any_length_is_bounded() {
        let asked = question(DnsRecord::Cname, None);
        let long: Vec<u8> =
            std::iter::repeat_n([&[63][..], &[b'a'; 63]].concat(), 4).flatten().chain([0]).collect();
        let verdict = asked.judge(ID, &answer(&asked, 0, &[(5, &long)])).unwrap();
        assert!(!verdict.is_well());
    }

    #[test]
    fn an_answer_cut_at_any_byte_and_any_garbage_is_read_without_a_panic() {
        let asked = question(DnsRecord::Mx, Some("mx.example.org"));
        let good = answer(&asked, 0, &[(15, b"\0\x0a\x02mx\xc0\x10"), (15, b"\0\x0a\xc0\x0c")]);
        for cut in 0..good.len() {
            assert!(asked.judge(ID, &good[..cut]).is_none_or(|verdict| !verdict.is_well()), "cut at {cut}");
            for bit in 0..8 {
                let mut broken = good.clone();
                broken[cut] ^= 1 << bit;
                let _ = asked.judge(ID, &broken);
            }
        }
    }
}
