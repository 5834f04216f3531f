//! The seal: who may speak at all, and what nobody else can change.
//!
//! From a secret of the ring and the cluster's name comes one extracted key (HKDF-SHA256), and from that one key for each
//! life of each sender: `expand(label, key id, sender, incarnation, random)`. A nonce is (sequence, part) and so never
//! repeats under its key. The header is associated data. The cipher is AES-256-GCM: `cargo bench --bench core ciphers`
//! measures it ahead of ChaCha20-Poly1305 at every size of beat on a machine with AES instructions.
//!
//! Must never: open anything under a key that is not on the ring, or show key material in a `Debug` text. Secrets are
//! wiped when the ring is dropped; `ring` keeps what it derives from them and does not wipe it.

use ring::{aead, hkdf};
use zeroize::Zeroizing;

use crate::types::NodeId;

use super::frame::{HEADER_BYTES, Header, KeyId, Life};
use super::limits;
use super::refused::Refused;

static CIPHER: &aead::Algorithm = &aead::AES_256_GCM;

/// The length of the cipher's tag is part of the format.
const _: () = assert!(super::frame::SEAL_BYTES == aead::MAX_TAG_LEN);

/// Keeps these keys apart from any others made of the same secret, and from those of another version of the format.
const LABEL: &[u8] = b"systole beat 1";

/// The secrets of a cluster: each of them opens, the first seals.
#[derive(Clone)]
pub struct KeyRing(Vec<(KeyId, Zeroizing<Vec<u8>>)>);

/// A ring that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRing {
    /// Without a key nothing can be sealed.
    #[error("there is no key")]
    Empty,
    /// See [`limits::KEYS`].
    #[error("there are more than {} keys", limits::KEYS)]
    TooManyKeys,
    /// Which of the two would open?
    #[error("key {0} is listed twice")]
    Twice(u8),
    /// Everybody knows the empty secret.
    #[error("key {0} is empty")]
    EmptySecret(u8),
    /// See [`limits::SECRET_BYTES`].
    #[error("key {_0} is longer than {most} bytes", most = limits::SECRET_BYTES)]
    LongSecret(u8),
}

impl KeyRing {
    /// The ring of these ids and secrets; the first seals.
    pub fn new(keys: Vec<(u8, Vec<u8>)>) -> Result<Self, BadRing> {
        // Wrapped first, so that they are wiped also where the ring is refused.
        let ring = Self(keys.into_iter().map(|(id, secret)| (KeyId(id), Zeroizing::new(secret))).collect());
        if ring.0.is_empty() {
            return Err(BadRing::Empty);
        }
        if ring.0.len() > limits::KEYS {
            return Err(BadRing::TooManyKeys);
        }
        for (place, (id, secret)) in ring.0.iter().enumerate() {
            if ring.0[..place].iter().any(|(earlier, _)| earlier == id) {
                return Err(BadRing::Twice(id.0));
            }
            match secret.len() {
                0 => return Err(BadRing::EmptySecret(id.0)),
                1..=limits::SECRET_BYTES => {}
                _ => return Err(BadRing::LongSecret(id.0)),
            }
        }
        Ok(ring)
    }

    /// The ids, the one that seals first.
    pub fn ids(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.iter().map(|(id, _)| id.0)
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeyRing").field(&self.ids().collect::<Vec<_>>()).finish()
    }
}

/// The ring bound to a cluster's name: from these the key of any life is one short derivation away.
#[derive(Clone)]
pub(super) struct ClusterKeys {
    /// The one that seals first; never empty.
    extracted: Vec<(KeyId, hkdf::Prk)>,
}

