//! What a plugin author depends on: bindings, traits and export macros.
