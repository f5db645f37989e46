//! A `GenerateContentResponse`: what `:generateContent` answers, and each chunk of a stream.

use std::borrow::Cow;

use super::UsageMetadata;
use crate::chat;
use crate::gemini::proto::Proto as _;
use crate::gemini::signature;
use crate::json::{Node, Number, Object, Raw, Text, Writer};
use crate::model::{
    Arguments, Body, Call, Candidate, Citation, Finish, Part, Refused, Response, Signature, Tier,
    TokenLogprob,
};
use crate::target::Context;
use tollgate_plugin::types::{Class, Operation, Quality, Side, Usage};

/// Members of an answer, of which one without candidates has some.
const KNOWN: [&str; 4] = ["usageMetadata", "promptFeedback", "modelVersion", "responseId"];

/// Parses an answer. One whose prompt was blocked has a candidate that says so, and one without any is empty.
///
/// # Errors
/// It is not an answer of this protocol, or it says that it failed.
pub(crate) fn parse<'a>(document: &Node<'a, '_>) -> Result<Response<'a>, Refused> {
    let body = document.object()?;
    let mut candidates = Vec::new();
    let list = body.field("candidates");
    if let Some(list) = list {
        list.each(|node| candidates.extend(node.members().map(|one| candidate(&one))));
    }
    candidates.extend(blocked(&body).filter(|_| candidates.is_empty()));
    let usage = body.field("usageMetadata");
    let (id, model) = (body.field("responseId"), body.field("modelVersion"));
    if candidates.is_empty() {
        if let Some(words) = chat::error_told(document) {
            return Err(document.refuse(words.into_owned()));
        }
        // An empty message is written as nothing at all.
        let known = KNOWN.into_iter().any(|name| body.has_field(name));
        if list.is_none() && !known && document.raw().0.len() > 2 {
            return Err(body.lacks("candidates"));
        }
        candidates.push(Candidate { parts: Vec::new(), finish: Finish::Stop, logprobs: Vec::new() });
    }
    Ok(Response {
        id: id.map(|id| id.words()),
        model: model.map(|model| model.words()),
        created: None,
        candidates,
        usage: usage.map_or(Usage::MISSING, |usage| parse_usage(&usage)),
        tier: usage.and_then(|usage| tier(&usage)),
    })
}

pub(super) fn parse_usage(node: &Node<'_, '_>) -> Usage {
    let usage = node.shaped::<UsageMetadata>();
    usage.map_or(Usage::MISSING, |usage| usage.classes(Operation::Generate))
}

pub(super) fn tier(usage: &Node<'_, '_>) -> Option<Tier> {
    match &*usage.object().ok()?.field("serviceTier")?.string().ok()?.to_ascii_lowercase() {
        "standard" => Some(Tier::Standard),
        "flex" => Some(Tier::Flex),
        "priority" => Some(Tier::Priority),
        _ => None,
    }
}

/// What stands for the answer to a prompt that was blocked.
pub(super) fn blocked<'a>(body: &Object<'a, '_>) -> Option<Candidate<'a>> {
    let feedback = body.field("promptFeedback")?.members()?;
    let reason = feedback.field("blockReason")?;
    if reason.words().is_empty() || reason.is("BLOCK_REASON_UNSPECIFIED") {
        return None;
    }
    let message = feedback.field("blockReasonMessage").map(|message| message.words());
    let parts = message.map(|message| Part::from(Body::Refusal(message))).into_iter().collect();
    Some(Candidate { parts, finish: Finish::Filtered, logprobs: Vec::new() })
}

pub(super) fn candidate<'a>(candidate: &Object<'a, '_>) -> Candidate<'a> {
    let mut parts = Vec::new();
    if let Some(content) = candidate.field("content") {
        match content.members() {
            Some(content) => {
                if let Some(list) = content.field("parts") {
                    list.each(|node| part(&node, &mut parts));
                }
            }
            None => content.each(|node| part(&node, &mut parts)),
        }
    }
    cite(&mut parts, citations(candidate));
    let finish = candidate.field("finishReason").map_or(Finish::Stop, |reason| finish(&reason));
    Candidate { parts, finish, logprobs: logprobs(candidate).unwrap_or_default() }
}

/// Attaches sources to the text, the last part if there are several.
fn cite<'a>(parts: &mut Vec<Part<'a>>, sources: Vec<Citation<'a>>) {
    if sources.is_empty() {
        return;
    }
    let last = parts.iter_mut().rev().find_map(|part| match &mut part.body {
        Body::Text { citations, .. } => Some(citations),
        _ => None,
    });
    match last {
        Some(citations) => *citations = sources,
        None => parts.push(Part::from(Body::Text { text: Text::EMPTY, citations: sources })),
    }
}

