//! A `chat.completion`: what `POST /v1/chat/completions` answers.

use crate::chat::error;
use crate::chat::request::google_signature;
use crate::json::{Node, Number, Object, Text, Writer};
use crate::model::{
    Arguments, Body, Call, Candidate, Citation, Finish, Part, Refused, Response, Signature, TokenLogprob,
    ToolKind,
};
use crate::openai::{ChatUsage, ResponsesUsage};
use crate::openai_terms::{self, Totals};
use crate::target::Context;
use tollgate_plugin::types::{Class, Operation, Protocol, Quality, Usage};

/// Parses an answer. One without choices that states its usage is an empty one.
///
/// # Errors
/// It is not an answer of this protocol, or it says that it failed.
pub(crate) fn parse<'a>(document: &Node<'a, '_>) -> Result<Response<'a>, Refused> {
    let body = document.object()?;
    let mut candidates = Vec::new();
    if let Some(choices) = body.take("choices") {
        choices.each(|node| candidates.extend(node.members().map(|choice| candidate(&choice))));
    }
    let usage = body.take("usage").map_or(Usage::MISSING, |usage| parse_usage(&usage));
    if candidates.is_empty() {
        if let Some(words) = error::told(document) {
            return Err(document.refuse(words.into_owned()));
        }
        if usage.quality == Quality::Missing {
            return Err(body.lacks("choices"));
        }
        candidates.push(Candidate { parts: Vec::new(), finish: Finish::Stop, logprobs: Vec::new() });
    }
    Ok(Response {
        id: body.take("id").map(|id| id.words()),
        model: body.take("model").map(|model| model.words()),
        created: body.take("created").and_then(|created| created.count()),
        candidates,
        usage,
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

fn candidate<'a>(choice: &Object<'a, '_>) -> Candidate<'a> {
    let mut parts: Vec<Part<'a>> = Vec::new();
    let message = choice.take("message").or_else(|| choice.take("delta"));
    if let Some(message) = message.and_then(|message| message.members()) {
        speech(&message, &mut |body| parts.push(Part::from(body)));
        cite(&mut parts, message.take("annotations").map(|list| citations(&list)).unwrap_or_default());
        calls(&message, |piece| parts.extend(call(piece).map(|call| Part::from(Body::Call(call)))));
    } else if let Some(text) = choice.take("text") {
        parts.push(Part::from(Body::text(text.words())));
    }
    let finish = choice.take("finish_reason").map_or(Finish::Stop, |reason| finish(&reason));
    Candidate { parts, finish, logprobs: parse_logprobs(choice) }
}

/// What a message or a piece of one says: thoughts, text, a refusal.
pub(in crate::chat) fn speech<'a>(message: &Object<'a, '_>, put: &mut dyn FnMut(Body<'a>)) {
    let text = thoughts(message);
    if !text.is_empty() {
        put(Body::Thinking { text, signature: None });
    }
    if let Some(content) = message.take("content") {
        spoken(&content, put);
    }
    let refusal = message.take("refusal").map_or(Text::EMPTY, |refusal| refusal.all_text());
    if !refusal.is_empty() {
        put(Body::Refusal(refusal));
    }
}

/// Content: a text or, as some servers have it, a list of parts, of which thoughts may be some.
fn spoken<'a>(content: &Node<'a, '_>, put: &mut dyn FnMut(Body<'a>)) {
    content.each(|node| {
        let Some(part) = node.members() else { return put(Body::text(node.words())) };
        let kind = part.take("type").map_or(Text::EMPTY, |kind| kind.words());
        match &*kind.decode() {
            "thinking" | "reasoning" => put(Body::Thinking { text: node.all_text(), signature: None }),
            "refusal" => put(Body::Refusal(node.all_text())),
            "text" | "output_text" | "input_text" | "" => put(Body::text(node.all_text())),
            // What no other protocol shows.
            _ => {}
        }
    });
}

/// Thoughts, as servers of other models state them: some in two members, of which one is enough.
fn thoughts<'a>(message: &Object<'a, '_>) -> Text<'a> {
    let names = ["reasoning", "reasoning_content", "thinking", "reasoning_details"];
    let mut texts = names.into_iter().filter_map(|name| Some(message.take(name)?.all_text()));
    texts.find(|text| !text.is_empty()).unwrap_or(Text::EMPTY)
}

/// Attaches sources to the last text.
fn cite<'a>(parts: &mut [Part<'a>], sources: Vec<Citation<'a>>) {
    let last = parts.iter_mut().rev().find_map(|part| match &mut part.body {
        Body::Text { citations, .. } => Some(citations),
        _ => None,
    });
    if let Some(citations) = last {
        citations.extend(sources);
    }
}

pub(in crate::chat) fn citations<'a>(list: &Node<'a, '_>) -> Vec<Citation<'a>> {
    let mut citations = Vec::new();
    list.each(|node| {
        let Some(source) = node.members() else { return };
        let Some(citation) = source.take("url_citation").and_then(|citation| citation.members()) else {
            return;
        };
        if let Some(url) = citation.take("url") {
            citations.push(Citation {
                url: url.words(),
                title: citation.take("title").map(|title| title.words()),
                start: citation.take("start_index").and_then(|at| at.any_number()),
                end: citation.take("end_index").and_then(|at| at.any_number()),
            });
        }
    });
    citations
}

