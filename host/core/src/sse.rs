//! To be written: sse.