/// Parts that only Google's own tools bring are left out.
fn part<'a>(node: &Node<'a, '_>, parts: &mut Vec<Part<'a>>) {
    let Some(part) = node.members() else {
        parts.extend(
            Some(node.words()).filter(|text| !text.is_empty()).map(|text| Part::from(Body::text(text))),
        );
        return;
    };
    let signature = part.field("thoughtSignature").and_then(|text| text.text().ok()).map(signature::open);
    let thought = part.field("thought").is_some_and(|thought| thought.is_true());
    let text = part.field("text").map(|text| text.all_text());
    if let Some(call) = part.field("functionCall").and_then(|call| call.members()) {
        parts.push(Part::from(Body::Call(Call {
            id: call.take("id").map(|id| id.words().into_decoded()).unwrap_or_default(),
            name: call.take("name").map(|name| name.words().into_decoded()).unwrap_or_default(),
            arguments: call.take("args").map_or(Arguments::Object(Raw("{}")), |args| arguments(&args)),
            signature,
        })));
    } else if thought {
        parts.push(Part::from(Body::Thinking { text: text.unwrap_or(Text::EMPTY), signature }));
    } else {
        parts.extend(text.filter(|text| !text.is_empty()).map(|text| Part::from(Body::text(text))));
        let proof =
            signature.map(|signature| Body::Thinking { text: Text::EMPTY, signature: Some(signature) });
        parts.extend(proof.map(Part::from));
    }
}

/// Arguments: an object or, at some relays, a string that holds it.
fn arguments<'a>(node: &Node<'a, '_>) -> Arguments<'a> {
    match node.text() {
        Ok(text) => Arguments::Encoded(text),
        Err(_) if node.is_object() => Arguments::Object(node.raw()),
        Err(_) => Arguments::Encoded(Text::plain(node.raw().0)),
    }
}

/// The reason for the end; an unknown one means that it ended well.
pub(super) fn finish(reason: &Node<'_, '_>) -> Finish<'static> {
    match &*reason.words().decode() {
        "MAX_TOKENS" | "CONTINUATION" => Finish::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "IMAGE_OTHER"
        | "ESCALATION"
        | "MODEL_ARMOR"
        | "PUP_LIMITED_DISABLED"
        | "OTHER"
        | "NO_IMAGE" => Finish::Filtered,
        _ => Finish::Stop,
    }
}

fn citations<'a>(candidate: &Object<'a, '_>) -> Vec<Citation<'a>> {
    let mut citations = Vec::new();
    let Some(metadata) = candidate.field("citationMetadata").and_then(|metadata| metadata.members()) else {
        return citations;
    };
    let list = metadata.field("citationSources");
    let Some(list) = metadata.field("citations").or(list) else { return citations };
    list.each(|node| {
        let Some(source) = node.members() else { return };
        let start = source.field("startIndex").and_then(|at| at.any_number());
        let end = source.field("endIndex").and_then(|at| at.any_number());
        let title = source.field("title").map(|title| title.words());
        if let Some(url) = source.field("uri") {
            citations.push(Citation { url: url.words(), title, start, end });
        }
    });
    citations
}

fn logprobs<'a>(candidate: &Object<'a, '_>) -> Result<Vec<TokenLogprob<'a>>, Refused> {
    let Some(result) = candidate.field("logprobsResult") else { return Ok(Vec::new()) };
    let result = result.object()?;
    let Some(chosen) = result.field("chosenCandidates") else { return Ok(Vec::new()) };
    let mut tokens = chosen.list(|node| token(&node))?;
    if let Some(top) = result.field("topCandidates") {
        let mut places = tokens.iter_mut();
        top.items(|place| {
            let place = place.object()?;
            if let (Some(token_at), Some(list)) = (places.next(), place.field("candidates")) {
                token_at.alternatives = list.list(|node| token(&node))?;
            }
            Ok(())
        })?;
    }
    Ok(tokens)
}

fn token<'a>(node: &Node<'a, '_>) -> Result<TokenLogprob<'a>, Refused> {
    let token = node.object()?;
    Ok(TokenLogprob {
        token: token.field("token").map_or(Ok(Text::EMPTY), |token| token.text())?,
        logprob: token.field("logProbability").map_or(Ok(Number("0")), |logprob| logprob.number())?,
        bytes: None,
        alternatives: Vec::new(),
    })
}

/// Prints an answer.
pub(crate) fn print(response: Response<'_>, context: &Context) -> String {
    let mut writer = Writer::default();
    writer.object(|w| {
        w.array_at("candidates", |w| {
            for (index, candidate) in (0_u64..).zip(&response.candidates) {
                w.object(|w| print_candidate(w, index, candidate));
            }
        });
        print_usage(w, &response.usage, response.tier);
        w.field("modelVersion", context.answer_model(response.model));
        w.field("responseId", context.answer_id("resp", response.id));
    });
    writer.take()
}

