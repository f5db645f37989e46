//! How bytes reach a provider and come back: connections, framing, and bodies chained around splices. Nothing here knows a
//! credential.

pub(crate) mod body;
pub(crate) mod frames;
pub(crate) mod http1;
