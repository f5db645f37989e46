//! Components that misbehave on purpose.
