//! One node's ear: datagrams become beats, or a counted reason why not.
//!
//! The order of the checks is the defence. First what costs nothing and proves nothing (form, cluster, key id, sender);
//! then the seal; only then whether it is new; then the body; and only when all of that went well does anything change.
//! Whatever is refused leaves no trace but its counter.
//!
//! Memory is bounded by the configuration: one entry for each configured peer, with the key of its newest life. A key
//! takes its place there together with the first beat of that life that opens, so nobody without the secret can fill or
//! empty that cache; what a stranger's datagram costs is one derivation and one failed opening.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::beat::Beat;
use crate::types::{Incarnation, LinkId, NodeId, Sequence};

use super::body;
use super::frame::{Header, Life};
use super::parts::Gathering;
use super::refused::{Counters, Refused};
use super::replay::{Age, Heard};
use super::seal::{ClusterKeys, KeyRing, LifeKey};
use super::sealer::cluster_hash;

/// Opens what peers have sealed.
#[derive(Clone)]
pub struct Opener {
    me: NodeId,
    life: Life,
    cluster: u32,
    keys: ClusterKeys,
    /// For our own beats that come back, as broadcasts do.
    own_key: LifeKey,
    /// The configured peers; nothing of those not heard yet.
    peers: BTreeMap<NodeId, Option<Peer>>,
    counters: Counters,
}

/// What is known of the newest life of a peer.
#[derive(Clone)]
struct Peer {
    life: Life,
    /// That of the newest part; none after the ring was changed.
    key: Option<LifeKey>,
    heard: Heard,
    gathering: Gathering,
    /// The newest whole beat.
    newest: Option<Arc<Beat>>,
}

/// A datagram whose seal verified, and that came over its link for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Who sent it.
    pub sender: NodeId,
    /// In which life.
    pub incarnation: Incarnation,
    /// Which beat it is of.
    pub sequence: Sequence,
    /// What it brings.
    pub news: News,
}

/// What a datagram brings. All of them show that their link works; only the first may change more than that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A beat newer than any before.
    Beat(Arc<Beat>),
    /// The newest beat once more, over another link.
    Copy(Arc<Beat>),
    /// A beat older than the newest, over a slower link.
    Older,
    /// A part of a beat that is not whole yet.
    Part,
}

impl Opener {
    /// The ear of `me` in this life, for these peers.
    pub fn new(
        ring: &KeyRing,
        cluster: &str,
        me: NodeId,
        life: Life,
        peers: impl IntoIterator<Item = NodeId>,
    ) -> Self {
        let keys = ClusterKeys::new(ring, cluster);
        let own_key = keys.sealing(me, life);
        let peers = peers.into_iter().filter(|peer| *peer != me).map(|peer| (peer, None)).collect();
        Self { me, life, cluster: cluster_hash(cluster), keys, own_key, peers, counters: Counters::default() }
    }

    /// From now on these keys open. What was heard of the peers stays.
    pub fn set_keys(&mut self, ring: &KeyRing, cluster: &str) {
        self.keys = ClusterKeys::new(ring, cluster);
        self.own_key = self.keys.sealing(self.me, self.life);
        self.cluster = cluster_hash(cluster);
        self.peers.values_mut().flatten().for_each(|peer| peer.key = None);
    }

    /// From now on these peers are heard. What was heard of those that stay stays.
    pub fn set_peers(&mut self, peers: impl IntoIterator<Item = NodeId>) {
        let peers = peers.into_iter().filter(|peer| *peer != self.me);
        self.peers = peers.map(|peer| (peer, self.peers.remove(&peer).flatten())).collect();
    }

    /// Opens a datagram that came over `link`. The bytes are decrypted in place and worthless afterwards. Give it the
    /// whole datagram, or one byte more than the greatest allowed, so that one that was cut off is not taken for whole.
    pub fn open(&mut self, link: LinkId, datagram: &mut [u8]) -> Result<Opened, Refused> {
        let opened = self.judge(link, datagram);
        if let Err(refused) = &opened {
            self.counters.count(refused);
        }
        opened
    }

    /// How much was refused, and why.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether both would judge every datagram alike: everything but the counters. For tests.
    pub fn same_state(&self, other: &Self) -> bool {
        (self.me, self.life, self.cluster) == (other.me, other.life, other.cluster)
            && self.peers == other.peers
    }

    fn judge(&mut self, link: LinkId, datagram: &mut [u8]) -> Result<Opened, Refused> {
        let header = Header::read(datagram)?;
        if header.cluster != self.cluster {
            return Err(Refused::WrongCluster);
        }
        if !self.keys.has(header.key) {
            return Err(Refused::UnknownKey);
        }
        if header.sender == self.me {
            return Err(self.judge_own(&header, datagram));
        }
        let peer = self.peers.get_mut(&header.sender).ok_or(Refused::UnknownSender)?;
        let news = match peer {
            Some(peer) if peer.life == header.life => peer.hear(&self.keys, link, &header, datagram)?,
            Some(_) | None => {
                let (begun, news) = Peer::begin(peer.as_ref(), &self.keys, link, &header, datagram)?;
                *peer = Some(begun);
                news
            }
        };
        let Header { sender, life: Life { incarnation, .. }, sequence, .. } = header;
        Ok(Opened { sender, incarnation, sequence, news })
    }

