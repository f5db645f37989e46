//! The shape of a type, as the document shows it.

use schemars::{JsonSchema, Schema, SchemaGenerator};

/// The schema of a type, named in the document.
pub(super) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}
