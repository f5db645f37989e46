//! A `response`: what `POST /v1/responses` answers, and what the first and the last events of a stream hold.

use crate::chat;
use crate::json::{Node, Number, Object, Text, Writer};
use crate::model::{
    Arguments, Body, Call, Candidate, Citation, Finish, Part, Refused, Response, Signature, Tier,
    TokenLogprob,
};
use crate::openai::ResponsesUsage;
use crate::openai_terms::{self, Totals};
use crate::responses::error;
use crate::responses::item::{self, Item};
use crate::responses::request::reasoning_item;
use crate::target::Context;
use tollgate_plugin::types::{Class, Operation, Quality, Usage};

/// Parses an answer. Items that only OpenAI's own tools bring are left out.
///
/// # Errors
/// It is not an answer of this protocol, or it says that it failed.
pub(crate) fn parse<'a>(document: &Node<'a, '_>) -> Result<Response<'a>, Refused> {
    let body = document.object()?;
    if let Some(words) = chat::error_told(document) {
        let failure = body.take("error").and_then(|error| error.members());
        let failure = failure.map(|failure| error::parse(&failure).public_message().to_owned());
        return Err(document.refuse(failure.unwrap_or_else(|| words.into_owned())));
    }
    let Content { parts, logprobs, known } = content(&body);
    let usage = usage(&body);
    if !known && usage.quality == Quality::Missing && !body.has("status") {
        return Err(body.lacks("output"));
    }
    let finish = finish(&body);
    Ok(Response {
        id: body.take("id").map(|id| id.words()),
        model: body.take("model").map(|model| model.words()),
        created: created(&body),
        candidates: vec![Candidate { parts, finish, logprobs }],
        usage,
        tier: tier(&body),
    })
}

/// What a response says.
pub(super) struct Content<'a> {
    pub(super) parts: Vec<Part<'a>>,
    logprobs: Vec<TokenLogprob<'a>>,
    /// Whether there was anything to read it from.
    known: bool,
}

/// Reads what a response says.
pub(super) fn content<'a>(body: &Object<'a, '_>) -> Content<'a> {
    let mut content = Content { parts: Vec::new(), logprobs: Vec::new(), known: body.has("output") };
    if let Some(output) = body.take("output") {
        output.each(|node| output_item(&node, &mut content));
    } else if let Some(text) = body.take("output_text") {
        content.known = true;
        content.parts.push(Part::from(Body::text(text.all_text())));
    }
    content
}

/// Seconds; OpenAI's type has fractions, its servers send none.
pub(super) fn created(body: &Object<'_, '_>) -> Option<u64> {
    let created = body.take("created_at")?.words().into_decoded();
    Number(created.split('.').next()?).whole()
}

pub(super) fn usage(body: &Object<'_, '_>) -> Usage {
    let usage = body.take("usage").and_then(|usage| usage.shaped::<ResponsesUsage>());
    usage.map_or(Usage::MISSING, |usage| usage.classes(Operation::Generate))
}

pub(super) fn tier(body: &Object<'_, '_>) -> Option<Tier> {
    openai_terms::tier_named(&body.take("service_tier")?.string().ok()?)
}

/// How it ended: the items tell whether there are calls.
pub(super) fn finish(body: &Object<'_, '_>) -> Finish<'static> {
    let Some(details) = body.take("incomplete_details").and_then(|details| details.members()) else {
        return if body.take("status").is_some_and(|status| status.is("incomplete")) {
            Finish::Length
        } else {
            Finish::Stop
        };
    };
    match details.take("reason") {
        Some(reason) if reason.is("content_filter") => Finish::Filtered,
        _ => Finish::Length,
    }
}

fn output_item<'a>(node: &Node<'a, '_>, content: &mut Content<'a>) {
    let Some(item) = node.members() else {
        return content.parts.push(Part::from(Body::text(node.words())));
    };
    match &*item.take("type").map_or(Text::escaped("message"), |kind| kind.words()).decode() {
        "message" => {
            if let Some(said) = item.take("content") {
                said.each(|node| spoken(&node, content));
            }
        }
        "function_call" => content.parts.extend(call(&item).map(|call| Part::from(Body::Call(call)))),
        "reasoning" => {
            let (text, signature) = thought(&item);
            if !text.is_empty() || signature.is_some() {
                content.parts.push(Part::from(Body::Thinking { text, signature }));
            }
        }
        _ => {}
    }
}

/// A call without a name is none.
pub(super) fn call<'a>(item: &Object<'a, '_>) -> Option<Call<'a>> {
    let words = |name| item.take(name).map_or(Text::EMPTY, |node| node.words());
    let name = words("name");
    let id = Some(words("call_id")).filter(|id| !id.is_empty()).unwrap_or_else(|| words("id"));
    (!name.is_empty()).then(|| Call {
        id: id.into_decoded(),
        name: name.into_decoded(),
        arguments: item.take("arguments").map_or(Arguments::Encoded(Text::EMPTY), |node| arguments(&node)),
        signature: None,
    })
}

/// Arguments: a string that holds an object or, at some servers, the object itself.
pub(super) fn arguments<'a>(node: &Node<'a, '_>) -> Arguments<'a> {
    match node.text() {
        Ok(text) => Arguments::Encoded(text),
        Err(_) if node.is_object() => Arguments::Object(node.raw()),
        Err(_) => Arguments::Encoded(Text::plain(node.raw().0)),
    }
}

