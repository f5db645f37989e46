//! Identifiers: UUIDv7, unique across nodes and ordered by time, each kind a type of its own.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

use crate::time::Timestamp;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(Uuid);

        impl $name {
            /// Makes an id from the time and ten bytes of randomness.
            #[must_use]
            pub fn new(now: Timestamp, random: [u8; 10]) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(now.millis(), &random).into_uuid())
            }

            /// The 16 bytes, as stored.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// What its `Display` says, written into a buffer.
            pub fn text<'b>(&self, buffer: &'b mut [u8; 36]) -> &'b str {
                self.0.hyphenated().encode_lower(buffer)
            }

            /// The id that these bytes are.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

id!(
    /// A person or team that owns an account.
    UserId
);
id!(
    /// A key that Tollgate issued.
    ApiKeyId
);
id!(
    /// A provider key.
    CredentialId
);
id!(
    /// A model route that was made while the gateway ran.
    RouteId
);
id!(
    /// One call of a client.
    RequestId
);
id!(
    /// A login to the management API.
    SessionId
);
id!(
    /// A movement in the ledger.
    TransferId
);
id!(
    /// An installation that serves: a process and its data directory.
    NodeId
);
id!(
    /// A batch of codes that are worth points.
    BatchId
);
id!(
    /// One such code.
    CodeId
);
