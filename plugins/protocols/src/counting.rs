//! Counting the tokens of a request without running it: Anthropic's `count_tokens`, Gemini's `:countTokens` and the
//! Responses API's `input_tokens`. Chat Completions has no such call.
//!
//! Only what the model reads counts: turns, tools with the choice among them, and the schema of an answer. Settings for
//! sampling, billing and thinking are left out.
//!
//! Gemini accepts instructions and tools only in `generateContentRequest`; a request without them is sent as plain
//! `contents`, which its platforms understand too.

use crate::gemini::Proto as _;
use crate::json::{Node, Raw, Writer};
use crate::model::{Format, LeftOut, Refused, Request, Sampling};
use crate::target::Target;
use crate::translate::{Pair, parse_request, print_request, whole};
use tollgate_plugin::types::Protocol;

/// Members that the printers write for an answer, which there will not be.
const OF_ANSWERS: [&str; 5] = ["max_tokens", "generationConfig", "store", "include", "stream"];

impl Pair {
    /// Translates a request whose tokens are to be counted.
    ///
    /// # Errors
    /// The request is wrong, or cannot be expressed in the upstream's protocol: see [`Pair::refuse`].
    pub fn count(self, body: &[u8], target: &Target<'_>) -> Result<Vec<u8>, Refused> {
        let notes = LeftOut::new(target.strict);
        let body = whole(body, &notes)?;
        let document = Node::document(body.as_bytes())?.noting(&notes);
        let mut request = self.read_counted(&document)?;
        self.prepare(&mut request, &notes)?;
        if self.upstream == Protocol::OpenaiChat {
            return Err(Refused::new("", "Chat Completions counts no tokens"));
        }
        let printed = print_request(self.upstream, &mut what_counts(request), target)?;
        let counted = self.without_answer(&printed, target)?;
        Ok(counted.into_bytes())
    }

    /// Translates a count.
    ///
    /// # Errors
    /// The upstream's answer is not of its protocol.
    pub fn counted(self, body: &[u8]) -> Result<Vec<u8>, Refused> {
        let document = Node::document(body)?;
        let answer = document.object()?;
        let tokens = match self.upstream {
            Protocol::Gemini => answer.need_field("totalTokens")?.whole()?,
            _ => answer.need("input_tokens")?.whole()?,
        };
        let mut writer = Writer::default();
        writer.object(|w| match self.client {
            Protocol::Gemini => w.field("totalTokens", tokens),
            Protocol::OpenaiResponses => {
                w.field("object", "response.input_tokens");
                w.field("input_tokens", tokens);
            }
            _ => w.field("input_tokens", tokens),
        });
        Ok(writer.take().into_bytes())
    }

    /// Gemini's clients may put the whole request into a member.
    fn read_counted<'a>(self, document: &Node<'a, '_>) -> Result<Request<'a>, Refused> {
        if self.client == Protocol::Gemini {
            let body = document.object()?;
            body.leave_out(&["model"]);
            if let Some(whole) = body.field("generateContentRequest") {
                let request = parse_request(self.client, &whole)?;
                body.finish()?;
                return Ok(request);
            }
        }
        parse_request(self.client, document)
    }

    /// A printed request without what concerns the answer, in the place where the upstream looks for it.
    fn without_answer(self, printed: &str, target: &Target<'_>) -> Result<String, Refused> {
        let document = Node::document(printed.as_bytes())?;
        let members = document.object()?;
        // Gemini counts the schema of an answer, which is in the member that is left out elsewhere.
        let schema = self.upstream == Protocol::Gemini && printed.contains("\"responseJsonSchema\"");
        let dropped = |name: &str| OF_ANSWERS.contains(&name) && !(schema && name == "generationConfig");
        let mut plain = true;
        let mut inner = Writer::default();
        inner.object(|w| {
            members.rest(|name, value| {
                if !dropped(name) {
                    plain &= name == "contents";
                    w.field(name, Raw(value.raw().0));
                }
                Ok(())
            })
        })?;
        let inner = inner.take();
        if self.upstream != Protocol::Gemini || plain {
            return Ok(inner);
        }
        let mut outer = Writer::default();
        outer.object(|w| {
            w.object_at("generateContentRequest", |w| {
                w.field("model", format!("models/{}", target.model));
                Node::document(inner.as_bytes())?.object()?.rest(|name, value| {
                    w.field(name, Raw(value.raw().0));
                    Ok(())
                })
            })
        })?;
        Ok(outer.take())
    }
}

/// The same request without what does not change the count.
fn what_counts(request: Request<'_>) -> Request<'_> {
    let Request { turns, tools, tool_choice, format, cache, .. } = request;
    let format = format.filter(|format| matches!(format.value, Format::Schema(_)));
    Request { turns, tools, tool_choice, format, cache, sampling: Sampling::default(), ..Request::default() }
}
