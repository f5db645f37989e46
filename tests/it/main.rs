//! The one test binary: each module is a group of promises, each test's name is one.

mod passthrough;
