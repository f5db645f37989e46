//! One embedding, as either protocol spells it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::json::{Node, Number, Raw, Text, Writer};
use crate::model::Refused;

/// One embedding.
#[derive(Debug)]
pub(super) enum Vector<'a> {
    /// A list of numbers, as it came.
    Numbers(Raw<'a>, Vec<f32>),
    /// Little-endian 32-bit floats in base64, as it came.
    Base64(Text<'a>),
}

impl<'a> Vector<'a> {
    /// Reads either spelling: some servers answer in base64 though they were asked for numbers.
    ///
    /// # Errors
    /// It is neither.
    pub(super) fn read(node: &Node<'a, '_>) -> Result<Self, Refused> {
        if node.is_string() {
            return Ok(Self::Base64(node.text()?));
        }
        let floats = node.list(|number| number.number().map(nearest))?;
        Ok(Self::Numbers(node.raw(), floats))
    }

    /// Writes it as a member that is a list of numbers.
    ///
    /// # Errors
    /// It came as something that is not base64 of floats.
    pub(super) fn numbers(&self, w: &mut Writer, name: &str) -> Result<(), Refused> {
        match self {
            Self::Numbers(list, _) => w.field(name, list),
            Self::Base64(text) => {
                let spelled: Vec<String> = floats(text)?.iter().map(f32::to_string).collect();
                w.array_at(name, |w| spelled.iter().for_each(|number| w.value(Number(number))));
            }
        }
        Ok(())
    }

    /// Writes it as a member that is base64.
    pub(super) fn base64(&self, w: &mut Writer, name: &str) {
        match self {
            Self::Numbers(_, floats) => {
                let bytes: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
                w.field(name, STANDARD.encode(bytes));
            }
            Self::Base64(text) => w.field(name, text),
        }
    }
}

/// The float nearest to a number. JSON's grammar is narrower than what Rust parses.
fn nearest(number: Number<'_>) -> f32 {
    number.0.parse().unwrap_or_default()
}

/// # Errors
/// It is not base64 of finite floats: JSON cannot express others.
fn floats(text: &Text<'_>) -> Result<Vec<f32>, Refused> {
    let broken = || Refused::new("", "an embedding is no base64 of 32-bit floats");
    let bytes = STANDARD.decode(text.decode().as_bytes()).map_err(|_| broken())?;
    let (floats, rest) = bytes.as_chunks::<4>();
    let floats: Vec<f32> = floats.iter().copied().map(f32::from_le_bytes).collect();
    let sound = rest.is_empty() && floats.iter().all(|float| float.is_finite());
    if sound { Ok(floats) } else { Err(broken()) }
}