/// Calls each piece of a call in a message: those of `tool_calls`, or the one of `function_call`, which is older.
pub(in crate::chat) fn calls<'a>(message: &Object<'a, '_>, mut each: impl FnMut(&Object<'a, '_>)) {
    let list = message.take("tool_calls").or_else(|| message.take("function_call"));
    if let Some(list) = list {
        list.each(|node| {
            if let Some(piece) = node.members() {
                each(&piece);
            }
        });
    }
}

/// The name and the arguments of a piece of a call; some servers leave the object around them out.
pub(in crate::chat) fn function<'a>(piece: &Object<'a, '_>) -> (Text<'a>, Option<Arguments<'a>>) {
    let inner = piece.take("function").and_then(|function| function.members());
    let read = |object: &Object<'a, '_>| {
        let name = object.take("name").map_or(Text::EMPTY, |name| name.words());
        (name, object.take("arguments").map(|arguments| parse_arguments(&arguments)))
    };
    match &inner {
        Some(function) => read(function),
        None => read(piece),
    }
}

/// Arguments: a string that holds an object or, at some servers, the object itself.
fn parse_arguments<'a>(node: &Node<'a, '_>) -> Arguments<'a> {
    match node.text() {
        Ok(text) => Arguments::Encoded(text),
        Err(_) if node.is_object() => Arguments::Object(node.raw()),
        Err(_) => Arguments::Encoded(Text::plain(node.raw().0)),
    }
}

/// What Gemini wants back with a call.
pub(in crate::chat) fn signature<'a>(piece: &Object<'a, '_>) -> Option<Signature<'a>> {
    google_signature(&piece.take("extra_content")?).ok().flatten()
}

/// A call without a name is none.
fn call<'a>(piece: &Object<'a, '_>) -> Option<Call<'a>> {
    let (name, arguments) = function(piece);
    (!name.is_empty()).then(|| Call {
        id: piece.take("id").map(|id| id.words().into_decoded()).unwrap_or_default(),
        name: name.into_decoded(),
        arguments: arguments.unwrap_or(Arguments::Encoded(Text::EMPTY)),
        signature: signature(piece),
    })
}

/// The reason for the end; an unknown one means that it ended well.
pub(in crate::chat) fn finish(reason: &Node<'_, '_>) -> Finish<'static> {
    match &*reason.words().decode() {
        "length" | "max_tokens" | "model_length" => Finish::Length,
        "tool_calls" | "function_call" | "tool_use" => Finish::Calls,
        "content_filter" => Finish::Filtered,
        _ => Finish::Stop,
    }
}

/// How likely tokens were, where that can be read.
pub(in crate::chat) fn parse_logprobs<'a>(choice: &Object<'a, '_>) -> Vec<TokenLogprob<'a>> {
    let Some(logprobs) = choice.take("logprobs").and_then(|logprobs| logprobs.members()) else {
        return Vec::new();
    };
    let content = logprobs.take("content").and_then(|list| openai_terms::parse_logprobs(&list).ok());
    content.unwrap_or_default()
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
                w.object(|w| print_candidate(w, index, candidate, context));
            }
        });
        if response.usage.quality != Quality::Missing {
            w.object_at("usage", |w| print_usage(w, &response.usage));
        }
        w.optional("service_tier", response.tier.map(openai_terms::tier_name));
    });
    writer.take()
}

fn print_candidate(w: &mut Writer, index: u64, candidate: &Candidate<'_>, context: &Context) {
    let answer = Answer::of(&candidate.parts);
    w.field("index", index);
    w.object_at("message", |w| {
        w.field("role", "assistant");
        answer.print(w, context);
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

/// `calls` tells whether the answer has any: they have to be answered, whatever reason the upstream gives, and where
/// there is none nobody can answer one.
pub(crate) const fn finish_name(finish: &Finish<'_>, calls: bool) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::Pause | Finish::Calls if calls => "tool_calls",
        Finish::Stop | Finish::StopSequence(_) | Finish::Pause | Finish::Calls => "stop",
        Finish::Length | Finish::ContextFull => "length",
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

    fn print(&self, w: &mut Writer, context: &Context) {
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
                self.calls.iter().for_each(|call| w.object(|w| print_call(w, call, context)))
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

fn print_call(w: &mut Writer, call: &Call<'_>, context: &Context) {
    let (kind, arguments) = kind_members(context.kind_of(&call.name));
    w.field("id", &call.id);
    w.field("type", kind);
    w.object_at(kind, |w| {
        w.field("name", context.client_name(&call.name));
        match &call.arguments {
            Arguments::Encoded(input) if kind == "custom" => w.field(arguments, input),
            other => w.field(arguments, other.encoded()),
        }
    });
    print_signature(w, call.signature.as_ref());
}

/// The member of a call that says what is called, and the one in it that says with what.
pub(in crate::chat) fn kind_members(kind: ToolKind) -> (&'static str, &'static str) {
    if kind == ToolKind::Custom { ("custom", "input") } else { ("function", "arguments") }
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
