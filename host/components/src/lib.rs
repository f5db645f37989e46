//! Builds the first-party components from source and carries their bytes.