impl ClusterKeys {
    pub(super) fn new(ring: &KeyRing, cluster: &str) -> Self {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, cluster.as_bytes());
        Self { extracted: ring.0.iter().map(|(id, secret)| (*id, salt.extract(secret))).collect() }
    }

    /// The key that seals what `sender` says in this life.
    pub(super) fn sealing(&self, sender: NodeId, life: Life) -> LifeKey {
        let (id, extracted) = &self.extracted[0];
        LifeKey::derive(*id, extracted, sender, life)
    }

    /// The key that this header names.
    pub(super) fn opening(&self, header: &Header) -> Result<LifeKey, Refused> {
        let named = self.extracted.iter().find(|(id, _)| *id == header.key);
        let (id, extracted) = named.ok_or(Refused::UnknownKey)?;
        Ok(LifeKey::derive(*id, extracted, header.sender, header.life))
    }

    pub(super) fn has(&self, id: KeyId) -> bool {
        self.extracted.iter().any(|(listed, _)| *listed == id)
    }
}

/// The key of one life of one sender.
#[derive(Clone)]
pub(super) struct LifeKey {
    pub(super) id: KeyId,
    key: aead::LessSafeKey,
}

impl LifeKey {
    fn derive(id: KeyId, extracted: &hkdf::Prk, sender: NodeId, life: Life) -> Self {
        let (sender, incarnation) = (sender.0.to_be_bytes(), life.incarnation.0.to_be_bytes());
        let random = life.random.to_be_bytes();
        let info = [LABEL, &[id.0], &sender, &incarnation, &random];
        let okm = extracted.expand(&info, CIPHER).expect("a cipher's key is far below HKDF's 8,160 bytes");
        Self { id, key: aead::LessSafeKey::new(aead::UnboundKey::from(okm)) }
    }

    /// Seals what follows the header, and appends the seal.
    pub(super) fn seal(&self, header: &Header, datagram: &mut Vec<u8>) {
        let written = header.write();
        let nonce = aead::Nonce::assume_unique_for_key(header.nonce());
        let (clear, body) = datagram.split_at_mut(HEADER_BYTES);
        clear.copy_from_slice(&written);
        let sealed = self.key.seal_in_place_separate_tag(nonce, aead::Aad::from(written), body);
        let tag = sealed.expect("a part is far below the cipher's 64 GiB");
        datagram.extend_from_slice(tag.as_ref());
    }

    /// The body, if the seal verifies. Otherwise the bytes after the header are worthless.
    pub(super) fn open<'a>(&self, header: &Header, datagram: &'a mut [u8]) -> Result<&'a [u8], Refused> {
        let (clear, sealed) = datagram.split_at_mut_checked(HEADER_BYTES).ok_or(Refused::TooShort)?;
        let nonce = aead::Nonce::assume_unique_for_key(header.nonce());
        match self.key.open_in_place(nonce, aead::Aad::from(&*clear), sealed) {
            Ok(body) => Ok(body),
            Err(ring::error::Unspecified) => Err(Refused::BadSeal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_cannot_work_is_refused() {
        let ring = |keys: &[(u8, usize)]| {
            KeyRing::new(keys.iter().map(|(id, bytes)| (*id, vec![1; *bytes])).collect()).map(|_| ())
        };
        assert_eq!(ring(&[(1, 32), (2, 1)]), Ok(()));
        assert_eq!(ring(&[]), Err(BadRing::Empty));
        assert_eq!(ring(&[(1, 32), (1, 32)]), Err(BadRing::Twice(1)));
        assert_eq!(ring(&[(1, 32), (7, 0)]), Err(BadRing::EmptySecret(7)));
        assert_eq!(ring(&[(1, 1_025)]), Err(BadRing::LongSecret(1)));
        let many: Vec<_> = (0..17).map(|id| (id, 32)).collect();
        assert_eq!(ring(&many), Err(BadRing::TooManyKeys));
    }

    #[test]
    fn a_ring_prints_its_ids_and_no_secret() {
        let ring = KeyRing::new(vec![(3, b"verysecret".to_vec()), (1, b"old".to_vec())]);
        assert_eq!(format!("{:?}", ring), "Ok(KeyRing([3, 1]))");
    }
}
