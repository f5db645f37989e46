//! Chooses the credential: own keys first, then the least loaded.
