//! Translation, seen from outside: what goes in, and what comes out.

mod cases;
mod golden;
mod splits;
