//! Charges points: own keys cheaper than the platform.
