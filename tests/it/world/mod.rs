//! What real clients send and real providers answer, by kind: relays, local servers, browsers, coding agents.

mod browsers;
mod completions;
mod credentials;
mod doors;
mod estimates;
mod extras;
mod first_hour;
mod keepalive;
mod refusals;
