//! A `chat.completion`: what `POST /v1/chat/completions` answers.

use crate::chat::request::google_signature;
use crate::json::{Node, Number, Object, Text, Writer};
use crate::model::{
    Arguments, Body, Call, Candidate, Citation, Finish, Part, Refused, Response, Signature, TokenLogprob,
};
use crate::openai::{ChatUsage, ResponsesUsage};
use crate::openai_terms::{self, Totals};
use crate::target::Context;
use tollgate_plugin::types::{Class, Operation, Protocol, Quality, Usage};

/// Parses an answer.
///
/// # Errors
/// It is not an answer of this protocol.
pub(crate) fn parse<'a>(document: &Node<'a, '_>) -> Result<Response<'a>, Refused> {
    let body = document.object()?;
    Ok(Response {
        id: body.take("id").map(|id| id.text()).transpose()?,
        model: body.take("model").map(|model| model.text()).transpose()?,
        created: body.take("created").and_then(|created| created.whole().ok()),
        candidates: body.need("choices")?.list(|choice| candidate(&choice.object()?))?,
        usage: body.take("usage").map_or(Usage::MISSING, |usage| parse_usage(&usage)),
        tier: parse_tier(&body),
    })
}

pub(in crate::chat) fn parse_tier(body: &Object<'_, '_>) -> Option<crate::model::Tier> {
    openai_terms::tier_named(&body.take("service_tier")?.string().ok()?)
}

pub(in crate::chat) fn parse_usage(node: &Node<'_, '_>) -> Usage {
    let usage = node.shaped::<ChatUsage>().unwrap_or_default();
    ResponsesUsage::from(usage).classes(Operation::Generate)
}

fn candidate<'a>(choice: &Object<'a, '_>) -> Result<Candidate<'a>, Refused> {
    let message = choice.need("message")?.object()?;
    let mut parts = Vec::new();
    if let Some(text) = thoughts(&message)? {
        parts.push(Part::from(Body::Thinking { text, signature: None }));
    }
    if let Some(text) = message.take("content") {
        let citations = match message.take("annotations") {
            Some(list) => citations(&list)?,
            None => Vec::new(),
        };
        parts.push(Part::from(Body::Text { text: text.text()?, citations }));
    }
    if let Some(refusal) = message.take("refusal") {
        parts.push(Part::from(Body::Refusal(refusal.text()?)));
    }
    if let Some(calls) = message.take("tool_calls") {
        calls.items(|node| {
            parts.push(Part::from(Body::Call(call(&node.object()?)?)));
            Ok(())
        })?;
    }
    let finish = choice.take("finish_reason").map_or(Ok(Finish::Stop), |reason| finish(&reason))?;
    Ok(Candidate { parts, finish, logprobs: parse_logprobs(choice)? })
}

/// Thoughts, as servers of other models state them.
pub(in crate::chat) fn thoughts<'a>(message: &Object<'a, '_>) -> Result<Option<Text<'a>>, Refused> {
    let thoughts = message.take("reasoning_content");
    let thoughts = message.take("reasoning").or(thoughts).map(|thoughts| thoughts.text()).transpose()?;
    Ok(thoughts.filter(|thoughts| !thoughts.is_empty()))
}

pub(in crate::chat) fn citations<'a>(list: &Node<'a, '_>) -> Result<Vec<Citation<'a>>, Refused> {
    let mut citations = Vec::new();
    list.items(|node| {
        if let Some(citation) = node.object()?.take("url_citation") {
            let citation = citation.object()?;
            citations.push(Citation {
                url: citation.need("url")?.text()?,
                title: citation.take("title").map(|title| title.text()).transpose()?,
                start: citation.take("start_index").map(|at| at.number()).transpose()?,
                end: citation.take("end_index").map(|at| at.number()).transpose()?,
            });
        }
        Ok(())
    })?;
    Ok(citations)
}

