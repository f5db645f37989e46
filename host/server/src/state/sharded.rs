//! A map that can be copied cheaply to change a little of it: 256 shards; a copy shares all except those that it
//! changes.
//!
//! A directory is read without a lock and replaced as a whole. With this, its replacement costs the copying
//! of a shard for each entry that has changed, and not that of a hundred thousand entries.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use tollgate_core::id::{ApiKeyId, CredentialId, UserId};

const SHARDS: usize = 256;

/// A key that determines its shard, evenly.
pub(crate) trait ShardKey {
    /// A byte that takes each value equally often.
    fn shard(&self) -> u8;
}

impl ShardKey for [u8; 32] {
    fn shard(&self) -> u8 {
        self[31]
    }
}

/// The last byte of an id is of its random part.
macro_rules! by_last_byte {
    ($($id:ty),*) => {$(
        impl ShardKey for $id {
            fn shard(&self) -> u8 {
                self.as_bytes()[15]
            }
        }
    )*};
}

by_last_byte!(ApiKeyId, CredentialId, UserId);

/// A map in shards.
#[derive(Debug)]
pub(crate) struct Sharded<K, V, S = RandomState>(Box<[Arc<HashMap<K, V, S>>; SHARDS]>);

impl<K, V, S> Clone for Sharded<K, V, S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V, S: Default> Default for Sharded<K, V, S> {
    fn default() -> Self {
        // One empty map stands for all that are empty.
        let empty = Arc::new(HashMap::default());
        Self(Box::new(std::array::from_fn(|_| Arc::clone(&empty))))
    }
}

impl<K: ShardKey + Hash + Eq, V, S: BuildHasher> Sharded<K, V, S> {
    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.0[usize::from(key.shard())].get(key)
    }

    /// Whether a key has a value.
    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// All keys with their values, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().flat_map(|shard| shard.iter())
    }

    /// All values, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: ShardKey + Hash + Eq + Clone, V: Clone, S: BuildHasher + Clone> Sharded<K, V, S> {
    /// Gives a key a value.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        Arc::make_mut(&mut self.0[usize::from(key.shard())]).insert(key, value);
    }

    /// Removes a key's value, if it has one.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let shard = &mut self.0[usize::from(key.shard())];
        // A shard without the key need not be copied.
        shard.contains_key(key).then(|| Arc::make_mut(shard).remove(key)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Sharded;

    /// A key in the shard of its first byte.
    fn key(shard: u8, number: u8) -> [u8; 32] {
        let mut key = [number; 32];
        key[31] = shard;
        key
    }

    #[test]
    fn a_copy_shares_all_shards_but_those_that_it_changes() {
        let mut map = Sharded::<[u8; 32], u8>::default();
        for shard in 0..=255 {
            map.insert(key(shard, 1), shard);
        }
        let mut copy = map.clone();
        copy.insert(key(7, 2), 99);
        assert_eq!(copy.remove(&key(9, 1)), Some(9));
        assert_eq!(copy.remove(&key(10, 3)), None);
        assert_eq!((map.get(&key(7, 2)), map.get(&key(9, 1))), (None, Some(&9)));
        assert_eq!((copy.get(&key(7, 2)), copy.get(&key(9, 1))), (Some(&99), None));
        let shared = map.0.iter().zip(copy.0.iter()).filter(|(old, new)| Arc::ptr_eq(old, new)).count();
        assert_eq!(shared, 254);
        assert_eq!((map.values().count(), copy.values().count()), (256, 256));
    }
}
