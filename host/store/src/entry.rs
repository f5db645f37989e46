//! What the writer takes: holds, their resolutions, records and events.

use std::sync::Arc;

use tollgate_core::decisions::Decisions;
use tollgate_core::failure::FailureClass;
use tollgate_core::id::{ApiKeyId, CredentialId, RequestId, TransferId, UserId};
use tollgate_core::ledger::Settlement;
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::time::Timestamp;
use tollgate_core::usage::Usage;

/// A SHA-256.
pub type Digest = [u8; 32];

/// One thing to write, whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Reserves points before dispatch. The only entry that a request waits for.
    Hold {
        /// The request, whose id is also the hold's.
        request: RequestId,
        /// Who pays.
        user: UserId,
        /// Micro-points to reserve.
        amount: Micropoints,
        /// The model asked for.
        model: Arc<str>,
        /// Now.
        at: Timestamp,
    },
    /// Charges a request against its hold and gives the rest back.
    Settle {
        /// The request.
        request: RequestId,
        /// Who pays.
        user: UserId,
        /// What the hold reserved.
        held: Micropoints,
        /// Where the charge comes from.
        settlement: Settlement,
        /// Now.
        at: Timestamp,
        /// What happened.
        record: Box<RequestRecord>,
    },
    /// Releases a hold without a charge.
    Void {
        /// The request.
        request: RequestId,
        /// Whose hold it is.
        user: UserId,
        /// What the hold reserved.
        held: Micropoints,
        /// Now.
        at: Timestamp,
        /// What happened.
        record: Box<RequestRecord>,
    },
    /// Records a request that held nothing: one that is never billed, or was refused.
    Record(Box<RequestRecord>),
    /// Something that happened to a plugin.
    Event(PluginEvent),
    /// The attempts of a request that needed several, or whose only one failed; its record follows.
    Attempts {
        /// The request.
        request: RequestId,
        /// In the order in which they were made.
        attempts: Vec<Attempt>,
    },
    /// A lent credential is about to be used for somebody else's request.
    Borrow(Box<Borrowed>),
    /// A settlement by which the lender of the credential that served earns points, in one commit with it.
    Lent {
        /// An [`Entry::Settle`].
        settle: Box<Entry>,
        /// Who earns.
        lender: UserId,
        /// Micro-points, above 0.
        earned: Micropoints,
    },
}

impl Entry {
    /// Whether it may be refused to its caller without loss.
    pub(crate) const fn is_hold(&self) -> bool {
        matches!(self, Self::Hold { .. })
    }

    /// Whether someone's points depend on it.
    pub(crate) const fn resolves_hold(&self) -> bool {
        matches!(self, Self::Settle { .. } | Self::Void { .. } | Self::Lent { .. })
    }

    /// Whose account it moves.
    pub(crate) fn payer(&self) -> Option<UserId> {
        match self {
            Self::Hold { user, .. } | Self::Settle { user, .. } | Self::Void { user, .. } => Some(*user),
            Self::Lent { settle, .. } => settle.payer(),
            Self::Record(_) | Self::Event(_) | Self::Attempts { .. } | Self::Borrow(_) => None,
        }
    }

    /// Who earns by it.
    pub(crate) const fn lender(&self) -> Option<UserId> {
        match self {
            Self::Lent { lender, .. } => Some(*lender),
            _ => None,
        }
    }

    /// The record that it brings, if any.
    pub(crate) fn record(&self) -> Option<&RequestRecord> {
        match self {
            Self::Settle { record, .. } | Self::Void { record, .. } | Self::Record(record) => Some(record),
            Self::Lent { settle, .. } => settle.record(),
            Self::Hold { .. } | Self::Event(_) | Self::Attempts { .. } | Self::Borrow(_) => None,
        }
    }

    /// The components that its record names, if any.
    pub(crate) fn components(&self) -> Option<Components> {
        let set = self.record()?.components;
        (set != Components::default()).then_some(set)
    }
}

/// One use of a lent credential: an attempt to serve a request with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Borrowed {
    /// The request.
    pub request: RequestId,
    /// Which of the request's attempts it is, from 1.
    pub attempt: u32,
    /// The credential.
    pub credential: CredentialId,
    /// Whose it is.
    pub lender: UserId,
    /// The model that was asked for.
    pub model: Arc<str>,
    /// When.
    pub at: Timestamp,
}

/// The components that served a request; `None` where no component of the kind took part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Components {
    /// The provider adapter.
    pub adapter: Option<Digest>,
    /// The key selector.
    pub selector: Option<Digest>,
    /// The pricing policy.
    pub pricing: Option<Digest>,
    /// The content filter.
    pub filter: Option<Digest>,
}

