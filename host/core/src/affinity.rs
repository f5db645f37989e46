//! Which credential a conversation began with: a small table that forgets, so that provider caches keep hitting.
//!
//! Bounded: a fixed number of conversations, and a new one takes the place of the one among a few neighbours that has
//! been silent longest. What it says is a hint for the selector, in whole numbers, and fades as the providers' caches
//! do.

use crate::id::CredentialId;
use crate::time::Timestamp;

/// The score of a credential that has just served the conversation.
pub const AFFINITY_MAX: u32 = 1000;
/// A conversation that is silent for this long is forgotten.
pub const FADE_MS: u64 = 15 * 60 * 1000;
/// Places that one conversation may take.
const WAYS: usize = 8;

/// What was said last in one conversation.
#[derive(Debug, Clone, Copy)]
struct Seen {
    conversation: u64,
    credential: CredentialId,
    at: Timestamp,
}

/// Conversations and the credentials that served them.
#[derive(Debug, Clone)]
pub struct Affinities {
    places: Box<[Option<Seen>]>,
}

impl Affinities {
    /// A table for at most about this many conversations.
    #[must_use]
    pub fn new(conversations: usize) -> Self {
        let sets = (conversations / WAYS).max(1);
        Self { places: vec![None; sets * WAYS].into_boxed_slice() }
    }

    fn set(&mut self, conversation: u64) -> &mut [Option<Seen>] {
        let sets = (self.places.len() / WAYS) as u64;
        // Below the number of sets, which is a usize.
        let start = usize::try_from(conversation % sets).unwrap_or_default() * WAYS;
        &mut self.places[start..start + WAYS]
    }

    /// The credential of a conversation and what it is worth: 1000 right after it served, then evenly less down to
    /// nothing.
    pub fn recall(&mut self, conversation: u64, now: Timestamp) -> Option<(CredentialId, u32)> {
        let seen = self.set(conversation).iter().flatten().find(|seen| seen.conversation == conversation)?;
        let left = FADE_MS.saturating_sub(now.since_ms(seen.at));
        let score = u64::from(AFFINITY_MAX) * left / FADE_MS;
        (score > 0).then(|| (seen.credential, u32::try_from(score).unwrap_or(AFFINITY_MAX)))
    }

    /// A credential has served a conversation.
    pub fn note(&mut self, conversation: u64, credential: CredentialId, at: Timestamp) {
        let set = self.set(conversation);
        let known = set.iter().position(|place| place.is_some_and(|seen| seen.conversation == conversation));
        let oldest = || (0..WAYS).min_by_key(|&place| set[place].map(|seen| seen.at));
        // A set has places.
        let place = known.or_else(oldest).unwrap_or_default();
        set[place] = Some(Seen { conversation, credential, at });
    }
}

#[cfg(test)]
mod tests {
    use super::{AFFINITY_MAX, Affinities, FADE_MS, WAYS};
    use crate::id::CredentialId;
    use crate::time::Timestamp;

    const T0: Timestamp = Timestamp::from_millis(1_000_000);

    fn credential(byte: u8) -> CredentialId {
        CredentialId::from_bytes([byte; 16])
    }

    #[test]
    fn a_conversation_is_worth_less_with_every_second_until_it_is_forgotten() {
        let mut all = Affinities::new(64);
        all.note(7, credential(1), T0);
        assert_eq!(all.recall(7, T0), Some((credential(1), AFFINITY_MAX)));
        assert_eq!(all.recall(7, T0.plus_ms(FADE_MS / 2)), Some((credential(1), AFFINITY_MAX / 2)));
        assert_eq!(all.recall(7, T0.plus_ms(FADE_MS)), None);
        assert_eq!(all.recall(8, T0), None);
        all.note(7, credential(2), T0.plus_ms(1));
        assert_eq!(all.recall(7, T0.plus_ms(1)), Some((credential(2), AFFINITY_MAX)));
    }

    #[test]
    fn the_longest_silent_makes_room_and_the_table_never_grows() {
        let mut all = Affinities::new(WAYS);
        for conversation in 0..=WAYS as u64 {
            all.note(conversation, credential(1), T0.plus_ms(conversation));
        }
        assert_eq!(all.recall(0, T0), None);
        assert!((1..=WAYS as u64).all(|conversation| all.recall(conversation, T0).is_some()));
        for conversation in 0..10_000 {
            all.note(conversation, credential(2), T0);
        }
        assert_eq!(all.places.len(), WAYS);
    }
}