fn call<'a>(call: &Object<'a, '_>) -> Result<Call<'a>, Refused> {
    let signature = call.take("extra_content").map(|extra| google_signature(&extra)).transpose()?;
    let function = call.need("function")?.object()?;
    let arguments = function.take("arguments").map_or(Ok(Text::EMPTY), |arguments| arguments.text())?;
    Ok(Call {
        id: call.take("id").map(|id| id.string()).transpose()?.unwrap_or_default(),
        name: function.need("name")?.string()?,
        arguments: Arguments::Encoded(arguments),
        signature: signature.flatten(),
    })
}

/// The reason for the end; an unknown one means that it ended well.
pub(in crate::chat) fn finish(reason: &Node<'_, '_>) -> Result<Finish<'static>, Refused> {
    Ok(match &*reason.string()? {
        "length" => Finish::Length,
        "tool_calls" | "function_call" => Finish::Calls,
        "content_filter" => Finish::Filtered,
        _ => Finish::Stop,
    })
}

pub(in crate::chat) fn parse_logprobs<'a>(choice: &Object<'a, '_>) -> Result<Vec<TokenLogprob<'a>>, Refused> {
    let Some(logprobs) = choice.take("logprobs") else { return Ok(Vec::new()) };
    let content = logprobs.object()?.take("content").map(|list| openai_terms::parse_logprobs(&list));
    content.unwrap_or(Ok(Vec::new()))
}

/// Prints an answer.
pub(crate) fn print(response: Response<'_>, context: &Context) -> String {
    let mut writer = Writer::default();
    writer.object(|w| {
        w.field("id", context.answer_id("chatcmpl", response.id));
        w.field("object", "chat.completion");
        w.field("created", response.created.unwrap_or(context.now_s));
        w.field("model", context.answer_model(response.model));
        w.array_at("choices", |w| {
            for (index, candidate) in (0_u64..).zip(&response.candidates) {
                w.object(|w| print_candidate(w, index, candidate));
            }
        });
        if response.usage.quality != Quality::Missing {
            w.object_at("usage", |w| print_usage(w, &response.usage));
        }
        w.optional("service_tier", response.tier.map(openai_terms::tier_name));
    });
    writer.take()
}

fn print_candidate(w: &mut Writer, index: u64, candidate: &Candidate<'_>) {
    let answer = Answer::of(&candidate.parts);
    w.field("index", index);
    w.object_at("message", |w| {
        w.field("role", "assistant");
        answer.print(w);
    });
    if candidate.logprobs.is_empty() {
        w.null("logprobs");
    } else {
        w.object_at("logprobs", |w| print_content_logprobs(w, &candidate.logprobs));
    }
    w.field("finish_reason", finish_name(&candidate.finish, !answer.calls.is_empty()));
}

pub(in crate::chat) fn print_content_logprobs(w: &mut Writer, tokens: &[TokenLogprob<'_>]) {
    w.array_at("content", |w| openai_terms::print_logprobs(w, tokens));
    w.null("refusal");
}

/// `calls` tells whether the answer has any: they have to be answered, whatever reason the upstream gives.
pub(crate) const fn finish_name(finish: &Finish<'_>, calls: bool) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::Pause if calls => "tool_calls",
        Finish::Stop | Finish::StopSequence(_) | Finish::Pause => "stop",
        Finish::Length | Finish::ContextFull => "length",
        Finish::Calls => "tool_calls",
        Finish::Filtered => "content_filter",
    }
}

/// The parts of an answer, each where this protocol has it.
#[derive(Default)]
struct Answer<'s, 'a> {
    text: Option<Text<'s>>,
    refusal: Option<Text<'s>>,
    thoughts: Vec<(&'s Text<'a>, Option<&'s Signature<'a>>)>,
    calls: Vec<&'s Call<'a>>,
    citations: Vec<&'s Citation<'a>>,
}

