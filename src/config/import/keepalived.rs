//! `keepalived.conf`: its virtual servers. What it says of VRRP is named, for a group stands in its place.
//!
//! Defaults are those of keepalived 2.2's code. Each address of a `virtual_server_group` is a service of its own: services
//! that check the same share the check.

mod checks;
mod read;
mod said;
mod server;
mod service;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Imported;
use crate::config::{limits, values};
use read::Entry;
use service::{At, Service};

/// What is counted and may be there once only.
#[derive(Default)]
struct Written {
    names: BTreeSet<String>,
    places: BTreeSet<String>,
    servers: usize,
}

/// Reads it.
pub fn keepalived(text: &str) -> Imported {
    let mut imported = Imported::default();
    let entries = read::read(text, &mut imported);
    said::say_around(&entries, &mut imported);
    let groups: BTreeMap<&str, &Entry> = entries
        .iter()
        .filter(|entry| entry.key() == "virtual_server_group")
        .filter_map(|entry| Some((entry.value()?, entry)))
        .collect();
    let global = entries.iter().filter(|entry| entry.key() == "global_defs");
    let user = global.filter_map(|block| block.find("script_user")).filter_map(Entry::value).next_back();
    let mut written = Written::default();
    let mut is_there = false;
    for entry in entries.iter().filter(|entry| entry.key() == "virtual_server") {
        is_there = true;
        said::say(entry.inner(), &[said::SERVICE], &mut imported);
        let fronts = fronts(entry, &groups, &mut imported);
        for (at, of_group) in &fronts {
            if written.names.len() == limits::SERVICES {
                imported.leave(
                    entry.line,
                    format!("more than {} services: the rest is left out", limits::SERVICES),
                );
                break;
            }
            Service { entry, at: *at, user }.write(of_group.as_deref(), &mut written, &mut imported);
        }
    }
    if !is_there {
        let what =
            "there is no `virtual_server … { … }` in it: what stands for the rest is in docs/migrating.md";
        imported.leave(1, what);
    }
    imported.left.sort_by_key(|left| left.line);
    imported
}

/// What a `virtual_server` is asked at, each with the name that it has for it.
fn fronts(
    entry: &Entry,
    groups: &BTreeMap<&str, &Entry>,
    imported: &mut Imported,
) -> Vec<(At, Option<String>)> {
    let second = entry.words.get(2).map(String::as_str);
    match entry.value() {
        Some("fwmark") => mark(second, entry.line, imported).map(|at| (at, None)).into_iter().collect(),
        Some("group") => {
            let called = second.unwrap_or_default();
            let Some(group) = groups.get(called) else {
                imported.leave(entry.line, format!("there is no `virtual_server_group {called}`"));
                return Vec::new();
            };
            let mut all = Vec::new();
            for inner in group.inner() {
                if inner.key() == "fwmark" {
                    all.extend(mark(inner.value(), inner.line, imported));
                } else if let Some(addresses) = range(inner, imported) {
                    let port = port(inner.value());
                    all.extend(addresses.into_iter().map(|address| At::Address(address, port)));
                }
                if all.len() > limits::SERVICES {
                    imported.leave(
                        inner.line,
                        format!("more than {} services: the rest is left out", limits::SERVICES),
                    );
                    all.truncate(limits::SERVICES);
                    break;
                }
            }
            if all.is_empty() {
                imported.leave(entry.line, format!("`virtual_server_group {called}` has no address"));
            }
            let is_one = all.len() == 1;
            let named = |at: At| {
                (at, Some(if is_one { called.to_owned() } else { format!("{called}-{}", at.name()) }))
            };
            all.into_iter().map(named).collect()
        }
        written => match values::host_address(written.unwrap_or_default()) {
            Ok(address) => vec![(At::Address(address, port(second)), None)],
            Err(why) => {
                imported.leave(entry.line, format!("`{}` is left out: {why}", written.unwrap_or_default()));
                Vec::new()
            }
        },
    }
}

fn mark(text: Option<&str>, line: usize, imported: &mut Imported) -> Option<At> {
    let mark = text.and_then(|text| text.parse().ok()).filter(|mark| *mark > 0);
    if mark.is_none() {
        imported.leave(
            line,
            format!("`fwmark {}` is left out: a mark is 1 to {}", text.unwrap_or_default(), u32::MAX),
        );
    }
    mark.map(At::Mark)
}

/// Without a number, each port.
fn port(text: Option<&str>) -> u16 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// `ADDRESS`, `192.0.2.1-9`, `192.0.2.250-192.0.3.4`, `192.0.2.8/29`.
fn range(entry: &Entry, imported: &mut Imported) -> Option<Vec<IpAddr>> {
    let written = entry.key();
    let (first, rest) = written.split_at(written.find(['-', '/']).unwrap_or(written.len()));
    let read = values::host_address(first).and_then(|first| {
        let last = match rest.split_at(rest.len().min(1)) {
            ("-", last) => end_of_range(first, last),
            ("/", bits) => end_of_network(first, bits),
            _ => Some(first),
        };
        match (first, last) {
            (IpAddr::V4(first), Some(IpAddr::V4(last))) if first <= last => {
                let all = u32::from(first)..=u32::from(last);
                Ok(all.take(limits::SERVICES + 1).map(|bits| IpAddr::V4(bits.into())).collect())
            }
            (IpAddr::V6(first), Some(IpAddr::V6(last))) if first <= last => {
                let all = u128::from(first)..=u128::from(last);
                Ok(all.take(limits::SERVICES + 1).map(|bits| IpAddr::V6(bits.into())).collect())
            }
            _ => Err("this is no range of addresses".to_owned()),
        }
    });
    match read {
        Ok(all) => Some(all),
        Err(why) => {
            imported.leave(entry.line, format!("`{written}` is left out: {why}"));
            None
        }
    }
}

/// A whole address, or the end of the first one.
fn end_of_range(first: IpAddr, last: &str) -> Option<IpAddr> {
    match first {
        IpAddr::V4(_) if last.contains('.') => last.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        IpAddr::V4(first) => {
            let [a, b, c, _] = first.octets();
            Some(IpAddr::V4(Ipv4Addr::new(a, b, c, last.parse().ok()?)))
        }
        IpAddr::V6(_) if last.contains(':') => last.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        IpAddr::V6(first) => {
            let last = u128::from(u16::from_str_radix(last, 16).ok()?);
            Some(IpAddr::V6(((u128::from(first) & !0xffff) | last).into()))
        }
    }
}

/// The last address of a network; none, if the first one is not the network's own.
fn end_of_network(first: IpAddr, bits: &str) -> Option<IpAddr> {
    let bits = bits.parse::<u32>().ok().filter(|bits| *bits > 0)?;
    match first {
        IpAddr::V4(first) => {
            let rest = u32::MAX.checked_shr(bits).or_else(|| (bits == 32).then_some(0))?;
            (u32::from(first) & rest == 0).then(|| IpAddr::V4((u32::from(first) | rest).into()))
        }
        IpAddr::V6(first) => {
            let rest = u128::MAX.checked_shr(bits).or_else(|| (bits == 128).then_some(0))?;
            (u128::from(first) & rest == 0).then(|| IpAddr::V6((u128::from(first) | rest).into()))
        }
    }
}
