//! Embeddings: OpenAI's `/v1/embeddings`, and Gemini's `:embedContent` and `:batchEmbedContents`. The other protocols
//! have none.
//!
//! Numbers keep their spelling, except where a client wants them as base64 of little-endian 32-bit floats, as OpenAI's
//! own SDKs do. `user` is left out: it concerns OpenAI's abuse detection. Gemini's tasks and titles cannot be expressed
//! at OpenAI, and OpenAI's token numbers mean nothing to Gemini: both are refused.

mod gemini;
mod openai;
mod vector;

use crate::json::{Node, Number, Text};
use crate::model::{At, Refused};
use crate::target::Target;
use crate::translate::Pair;
use tollgate_plugin::types::Protocol;

use vector::Vector;

/// Bytes of text that stand for one token where the upstream states no usage.
const BYTES_PER_TOKEN: u64 = 3;

/// A request for embeddings.
#[derive(Debug)]
struct Inputs<'a> {
    texts: Vec<Text<'a>>,
    /// How many numbers an embedding is to have.
    dimensions: Option<At<Number<'a>>>,
    form: Form,
}

/// The shape in which the client reads its embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// OpenAI's list, as numbers.
    Numbers,
    /// OpenAI's list, as base64.
    Base64,
    /// Gemini's single embedding.
    One,
    /// Gemini's batch.
    Batch,
}

/// An upstream's answer.
#[derive(Debug)]
struct Outputs<'a> {
    /// In the order of the texts.
    vectors: Vec<Vector<'a>>,
    /// Prompt tokens, where they are stated.
    tokens: Option<u64>,
}

/// A request for the upstream, and what the translation of its answer needs.
#[derive(Debug)]
pub struct Embedding {
    /// JSON.
    pub body: Vec<u8>,
    /// For [`Pair::embeddings`].
    pub asked: Asked,
}

/// What the translation of an answer needs to know of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    model: String,
    form: Form,
    /// How many embeddings there must be.
    count: usize,
    /// Prompt tokens by the length of the texts.
    tokens_estimate: u64,
}

impl Pair {
    /// Translates a request for embeddings. To Gemini it is always a batch.
    ///
    /// # Errors
    /// The request is wrong, or cannot be expressed in the upstream's protocol: see [`Pair::refuse`].
    pub fn embed(self, body: &[u8], target: &Target<'_>) -> Result<Embedding, Refused> {
        let document = Node::document(body)?;
        let inputs = match self.client {
            Protocol::Gemini => gemini::parse(&document)?,
            Protocol::OpenaiChat => openai::parse(&document)?,
            _ => return Err(no_embeddings()),
        };
        let body = match self.upstream {
            Protocol::Gemini => gemini::print(&inputs, target),
            Protocol::OpenaiChat => openai::print(&inputs, target),
            _ => return Err(no_embeddings()),
        };
        let bytes: usize = inputs.texts.iter().map(|text| text.decode().len()).sum();
        let asked = Asked {
            model: target.model.to_owned(),
            form: inputs.form,
            count: inputs.texts.len(),
            tokens_estimate: (bytes as u64).div_ceil(BYTES_PER_TOKEN),
        };
        Ok(Embedding { body: body.into_bytes(), asked })
    }

    /// Translates an answer with embeddings.
    ///
    /// # Errors
    /// The upstream's answer is not of its protocol, or has another number of embeddings than were asked for.
    pub fn embeddings(self, body: &[u8], asked: &Asked) -> Result<Vec<u8>, Refused> {
        let document = Node::document(body)?;
        let outputs = match self.upstream {
            Protocol::Gemini => gemini::read(&document)?,
            _ => openai::read(&document)?,
        };
        if outputs.vectors.len() != asked.count {
            let (found, count) = (outputs.vectors.len(), asked.count);
            return Err(Refused::new("", format!("the answer has {found} embeddings for {count} inputs")));
        }
        let body = match asked.form {
            Form::Numbers | Form::Base64 => openai::write(&outputs, asked)?,
            Form::One | Form::Batch => gemini::write(&outputs, asked)?,
        };
        Ok(body.into_bytes())
    }
}

fn no_embeddings() -> Refused {
    Refused::new("", "this protocol has no embeddings")
}
