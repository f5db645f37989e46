//! To be written: ledger.
