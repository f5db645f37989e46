//! What real clients send and real providers answer, by kind: relays, local servers, browsers, coding agents.

mod browsers;
mod completions;
mod credentials;
mod doors;
mod estimates;
mod keepalive;
mod refusals;