/// What an item of thoughts holds, as far as it can be read.
pub(super) fn thought<'a>(item: &Object<'a, '_>) -> (Text<'a>, Option<Signature<'a>>) {
    reasoning_item(item).unwrap_or((Text::EMPTY, None))
}

fn spoken<'a>(node: &Node<'a, '_>, content: &mut Content<'a>) {
    let Some(part) = node.members() else {
        return content.parts.push(Part::from(Body::text(node.words())));
    };
    if let Some(tokens) = part.take("logprobs") {
        content.logprobs.extend(openai_terms::parse_logprobs(&tokens).unwrap_or_default());
    }
    let text = |name| part.take(name).map_or(Text::EMPTY, |text| text.all_text());
    let body = match &*part.take("type").map_or(Text::escaped("output_text"), |kind| kind.words()).decode() {
        "output_text" | "text" => {
            let mut citations = Vec::new();
            if let Some(list) = part.take("annotations") {
                list.each(|node| citations.extend(node.members().and_then(|source| citation(&source))));
            }
            Body::Text { text: text("text"), citations }
        }
        "refusal" => Body::Refusal(text("refusal")),
        _ => return,
    };
    content.parts.push(Part::from(body));
}

/// A source on the web; others are files that only OpenAI has.
pub(super) fn citation<'a>(annotation: &Object<'a, '_>) -> Option<Citation<'a>> {
    Some(Citation {
        url: annotation.take("url")?.words(),
        title: annotation.take("title").map(|title| title.words()),
        start: annotation.take("start_index").and_then(|at| at.any_number()),
        end: annotation.take("end_index").and_then(|at| at.any_number()),
    })
}

/// Prints an answer; of several, the first one: no client of this protocol can ask for more.
pub(crate) fn print(response: Response<'_>, context: &Context) -> String {
    let head = Head::of(context, response.id, response.model, response.created);
    let candidate = response.candidates.into_iter().next();
    let (items, finish) = match candidate {
        Some(one) => (item::items(one.parts, &one.logprobs, context), one.finish),
        None => (Vec::new(), Finish::Filtered),
    };
    let mut writer = Writer::default();
    let end = End { finish: &finish, usage: &response.usage, tier: response.tier };
    writer.object(|w| head.print(w, context, &items, Some(&end)));
    writer.take()
}

/// The answer's head, as all events of a stream repeat it.
#[derive(Debug)]
pub(super) struct Head {
    id: Text<'static>,
    model: Text<'static>,
    created: u64,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct End<'s> {
    pub(super) finish: &'s Finish<'s>,
    pub(super) usage: &'s Usage,
    pub(super) tier: Option<Tier>,
}

impl End<'_> {
    /// The status, and the reason where it is `incomplete`.
    pub(super) const fn status(&self) -> (&'static str, Option<&'static str>) {
        match self.finish {
            Finish::Stop | Finish::StopSequence(_) | Finish::Calls | Finish::Pause => ("completed", None),
            Finish::Length | Finish::ContextFull => ("incomplete", Some("max_output_tokens")),
            Finish::Filtered => ("incomplete", Some("content_filter")),
        }
    }
}

impl Head {
    pub(super) fn of(
        context: &Context,
        id: Option<Text<'_>>,
        model: Option<Text<'_>>,
        created: Option<u64>,
    ) -> Self {
        Self {
            id: context.answer_id("resp", id).into_owned(),
            model: context.answer_model(model).into_owned(),
            created: created.unwrap_or(context.now_s),
        }
    }

    /// The members of a response; without an end it is in progress.
    pub(super) fn print(&self, w: &mut Writer, context: &Context, items: &[Item], end: Option<&End<'_>>) {
        let (status, reason) = end.map_or(("in_progress", None), End::status);
        w.field("id", &self.id);
        w.field("object", "response");
        w.field("created_at", self.created);
        w.field("status", status);
        w.field("background", false);
        w.null("error");
        match reason {
            Some(reason) => w.object_at("incomplete_details", |w| w.field("reason", reason)),
            None => w.null("incomplete_details"),
        }
        w.field("model", &self.model);
        w.array_at("output", |w| items.iter().for_each(|item| item.print(w, status)));
        w.literal(&context.echo);
        match end.filter(|end| end.usage.quality != Quality::Missing) {
            Some(end) => w.object_at("usage", |w| print_usage(w, end.usage)),
            None => w.null("usage"),
        }
        let tier = end.and_then(|end| end.tier).map(openai_terms::tier_name);
        w.optional("service_tier", tier);
    }
}

fn print_usage(w: &mut Writer, usage: &Usage) {
    let totals = Totals::of(usage);
    w.field("input_tokens", totals.input);
    w.object_at("input_tokens_details", |w| {
        w.field("cached_tokens", totals.cached);
        w.field("cache_write_tokens", totals.cache_written);
    });
    w.field("output_tokens", totals.output);
    w.object_at("output_tokens_details", |w| w.field("reasoning_tokens", usage[Class::Reasoning]));
    w.field("total_tokens", totals.total());
}
