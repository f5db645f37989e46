//! End-to-end promises, and the harness that checks them.
