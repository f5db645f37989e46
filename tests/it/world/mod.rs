//! What real clients send and real providers answer, by kind: relays, local servers, browsers, coding agents.

mod agents;
mod browsers;
mod clients;
mod completions;
mod credentials;
mod doors;
mod ends;
mod estimates;
mod extras;
mod files;
mod first_hour;
mod json_mode;
mod keepalive;
mod media;
mod networks;
mod packed;
mod packed_bodies;
mod pieces;
mod points;
mod realtime;
mod refusals;
mod requests;
mod scripted;
mod shapes;
mod tools;
mod values;
