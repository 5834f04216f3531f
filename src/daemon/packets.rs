//! What this node's kernel did with the packets of each bucket, read when somebody asks.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::control::shape::Packets;
use crate::net::lease::{Bucket, Counted, counters};
use crate::types::GroupId;

use super::{TABLE, addresses};

/// Of each instance that has buckets. Where they cannot be read there are none: the lease itself says what is wrong with
/// nftables.
pub(super) fn of_buckets(config: &Config) -> BTreeMap<GroupId, Packets> {
    let guarded = addresses::guarded(config);
    if guarded.values().all(|guarded| guarded.buckets.is_empty()) {
        return BTreeMap::new();
    }
    let Ok(counted) = counters(TABLE) else { return BTreeMap::new() };
    let count = |buckets: &[Bucket]| {
        let of = |bucket: &Bucket| counted.get(&(bucket.of.address, bucket.number));
        buckets.iter().filter_map(of).fold(Packets::default(), |sum, Counted { kept, dropped }| Packets {
            kept: sum.kept + kept,
            dropped: sum.dropped + dropped,
        })
    };
    let divided = guarded.iter().filter(|(_, guarded)| !guarded.buckets.is_empty());
    divided.map(|(group, guarded)| (*group, count(&guarded.buckets))).collect()
}
