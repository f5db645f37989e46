//! What a component is by its bytes alone: nothing of it is compiled or run.

use std::collections::BTreeSet;

use tollgate_core::line::plain;
use wasmparser::{BinaryReaderError, KnownCustom, Parser, Payload};

use crate::binding::{Kind, Limits};
use crate::compile;
use crate::digest::Digest;
use crate::error::LoadError;

/// What the contract's interfaces begin with.
const CONTRACT: &str = "tollgate:plugin/";
/// Most names of one list that are told.
const NAMES_MAX: usize = 100;
/// Longest name that is told.
const NAME_BYTES_MAX: usize = 200;

/// What a component file is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspection {
    /// SHA-256 of the file.
    pub digest: Option<Digest>,
    /// What it can be used as, by the first interface of the contract that it exports.
    pub kind: Option<Kind>,
    /// The version of the contract that this interface is of.
    pub contract: Option<String>,
    /// What it imports.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of code in it.
    pub code_bytes: u64,
    /// Functions in it.
    pub functions: u32,
    /// Whether it names its functions, which makes a trap readable.
    pub names_functions: bool,
    /// With what it was made, as it says itself: languages and tools.
    pub made_with: Vec<String>,
}

/// Looks at the bytes of a component.
///
/// # Errors
/// When they are no component, or are built to exhaust the compiler.
pub fn inspect(bytes: &[u8], limits: &Limits) -> Result<Inspection, LoadError> {
    compile::inspect(bytes, limits)?;
    let (digest, length) = (Some(Digest::of(bytes)), bytes.len() as u64);
    let mut found = Inspection { digest, bytes: length, ..Inspection::default() };
    let (mut depth, mut made_with) = (0_u32, BTreeSet::new());
    let malformed = |error: BinaryReaderError| LoadError::Malformed(error.to_string());
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(malformed)?;
        match &payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CodeSectionStart { count, size, .. } => {
                found.functions = found.functions.saturating_add(*count);
                found.code_bytes += u64::from(*size);
            }
            _ => {}
        }
        if depth == 1 {
            found.note_interfaces(payload)?;
        } else if let Payload::CustomSection(section) = payload {
            match section.as_known() {
                KnownCustom::Name(_) => found.names_functions = true,
                // What tools say of themselves is nothing to refuse a component for.
                KnownCustom::Producers(fields) => {
                    for field in fields.into_iter().flatten() {
                        let tools = field.values.into_iter().flatten();
                        made_with.extend(tools.map(|tool| told(&format!("{} {}", tool.name, tool.version))));
                    }
                }
                _ => {}
            }
        }
    }
    found.made_with = made_with.into_iter().take(NAMES_MAX).collect();
    Ok(found)
}

impl Inspection {
    /// Notes what the component itself imports and exports, and no part of it.
    fn note_interfaces(&mut self, payload: Payload<'_>) -> Result<(), LoadError> {
        let malformed = |error: BinaryReaderError| LoadError::Malformed(error.to_string());
        match payload {
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    push(&mut self.imports, import.map_err(malformed)?.name.name);
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    let name = export.map_err(malformed)?.name.name;
                    push(&mut self.exports, name);
                    if let Some((kind, contract)) = of_contract(name).filter(|_| self.kind.is_none()) {
                        (self.kind, self.contract) = (Some(kind), Some(told(contract)));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn push(names: &mut Vec<String>, name: &str) {
    if names.len() < NAMES_MAX {
        names.push(told(name));
    }
}

/// A name of a stranger's on one line.
fn told(name: &str) -> String {
    plain(&name[..name.floor_char_boundary(NAME_BYTES_MAX)]).into_owned()
}

/// The kind that an export makes a component, with the version of the contract.
fn of_contract(export: &str) -> Option<(Kind, &str)> {
    let (interface, version) = export.strip_prefix(CONTRACT)?.split_once('@')?;
    Kind::ALL.into_iter().find(|kind| kind.interface() == interface).map(|kind| (kind, version))
}

#[cfg(test)]
mod tests {
    use super::{Kind, inspect, of_contract};
    use crate::binding::Limits;
    use crate::error::LoadError;

    #[test]
    fn an_export_of_the_contract_says_what_a_component_is() {
        assert_eq!(of_contract("tollgate:plugin/pricing@0.1.0"), Some((Kind::PricingPolicy, "0.1.0")));
        assert_eq!(of_contract("tollgate:plugin/filtering@9.0.0"), Some((Kind::ContentFilter, "9.0.0")));
        assert_eq!(of_contract("tollgate:plugin/types@0.2.0"), None);
        assert_eq!(of_contract("other:plugin/pricing@0.1.0"), None);
        assert_eq!(of_contract("pricing"), None);
    }

    #[test]
    fn what_is_no_component_is_said_to_be_none() {
        let refused = |bytes: &[u8]| inspect(bytes, &Limits::DEFAULT).unwrap_err();
        assert!(matches!(refused(b"\0asm\x01\0\0\0"), LoadError::CoreModule));
        assert!(matches!(refused(b"hello"), LoadError::Malformed(_)));
        let empty = inspect(b"\0asm\x0d\0\x01\0", &Limits::DEFAULT).unwrap();
        assert_eq!((empty.kind, empty.functions, empty.bytes), (None, 0, 8));
    }
}
