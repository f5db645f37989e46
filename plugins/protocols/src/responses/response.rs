//! A `response`: what `POST /v1/responses` answers, and what the first and the last events of a stream hold.

use crate::json::{Node, Number, Object, Text, Writer};
use crate::model::{
    Arguments, Body, Call, Candidate, Citation, Finish, Part, Refused, Response, Tier, TokenLogprob,
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
    if let Some(failure) = body.take("error") {
        let failed = error::parse(&failure.object()?)?;
        return Err(failure.refuse(failed.public_message().to_owned()));
    }
    let mut parts = Vec::new();
    let mut logprobs = Vec::new();
    body.need("output")?.items(|node| output_item(&node.object()?, &mut parts, &mut logprobs))?;
    let finish = finish(&body)?;
    Ok(Response {
        id: body.take("id").map(|id| id.text()).transpose()?,
        model: body.take("model").map(|model| model.text()).transpose()?,
        created: created(&body),
        candidates: vec![Candidate { parts, finish, logprobs }],
        usage: usage(&body),
        tier: tier(&body),
    })
}

/// Seconds; OpenAI's type has fractions, its servers send none.
pub(super) fn created(body: &Object<'_, '_>) -> Option<u64> {
    let created = body.take("created_at")?.number().ok()?;
    Number(created.0.split('.').next()?).whole()
}

pub(super) fn usage(body: &Object<'_, '_>) -> Usage {
    let usage = body.take("usage").and_then(|usage| usage.shaped::<ResponsesUsage>());
    usage.map_or(Usage::MISSING, |usage| usage.classes(Operation::Generate))
}

pub(super) fn tier(body: &Object<'_, '_>) -> Option<Tier> {
    openai_terms::tier_named(&body.take("service_tier")?.string().ok()?)
}

/// How it ended: the items tell whether there are calls.
pub(super) fn finish(body: &Object<'_, '_>) -> Result<Finish<'static>, Refused> {
    let Some(details) = body.take("incomplete_details") else { return Ok(Finish::Stop) };
    let reason = details.object()?.take("reason").map(|reason| reason.string()).transpose()?;
    Ok(match reason.as_deref() {
        Some("content_filter") => Finish::Filtered,
        _ => Finish::Length,
    })
}

fn output_item<'a>(
    item: &Object<'a, '_>,
    parts: &mut Vec<Part<'a>>,
    logprobs: &mut Vec<TokenLogprob<'a>>,
) -> Result<(), Refused> {
    match &*item.need("type")?.string()? {
        "message" => item.need("content")?.items(|node| {
            let part = node.object()?;
            if let Some(tokens) = part.take("logprobs") {
                logprobs.extend(openai_terms::parse_logprobs(&tokens)?);
            }
            parts.extend(spoken(&part)?.map(Part::from));
            Ok(())
        })?,
        "function_call" => parts.push(Part::from(Body::Call(Call {
            id: item.need("call_id")?.string()?,
            name: item.need("name")?.string()?,
            arguments: Arguments::Encoded(item.need("arguments")?.text()?),
            signature: None,
        }))),
        "reasoning" => {
            let (text, signature) = reasoning_item(item)?;
            if !text.is_empty() || signature.is_some() {
                parts.push(Part::from(Body::Thinking { text, signature }));
            }
        }
        _ => {}
    }
    Ok(())
}

fn spoken<'a>(part: &Object<'a, '_>) -> Result<Option<Body<'a>>, Refused> {
    Ok(match &*part.need("type")?.string()? {
        "output_text" => {
            let mut citations = Vec::new();
            if let Some(list) = part.take("annotations") {
                list.items(|node| {
                    citations.extend(citation(&node.object()?)?);
                    Ok(())
                })?;
            }
            Some(Body::Text { text: part.need("text")?.text()?, citations })
        }
        "refusal" => Some(Body::Refusal(part.need("refusal")?.text()?)),
        _ => None,
    })
}

/// A source on the web; others are files that only OpenAI has.
pub(super) fn citation<'a>(annotation: &Object<'a, '_>) -> Result<Option<Citation<'a>>, Refused> {
    let Some(url) = annotation.take("url") else { return Ok(None) };
    Ok(Some(Citation {
        url: url.text()?,
        title: annotation.take("title").map(|title| title.text()).transpose()?,
        start: annotation.take("start_index").map(|at| at.number()).transpose()?,
        end: annotation.take("end_index").map(|at| at.number()).transpose()?,
    }))
}

/// Prints an answer; of several, the first one: no client of this protocol can ask for more.
pub(crate) fn print(response: Response<'_>, context: &Context) -> String {
    let head = Head::of(context, response.id, response.model, response.created);
    let candidate = response.candidates.into_iter().next();
    let (items, finish) = match candidate {
        Some(one) => (item::items(one.parts, &one.logprobs, &context.request_id), one.finish),
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