    /// Under our own name. Only an alarm can come of it.
    fn judge_own(&self, header: &Header, datagram: &mut [u8]) -> Refused {
        let is_this_life = header.life == self.life;
        let verified = if is_this_life && header.key == self.own_key.id {
            self.own_key.open(header, datagram).map(|_| ())
        } else {
            self.keys.opening(header).and_then(|key| key.open(header, datagram).map(|_| ()))
        };
        match verified {
            Err(refused) => refused,
            Ok(()) if is_this_life => Refused::Reflected,
            Ok(()) => Refused::SameName { incarnation: header.life.incarnation },
        }
    }
}

impl Peer {
    /// The first datagram of a life that is not the one known.
    fn begin(
        known: Option<&Self>,
        keys: &ClusterKeys,
        link: LinkId,
        header: &Header,
        datagram: &mut [u8],
    ) -> Result<(Self, News), Refused> {
        let key = keys.opening(header)?;
        let body = key.open(header, datagram)?;
        if let Some(known) = known {
            known.check_older_than(header)?;
        }
        let (heard, gathering) = (Heard::default(), Gathering::default());
        let mut begun = Self { life: header.life, key: Some(key), heard, gathering, newest: None };
        let news = begun.take(link, header, body)?;
        Ok((begun, news))
    }

    /// A datagram of the life known.
    fn hear(
        &mut self,
        keys: &ClusterKeys,
        link: LinkId,
        header: &Header,
        datagram: &mut [u8],
    ) -> Result<News, Refused> {
        if let Some(key) = self.key.as_ref().filter(|key| key.id == header.key) {
            let body = key.open(header, datagram)?;
            return self.take(link, header, body);
        }
        let key = keys.opening(header)?;
        let news = self.take(link, header, key.open(header, datagram)?)?;
        // Only news moves the cache to another key: recordings sealed with an old one must not.
        if matches!(news, News::Beat(_) | News::Part) {
            self.key = Some(key);
        }
        Ok(news)
    }

    /// Takes what has been verified. An error has changed nothing.
    fn take(&mut self, link: LinkId, header: &Header, body: &[u8]) -> Result<News, Refused> {
        let news = match (self.heard.judge(link, header)?, &self.newest) {
            (Age::Newer, _) => self.read(header, body)?.map_or(News::Part, News::Beat),
            (Age::Same, Some(newest)) => News::Copy(Arc::clone(newest)),
            (Age::Same, None) | (Age::Older, _) => News::Older,
        };
        self.heard.mark(link, header);
        if let News::Beat(beat) = &news {
            self.heard.whole(header.sequence);
            self.newest = Some(Arc::clone(beat));
        }
        Ok(news)
    }

    /// The beat, if with this part it is whole.
    fn read(&mut self, header: &Header, body: &[u8]) -> Result<Option<Arc<Beat>>, Refused> {
        let decode = |body: &[u8]| {
            body::decode(header.sender, header.life.incarnation, header.sequence, body).map(Arc::new)
        };
        if header.last == 0 {
            return decode(body).map(Some);
        }
        self.gathering.add(header, body, decode)
    }

    /// Of two lives the greater incarnation is the later.
    fn check_older_than(&self, header: &Header) -> Result<(), Refused> {
        let (sender, incarnation, known) = (header.sender, header.life.incarnation, self.life.incarnation);
        match incarnation.cmp(&known) {
            std::cmp::Ordering::Greater => Ok(()),
            std::cmp::Ordering::Equal => Err(Refused::Twin { sender, incarnation }),
            std::cmp::Ordering::Less => Err(Refused::OlderLife { sender, incarnation, known }),
        }
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        let key = |peer: &Self| peer.key.as_ref().map(|key| key.id);
        (self.life, key(self)) == (other.life, key(other))
            && (&self.heard, &self.gathering, &self.newest) == (&other.heard, &other.gathering, &other.newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::KeyId;
    use crate::wire::sealer::Sealer;

    const ALICE: NodeId = NodeId::of("alice");
    const LIFE: Life = Life { incarnation: Incarnation(1), random: 1 };

    fn ring(ids: [u8; 2]) -> KeyRing {
        KeyRing::new(ids.map(|id| (id, vec![id; 32])).to_vec()).expect("a good ring")
    }

    #[test]
    fn a_recording_under_an_old_key_does_not_push_the_present_key_out_of_the_cache() {
        let body = [0; 30];
        let mut alice = Sealer::new(&ring([1, 2]), "web", ALICE, LIFE);
        let mut recorded = alice.seal_part(Sequence(1), 0, 0, &body);
        alice.set_keys(&ring([2, 1]), "web");
        let mut bob = Opener::new(&ring([2, 1]), "web", NodeId::of("bob"), LIFE, [ALICE]);
        let cached =
            |bob: &Opener| bob.peers[&ALICE].as_ref().and_then(|peer| peer.key.as_ref()).map(|key| key.id);
        assert!(bob.open(LinkId(0), &mut alice.seal_part(Sequence(2), 0, 0, &body)).is_ok());
        assert_eq!(cached(&bob), Some(KeyId(2)));
        assert_eq!(bob.open(LinkId(1), &mut recorded).map(|opened| opened.news), Ok(News::Older));
        assert_eq!(cached(&bob), Some(KeyId(2)));
    }
}
