//! JSON as the protocols need it: taken apart member by member, put together in one pass, and never re-spelled.
//!
//! What is only carried (text, numbers, schemas, arguments) stays as it was written: [`Text`], [`Number`] and [`Raw`]
//! are slices of the input, so that `0.10` stays `0.10`, an escape stays an escape, and half an emoji in one event
//! meets its other half in the next.

pub(crate) mod halves;
mod loose;
pub(crate) mod read;
pub(crate) mod text;
pub(crate) mod write;

pub(crate) use halves::without_halves;
pub(crate) use read::{Node, Object, place_at};
pub(crate) use text::{Number, Raw, Text};
pub(crate) use write::Writer;
