//! To be written: receipt.
