//! Addresses that another program took away and that were put back: how often of late, when it is enough, and what an
//! operator is told.
//!
//! It counts by the address and not by the group: a group with addresses of both families, and a shared address of which
//! many buckets are here, are one thing that was taken away once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::time::Span;
use crate::types::GroupId;

/// How often an address is put back within a minute; then its groups go elsewhere.
const AT_MOST: usize = 5;
const WITHIN: Span = Span::seconds(60);

/// So many names stand in one line; the rest is counted.
const NAMED: usize = 5;

/// How often each address was put back of late.
#[derive(Debug, Default)]
pub(super) struct PutBack {
    times: BTreeMap<IpAddr, Vec<Span>>,
}

/// What was found missing at once, and is back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Removal {
    pub(super) groups: BTreeSet<GroupId>,
    pub(super) addresses: BTreeSet<IpAddr>,
    /// How often within a minute, of the one that it has happened to most often.
    pub(super) often: usize,
}

impl PutBack {
    /// How long a group that is fought over stays away.
    pub(super) const AWAY: Span = WITHIN;

    /// Counts each address once. Says what there is to tell, and the groups that have to go elsewhere.
    pub(super) fn count(
        &mut self,
        missed: &[(GroupId, IpAddr)],
        now: Span,
    ) -> Option<(Removal, BTreeSet<GroupId>)> {
        let groups: BTreeSet<GroupId> = missed.iter().map(|(group, _)| *group).collect();
        let addresses: BTreeSet<IpAddr> = missed.iter().map(|(_, address)| *address).collect();
        self.times.retain(|_, times| {
            times.retain(|at| now - *at < WITHIN);
            !times.is_empty()
        });
        for address in &addresses {
            self.times.entry(*address).or_default().push(now);
        }
        let times = |address: &IpAddr| self.times.get(address).map_or(0, Vec::len);
        let often = addresses.iter().map(times).max()?;
        let lost = missed.iter().filter(|(_, address)| times(address) > AT_MOST).map(|(group, _)| *group);
        let lost = lost.collect();
        self.times.retain(|_, times| times.len() <= AT_MOST);
        Some((Removal { groups, addresses, often }, lost))
    }
}

impl Removal {
    /// The addresses, in a row.
    pub(super) fn what(&self) -> String {
        listed(self.addresses.iter().map(ToString::to_string).collect())
    }

    /// One sentence, with the programs that run here and are known to do such a thing.
    pub(super) fn told(&self, name: impl Fn(GroupId) -> String, suspects: &[&str]) -> String {
        let names: BTreeSet<String> = self.groups.iter().map(|group| name(*group)).collect();
        let (groups, what, often) = (listed(names.into_iter().collect()), self.what(), self.often);
        let is_back = if self.addresses.len() == 1 { "it is back" } else { "they are back" };
        let who = match suspects {
            [] => "none of the programs that usually do this runs here: look for a script".to_owned(),
            names => format!("probably {}: tell it to leave foreign addresses alone", names.join(" or ")),
        };
        format!("{groups}: somebody removed {what}; {is_back} (time {often} within a minute); {who}")
    }
}

fn listed(names: Vec<String>) -> String {
    match names.get(..NAMED) {
        Some(first) if names.len() > NAMED => {
            format!("{} and {} more", first.join(", "), names.len() - NAMED)
        }
        Some(_) | None => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const SIX: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));

    fn group(number: usize) -> GroupId {
        GroupId::of(&format!("web:{number}"))
    }

    /// Both addresses, of so many buckets.
    fn shared(buckets: usize) -> Vec<(GroupId, IpAddr)> {
        (0..buckets).flat_map(|number| [FOUR, SIX].map(|address| (group(number), address))).collect()
    }

    #[test]
    fn what_was_taken_away_once_counts_once_whatever_the_families_and_the_buckets() {
        let mut put_back = PutBack::default();
        for time in 1..=AT_MOST {
            let now = Span::seconds(u64::try_from(time).unwrap());
            let (removal, lost) = put_back.count(&shared(12), now).unwrap();
            assert_eq!((removal.often, lost.len()), (time, 0));
            assert_eq!((removal.groups.len(), removal.addresses.len()), (12, 2));
        }
        assert_eq!(put_back.count(&[], Span::seconds(6)), None);
        let (removal, lost) = put_back.count(&shared(12), Span::seconds(6)).unwrap();
        assert_eq!((removal.often, lost.len()), (6, 12), "enough is enough, for each of them");
        let (removal, lost) = put_back.count(&shared(12), Span::seconds(7)).unwrap();
        assert_eq!((removal.often, lost.len()), (1, 0));
    }

    #[test]
    fn only_what_is_fought_over_is_given_up_and_what_is_long_ago_does_not_count() {
        let mut put_back = PutBack::default();
        let (one, other) = ((group(0), FOUR), (group(1), SIX));
        for _ in 0..AT_MOST {
            assert_eq!(put_back.count(&[one], Span::seconds(1)).unwrap().1, BTreeSet::new());
        }
        let (removal, lost) = put_back.count(&[one, other], Span::seconds(60)).unwrap();
        assert_eq!((removal.often, lost), (6, [group(0)].into()));
        for _ in 0..AT_MOST {
            put_back.count(&[one], Span::seconds(70));
        }
        assert_eq!(put_back.count(&[one], Span::seconds(130)).unwrap().0.often, 1);
    }

    #[test]
    fn it_is_told_in_one_sentence() {
        let mut put_back = PutBack::default();
        let whole = |_| "web".to_owned();
        let (removal, _) = put_back.count(&shared(12), Span::ZERO).unwrap();
        assert_eq!(
            removal.told(whole, &["dhclient"]),
            "web: somebody removed 192.0.2.1, fd00::1; they are back (time 1 within a minute); probably dhclient: tell it \
             to leave foreign addresses alone"
        );
        let (removal, _) = put_back.count(&[(group(3), FOUR)], Span::ZERO).unwrap();
        let text = removal.told(|_| "web:3".to_owned(), &[]);
        assert!(text.starts_with("web:3: somebody removed 192.0.2.1; it is back (time 2 within"), "{text}");
        let many: Vec<(GroupId, IpAddr)> =
            (0..9).map(|number| (group(0), IpAddr::from([192, 0, 2, number]))).collect();
        let (removal, _) = put_back.count(&many, Span::ZERO).unwrap();
        assert!(removal.what().ends_with("192.0.2.4 and 4 more"), "{}", removal.what());
    }
}
