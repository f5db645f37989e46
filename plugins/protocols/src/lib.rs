//! The wire protocols of providers: usage, errors, shapes.