/// What is kept of a request: one row, written once, when it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// The request.
    pub request: RequestId,
    /// Who called.
    pub user: UserId,
    /// With which API key.
    pub api_key: Option<ApiKeyId>,
    /// The client's protocol; `None` when the request was lost before it could be recorded.
    pub protocol: Option<Protocol>,
    /// What it asked for.
    pub operation: Option<Operation>,
    /// The configured provider that served it, or would have.
    pub provider: Option<Arc<str>>,
    /// The model that it named.
    pub model: Option<Arc<str>>,
    /// The credential of the last attempt.
    pub credential: Option<CredentialId>,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status that the client saw; `None` when it saw none.
    pub status: Option<u16>,
    /// Attempts at an upstream.
    pub attempts: u32,
    /// From the request's first byte to the end, in milliseconds.
    pub latency_ms: u64,
    /// To the first byte of the answer, in milliseconds.
    pub ttft_ms: Option<u64>,
    /// Whether the answer was streamed.
    pub streamed: bool,
    /// Tokens.
    pub usage: Usage,
    /// What was reserved.
    pub hold: Micropoints,
    /// What was charged.
    pub charge: Micropoints,
    /// The price table in force at admission.
    pub price_version: Option<u64>,
    /// The components that took part.
    pub components: Components,
    /// Canonical bytes of the receipt, where something was priced.
    pub receipt: Option<Vec<u8>>,
    /// What the content filter reports of the text that it refused: a digest, never the text.
    pub filter_hash: Option<Vec<u8>>,
    /// What went wrong, without secrets and without content.
    pub error: Option<String>,
    /// When the request arrived.
    pub started_at: Timestamp,
    /// What of the request its translation left out: paths of members, with commas between them.
    pub left_out: Option<String>,
    /// What was decided about it on its way.
    pub decisions: Decisions,
}

impl RequestRecord {
    /// The record of a request of which nothing else is known: [`Outcome::Unknown`], no attempt, no charge.
    #[must_use]
    pub fn new(request: RequestId, user: UserId, started_at: Timestamp) -> Self {
        Self {
            request,
            user,
            api_key: None,
            protocol: None,
            operation: None,
            provider: None,
            model: None,
            credential: None,
            outcome: Outcome::Unknown,
            status: None,
            attempts: 0,
            latency_ms: 0,
            ttft_ms: None,
            streamed: false,
            usage: Usage::default(),
            hold: Micropoints::ZERO,
            charge: Micropoints::ZERO,
            price_version: None,
            components: Components::default(),
            receipt: None,
            filter_hash: None,
            error: None,
            started_at,
            left_out: None,
            decisions: Decisions::default(),
        }
    }
}

/// One try at one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// With which credential.
    pub credential: CredentialId,
    /// What the upstream answered; `None` where there was no answer.
    pub status: Option<u16>,
    /// Why it failed; `None` for the one that did not.
    pub failure: Option<FailureClass>,
    /// From its start to the first byte of its answer, or to its failure, in milliseconds.
    pub took_ms: u64,
}

/// Something that happened to a plugin: loaded, refused, faulted, rolled back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginEvent {
    /// When.
    pub at: Timestamp,
    /// The component's name.
    pub component: String,
    /// What kind of component it is.
    pub kind: String,
    /// SHA-256 of its bytes.
    pub digest: Option<Digest>,
    /// What happened, as one word.
    pub event: String,
    /// Details.
    pub detail: Option<String>,
}

/// Which of a request's movements a transfer is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Movement {
    Hold = 0,
    Resolution = 1,
    Overrun = 2,
    BadDebt = 3,
    Earning = 4,
}

/// The id of a request's movement: the same each time, so that a repeated entry is refused by the primary key.
///
/// A hold has the request's own id. The others turn that UUIDv7 into a custom one (version 8) which keeps the time in
/// front, so that their index entries are appended too, and uses four of its random bits for the movement.
pub(crate) fn transfer_id(request: RequestId, movement: Movement) -> TransferId {
    let mut bytes = *request.as_bytes();
    if !matches!(movement, Movement::Hold) {
        bytes[6] = 0x80 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | ((movement as u8) << 2) | (bytes[8] & 0x03);
    }
    TransferId::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Movement, transfer_id};
    use tollgate_core::id::RequestId;
    use tollgate_core::time::Timestamp;

    #[test]
    fn each_movement_of_a_request_has_its_own_id_and_keeps_its_time() {
        let request = RequestId::new(Timestamp::from_millis(1_800_000_000_000), [0xff; 10]);
        let movements =
            [Movement::Hold, Movement::Resolution, Movement::Overrun, Movement::BadDebt, Movement::Earning];
        let ids = movements.map(|movement| transfer_id(request, movement));
        assert_eq!(ids[0].as_bytes(), request.as_bytes());
        for (at, id) in ids.iter().enumerate() {
            assert_eq!(id.as_bytes()[..6], request.as_bytes()[..6]);
            assert!(!ids[..at].contains(id));
        }
    }
}