impl<'s, 'a> Answer<'s, 'a> {
    fn of(parts: &'s [Part<'a>]) -> Self {
        let mut answer = Self::default();
        for part in parts {
            match &part.body {
                Body::Text { text, citations } => {
                    extend(&mut answer.text, text);
                    answer.citations.extend(citations);
                }
                Body::Refusal(text) => extend(&mut answer.refusal, text),
                Body::Thinking { text, signature } => answer.thoughts.push((text, signature.as_ref())),
                Body::Call(call) => answer.calls.push(call),
                _ => {}
            }
        }
        answer
    }

    fn print(&self, w: &mut Writer) {
        match &self.text {
            Some(text) => w.field("content", text),
            None => w.null("content"),
        }
        match &self.refusal {
            Some(refusal) => w.field("refusal", refusal),
            None => w.null("refusal"),
        }
        if !self.citations.is_empty() {
            w.array_at("annotations", |w| {
                self.citations.iter().for_each(|citation| print_citation(w, citation));
            });
        }
        self.print_thoughts(w);
        if !self.calls.is_empty() {
            w.array_at("tool_calls", |w| {
                self.calls.iter().for_each(|call| w.object(|w| print_call(w, call)))
            });
        }
    }

    fn print_thoughts(&self, w: &mut Writer) {
        let mut all = None;
        self.thoughts.iter().for_each(|(text, _)| extend(&mut all, text));
        w.optional("reasoning_content", all.filter(|all| !all.is_empty()));
        if self.thoughts.iter().any(|(_, signature)| signature.is_some()) {
            w.array_at("reasoning_details", |w| {
                for (index, (text, signature)) in (0_u64..).zip(&self.thoughts) {
                    print_thought(w, index, Some(text), *signature);
                }
            });
        }
    }
}

fn extend<'s>(whole: &mut Option<Text<'s>>, piece: &'s Text<'_>) {
    match whole {
        Some(whole) => whole.append(piece),
        None => *whole = Some(piece.borrowed()),
    }
}

/// One of `reasoning_details`; `index` counts thoughts.
pub(in crate::chat) fn print_thought(
    w: &mut Writer,
    index: u64,
    text: Option<&Text<'_>>,
    signature: Option<&Signature<'_>>,
) {
    w.object(|w| {
        match signature {
            Some(signature) if signature.redacted => {
                w.field("type", "reasoning.encrypted");
                w.field("data", signature.sealed(Protocol::OpenaiChat));
            }
            _ => {
                w.field("type", "reasoning.text");
                w.optional("text", text);
                w.optional("signature", signature.map(|signature| signature.sealed(Protocol::OpenaiChat)));
            }
        }
        w.field("index", index);
    });
}

pub(in crate::chat) fn print_citation(w: &mut Writer, citation: &Citation<'_>) {
    let zero = Number("0");
    w.object(|w| {
        w.field("type", "url_citation");
        w.object_at("url_citation", |w| {
            w.field("start_index", citation.start.unwrap_or(zero));
            w.field("end_index", citation.end.unwrap_or(zero));
            w.field("title", citation.title.as_ref().unwrap_or(&Text::EMPTY));
            w.field("url", &citation.url);
        });
    });
}

fn print_call(w: &mut Writer, call: &Call<'_>) {
    w.field("id", &call.id);
    w.field("type", "function");
    w.object_at("function", |w| {
        w.field("name", &call.name);
        w.field("arguments", call.arguments.encoded());
    });
    print_signature(w, call.signature.as_ref());
}

/// What Gemini wants back with a call, where Google's own layer puts it.
pub(in crate::chat) fn print_signature(w: &mut Writer, signature: Option<&Signature<'_>>) {
    let Some(signature) = signature else { return };
    w.object_at("extra_content", |w| {
        w.object_at("google", |w| w.field("thought_signature", &signature.value));
    });
}

pub(crate) fn print_usage(w: &mut Writer, usage: &Usage) {
    let totals = Totals::of(usage);
    w.field("prompt_tokens", totals.input);
    w.field("completion_tokens", totals.output);
    w.field("total_tokens", totals.total());
    w.object_at("prompt_tokens_details", |w| {
        w.field("cached_tokens", totals.cached);
        w.field("cache_write_tokens", totals.cache_written);
        w.field("audio_tokens", usage[Class::AudioInput]);
    });
    w.object_at("completion_tokens_details", |w| {
        w.field("reasoning_tokens", usage[Class::Reasoning]);
        w.field("audio_tokens", usage[Class::AudioOutput]);
    });
}