fn print_candidate(w: &mut Writer, index: u64, candidate: &Candidate<'_>) {
    print_content(w, |w| candidate.parts.iter().for_each(|part| print_part(w, part)));
    w.field("finishReason", finish_name(&candidate.finish));
    w.field("index", index);
    let cited = candidate.parts.iter().filter_map(|part| match &part.body {
        Body::Text { citations, .. } => Some(citations),
        _ => None,
    });
    print_citations(w, &cited.flatten().collect::<Vec<_>>());
    print_logprobs(w, &candidate.logprobs);
}

pub(super) fn print_content(w: &mut Writer, parts: impl FnOnce(&mut Writer)) {
    w.object_at("content", |w| {
        w.array_at("parts", parts);
        w.field("role", "model");
    });
}

fn print_part(w: &mut Writer, part: &Part<'_>) {
    match &part.body {
        Body::Text { text, .. } | Body::Refusal(text) => w.object(|w| w.field("text", text)),
        Body::Thinking { text, signature } => print_thought(w, text, signature.as_ref()),
        Body::Call(call) => {
            print_call(w, &call.id, &call.name, &call.arguments.object_or_wrapped(), call.signature.as_ref());
        }
        // Models do not answer calls, and no other protocol shows images that they make.
        Body::Image { .. } | Body::File { .. } | Body::Audio { .. } | Body::Outcome(_) => {}
    }
}

pub(super) fn print_thought(w: &mut Writer, text: &Text<'_>, signature: Option<&Signature<'_>>) {
    w.object(|w| {
        w.field("text", text);
        w.field("thought", true);
        w.optional("thoughtSignature", signature.map(signature::sealed));
    });
}

/// `arguments` is the text of an object.
pub(super) fn print_call(
    w: &mut Writer,
    id: &str,
    name: &str,
    arguments: &str,
    signature: Option<&Signature<'_>>,
) {
    w.object(|w| {
        w.object_at("functionCall", |w| {
            w.optional("id", Some(Cow::Borrowed(id)).filter(|id| !id.is_empty()));
            w.field("name", name);
            w.field("args", Raw(arguments));
        });
        w.optional("thoughtSignature", signature.map(signature::sealed));
    });
}

pub(super) const fn finish_name(finish: &Finish<'_>) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::Calls | Finish::Pause => "STOP",
        Finish::Length | Finish::ContextFull => "MAX_TOKENS",
        Finish::Filtered => "SAFETY",
    }
}

pub(super) fn print_citations(w: &mut Writer, citations: &[&Citation<'_>]) {
    if citations.is_empty() {
        return;
    }
    w.object_at("citationMetadata", |w| {
        w.array_at("citations", |w| {
            for citation in citations {
                w.object(|w| {
                    w.optional("startIndex", citation.start);
                    w.optional("endIndex", citation.end);
                    w.field("uri", &citation.url);
                    w.optional("title", citation.title.as_ref());
                });
            }
        });
    });
}

pub(super) fn print_logprobs(w: &mut Writer, tokens: &[TokenLogprob<'_>]) {
    if tokens.is_empty() {
        return;
    }
    w.object_at("logprobsResult", |w| {
        w.array_at("chosenCandidates", |w| tokens.iter().for_each(|token| print_token(w, token)));
        w.array_at("topCandidates", |w| {
            for token in tokens {
                w.object(|w| {
                    w.array_at("candidates", |w| {
                        token.alternatives.iter().for_each(|other| print_token(w, other));
                    });
                });
            }
        });
    });
}

fn print_token(w: &mut Writer, token: &TokenLogprob<'_>) {
    w.object(|w| {
        w.field("token", &token.token);
        w.field("logProbability", token.logprob);
    });
}

/// The counts: the prompt contains what came from a cache, candidates do not contain thoughts. Zeros are left out.
pub(super) fn print_usage(w: &mut Writer, usage: &Usage, tier: Option<Tier>) {
    if usage.quality == Quality::Missing {
        return;
    }
    let sum = |counts: &[u64]| counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
    let prompt = usage.tokens_of(Side::Prompt);
    let candidates = usage.tokens_of(Side::Output).saturating_sub(usage[Class::Reasoning]);
    let positive = |count: u64| Some(count).filter(|count| *count > 0);
    w.object_at("usageMetadata", |w| {
        w.field("promptTokenCount", prompt);
        w.field("candidatesTokenCount", candidates);
        w.field("totalTokenCount", sum(&[prompt, candidates, usage[Class::Reasoning]]));
        w.optional("cachedContentTokenCount", positive(usage[Class::CacheRead]));
        w.optional("thoughtsTokenCount", positive(usage[Class::Reasoning]));
        w.optional("serviceTier", tier.and_then(tier_name));
    });
}

const fn tier_name(tier: Tier) -> Option<&'static str> {
    match tier {
        Tier::Auto | Tier::Batch => None,
        Tier::Standard => Some("standard"),
        Tier::Flex => Some("flex"),
        Tier::Priority => Some("priority"),
    }
}
