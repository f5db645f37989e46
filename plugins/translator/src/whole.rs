//! Calls whose answer is never streamed: token counts and embeddings.

use tollgate_plugin::adapter::{Answer, Reply, Translated};
use tollgate_protocols::Refused;
use tollgate_protocols::target::Target;
use tollgate_protocols::translate::Pair;

use crate::reply;

/// Reads an upstream's answer.
type Read = Box<dyn Fn(&[u8]) -> Result<Vec<u8>, Refused>>;

/// Translates the answer.
struct Whole {
    pair: Pair,
    request_id: String,
    read: Read,
}

/// # Errors
/// The request cannot be expressed in the upstream's protocol.
pub(crate) fn count(
    pair: Pair,
    request_id: String,
    body: &[u8],
    target: &Target<'_>,
) -> Result<Translated, Refused> {
    let body = pair.count(body, target)?;
    Ok(translated(pair, request_id, body, Box::new(move |answer| pair.counted(answer))))
}

/// # Errors
/// As [`count`].
pub(crate) fn embed(
    pair: Pair,
    request_id: String,
    body: &[u8],
    target: &Target<'_>,
) -> Result<Translated, Refused> {
    let embedding = pair.embed(body, target)?;
    let read = Box::new(move |answer: &[u8]| pair.embeddings(answer, &embedding.asked));
    Ok(translated(pair, request_id, embedding.body, read))
}

fn translated(pair: Pair, request_id: String, body: Vec<u8>, read: Read) -> Translated {
    Translated { body, left_out: String::new(), answer: Box::new(Whole { pair, request_id, read }) }
}

impl Answer for Whole {
    fn whole(&mut self, body: &[u8]) -> Result<Vec<u8>, String> {
        (self.read)(body).map_err(|refused| refused.to_string())
    }

    fn failure(&mut self, status: u16, body: &[u8]) -> Reply {
        reply(self.pair.error(status, body, &self.request_id))
    }

    /// Nothing is streamed here, so there is no output.
    fn part(&mut self, _bytes: &[u8]) -> Vec<u8> {
        Vec::new()
    }

    fn end(&mut self) -> Vec<u8> {
        Vec::new()
    }
}
