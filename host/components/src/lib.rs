//! The first-party components, built from source with this crate and carried as bytes.
//!
//! A plain `cargo run` or `cargo test` therefore has every adapter and policy, and the one binary carries its defaults.
//! A file in the plugins directory takes the place of the component of its name.

/// Which world of `wit/` a component is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// World `provider-adapter`.
    ProviderAdapter,
    /// World `key-selector`.
    KeySelector,
    /// World `pricing-policy`.
    PricingPolicy,
    /// World `content-filter`.
    ContentFilter,
}

/// A first-party component.
#[derive(Debug, Clone, Copy)]
pub struct Component {
    /// The name that a binding gives to use it: `openai`.
    pub name: &'static str,
    /// The world that it is built for.
    pub kind: Kind,
    /// The binary, as a file in the plugins directory would hold it.
    pub bytes: &'static [u8],
}

/// All of them: adapters first, then policies.
pub static COMPONENTS: &[Component] = include!(concat!(env!("OUT_DIR"), "/components.rs"));

/// The first-party component of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Component> {
    COMPONENTS.iter().find(|component| component.name == name)
}

/// A component that misbehaves on purpose: one for each directory in `tests/guests`.
#[cfg(feature = "guests")]
#[derive(Debug, Clone, Copy)]
pub struct Guest {
    /// The name of its directory: `trap`.
    pub name: &'static str,
    /// The binary.
    pub bytes: &'static [u8],
}

/// All of them, by name.
#[cfg(feature = "guests")]
pub static GUESTS: &[Guest] = include!(concat!(env!("OUT_DIR"), "/guests.rs"));

/// The misbehaving component of this name.
#[cfg(feature = "guests")]
#[must_use]
pub fn find_guest(name: &str) -> Option<&'static Guest> {
    GUESTS.iter().find(|guest| guest.name == name)
}

#[cfg(test)]
mod tests {
    use super::{COMPONENTS, Kind};

    /// Half of a policy is the standard library and serde; compile time grows with the rest.
    const POLICY_BYTES_MAX: usize = 220 * 1024;
    /// An adapter links the translation of every protocol into every other.
    const ADAPTER_BYTES_MAX: usize = 1280 * 1024;
    /// The first eight bytes of a component (layer 1); a core module has layer 0 and would be refused.
    const COMPONENT_MAGIC: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn every_component_is_a_component_and_stays_small() {
        for component in COMPONENTS {
            assert!(component.bytes.starts_with(COMPONENT_MAGIC), "{}", component.name);
            let limit =
                if component.kind == Kind::ProviderAdapter { ADAPTER_BYTES_MAX } else { POLICY_BYTES_MAX };
            assert!(component.bytes.len() < limit, "{}: {} bytes", component.name, component.bytes.len());
        }
    }

    #[test]
    fn components_are_found_by_name() {
        assert!(COMPONENTS.iter().all(|component| super::find(component.name).is_some()));
        assert!(super::find("none").is_none());
    }

    #[cfg(feature = "guests")]
    #[test]
    fn guests_are_found_by_name() {
        assert!(super::find_guest("trap").is_some_and(|guest| guest.bytes.starts_with(COMPONENT_MAGIC)));
    }
}
