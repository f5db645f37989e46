//! What Chat Completions and Responses have in common.

use std::borrow::Cow;

use crate::id;
use crate::json::{Node, Object, Raw, Text, Writer};
use crate::messages;
use crate::model::{At, CacheMark, Effort, Refused, Request, Sampling, Source, Tier, TokenLogprob};
use crate::target::{Abilities, Target};
use tollgate_plugin::types::{Class, Protocol, Side, Usage};

/// The longest name of a user that is accepted there.
const USER_MAX: usize = 64;

/// Parses the options that both protocols have.
///
/// These are left out, because the answer does not depend on them: `store`, `prompt_cache_retention` and
/// `prompt_cache_options` concern what OpenAI keeps, `metadata` labels it, and `client_metadata` is for who runs a
/// client's service. Ways of sampling that only some servers have change it no more than chance does.
///
/// # Errors
/// One of them has the wrong type or an unknown value.
pub(crate) fn parse_options<'a>(body: &Object<'a, '_>, request: &mut Request<'a>) -> Result<(), Refused> {
    body.leave_out(&["model"]);
    body.mention(&["store", "metadata", "prompt_cache_retention", "prompt_cache_options", "cache_control"]);
    body.hints(&["client_metadata"])?;
    body.hints(&["min_p", "top_a", "typical_p", "repetition_penalty", "length_penalty", "prediction"])?;
    request.stream = body.take("stream").map_or(Ok(false), |node| node.boolean())?;
    if let Some(node) = body.take("parallel_tool_calls")
        && !node.boolean()?
    {
        request.one_call = Some(node.at(()));
    }
    let sampling = &mut request.sampling;
    sampling.temperature = option(body.take("temperature"), |node| node.number())?;
    sampling.top_p =
        option(body.take("top_p"), |node| node.number())?.filter(|top_p| top_p.value.approximate() != 1.0);
    sampling.top_k = option(body.take("top_k"), |node| node.number())?;
    request.cache_key = option(body.take("prompt_cache_key"), Node::text)?;
    let user = option(body.take("user"), Node::text)?;
    request.user = option(body.take("safety_identifier"), Node::text)?.or(user);
    request.tier = option(body.take("service_tier"), tier)?;
    Ok(())
}

/// Parses how Chat Completions and completions sample, where both call it the same.
///
/// # Errors
/// One of them has the wrong type.
pub(crate) fn sampling<'a>(body: &Object<'a, '_>, sampling: &mut Sampling<'a>) -> Result<(), Refused> {
    sampling.frequency_penalty = option(body.take("frequency_penalty"), |node| node.number())?
        .filter(|penalty| penalty.value.approximate() != 0.0);
    sampling.presence_penalty = option(body.take("presence_penalty"), |node| node.number())?
        .filter(|penalty| penalty.value.approximate() != 0.0);
    sampling.seed = option(body.take("seed"), |node| node.number())?;
    sampling.stop = option(body.take("stop"), stop)?.filter(|stop| !stop.value.is_empty());
    sampling.candidates =
        option(body.take("n"), |node| node.number())?.filter(|n| n.value.whole() != Some(1));
    Ok(())
}

fn stop<'a>(node: &Node<'a, '_>) -> Result<Vec<Text<'a>>, Refused> {
    if node.is_string() { Ok(vec![node.text()?]) } else { node.list(|stop| stop.text()) }
}

/// A value and its place, where it is given.
///
/// # Errors
/// As `parse`.
pub(crate) fn option<'a, 'p, T>(
    node: Option<Node<'a, 'p>>,
    parse: impl FnOnce(&Node<'a, 'p>) -> Result<T, Refused>,
) -> Result<Option<At<T>>, Refused> {
    node.map(|node| parse(&node).map(|value| node.at(value))).transpose()
}

fn tier(node: &Node<'_, '_>) -> Result<Tier, Refused> {
    tier_named(&node.string()?).ok_or_else(|| node.refuse("is not a service tier that Tollgate knows"))
}

/// OpenAI's name for a tier.
pub(crate) fn tier_named(name: &str) -> Option<Tier> {
    match name {
        "auto" => Some(Tier::Auto),
        "default" => Some(Tier::Standard),
        "flex" => Some(Tier::Flex),
        "priority" | "fast" | "scale" => Some(Tier::Priority),
        _ => None,
    }
}

/// OpenAI's name for a tier; it has none for that of batches, which are not served here.
pub(crate) const fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Auto => "auto",
        Tier::Standard | Tier::Batch => "default",
        Tier::Flex => "flex",
        Tier::Priority => "priority",
    }
}

/// Writes the options that both protocols have.
pub(crate) fn print_options(w: &mut Writer, request: &Request<'_>, target: &Target<'_>) {
    if request.one_call.is_some() && !request.tools.is_empty() {
        w.field("parallel_tool_calls", false);
    }
    if target.abilities.sampling {
        w.optional("temperature", request.sampling.temperature.as_ref());
        w.optional("top_p", request.sampling.top_p.as_ref());
    } else {
        request.mention_sampling();
    }
    request.mention_caches();
    w.optional("prompt_cache_key", request.cache_key.as_ref());
    if let Some(user) = &request.user {
        w.field("safety_identifier", id::fitting(&user.value.decode(), USER_MAX));
    }
    w.optional("service_tier", request.tier.as_ref().map(|tier| tier_name(tier.value)));
}

/// The effort to ask for; a model that cannot think is not told not to.
pub(crate) fn print_effort(w: &mut Writer, name: &str, request: &Request<'_>, target: &Target<'_>) {
    w.optional(name, asked_effort(request, target).map(Effort::name));
}

/// How hard a model is asked to think: OpenAI's own that cannot think are not asked.
pub(crate) fn asked_effort(request: &Request<'_>, target: &Target<'_>) -> Option<Effort> {
    let Abilities { reasoning, thoughts_back, .. } = target.abilities;
    if !reasoning && !thoughts_back {
        request.mention_reasoning();
        return None;
    }
    request.reasoning.as_effort().filter(|effort| reasoning || *effort != Effort::None)
}

/// # Errors
/// It is not an effort that Tollgate knows.
pub(crate) fn effort(node: &Node<'_, '_>) -> Result<Effort, Refused> {
    Effort::named(&node.string()?).ok_or_else(|| node.refuse("is not an effort that Tollgate knows"))
}

/// The mark on a content part; minutes unless it asks for more. Clients of relays write Anthropic's.
///
/// # Errors
/// It is not an object.
pub(crate) fn cache_mark(part: &Object<'_, '_>) -> Result<Option<CacheMark>, Refused> {
    let anthropics = messages::cache_mark(part)?;
    let Some(node) = part.take("prompt_cache_breakpoint") else { return Ok(anthropics) };
    let mark = node.object()?;
    mark.leave_out(&["mode"]);
    let long = mark.take("ttl").is_some();
    mark.finish()?;
    Ok(Some(if long { CacheMark::Long } else { CacheMark::Short }))
}

/// `low` or `high`; `medium` is the default.
///
/// # Errors
/// It is not a string.
pub(crate) fn verbosity<'a>(node: Option<Node<'a, '_>>) -> Result<Option<At<Text<'a>>>, Refused> {
    let verbosity = option(node, Node::text)?;
    Ok(verbosity.filter(|verbosity| verbosity.value.decode() != "medium"))
}

/// An address that OpenAI fetches, or a `data:` URL; `None` for what it cannot reach.
pub(crate) fn url<'s>(source: &'s Source<'_>) -> Option<Text<'s>> {
    match source {
        Source::Url(url) => Some(url.borrowed()),
        Source::Base64 { media, data } => {
            let mut url = Text::plain(&["data:", media, ";base64,"].concat());
            url.append(data);
            Some(url)
        }
        Source::Id { .. } | Source::Plain(_) => None,
    }
}

/// The name of a file that was uploaded to OpenAI.
pub(crate) fn file_id<'s>(source: &'s Source<'_>) -> Option<&'s Text<'s>> {
    match source {
        Source::Id { origin: Protocol::OpenaiChat | Protocol::OpenaiResponses, id } => Some(id),
        _ => None,
    }
}

/// How likely tokens were.
///
/// # Errors
/// The shape is another.
pub(crate) fn parse_logprobs<'a>(list: &Node<'a, '_>) -> Result<Vec<TokenLogprob<'a>>, Refused> {
    list.list(|node| {
        let token = node.object()?;
        let alternatives = match token.take("top_logprobs") {
            Some(list) => list.list(|node| token_logprob(&node.object()?, Vec::new()))?,
            None => Vec::new(),
        };
        token_logprob(&token, alternatives)
    })
}

fn token_logprob<'a>(
    token: &Object<'a, '_>,
    alternatives: Vec<TokenLogprob<'a>>,
) -> Result<TokenLogprob<'a>, Refused> {
    Ok(TokenLogprob {
        token: token.need("token")?.text()?,
        logprob: token.need("logprob")?.number()?,
        bytes: token.take("bytes").map(|bytes| bytes.raw()),
        alternatives,
    })
}

/// The elements of an array that says how likely tokens were.
pub(crate) fn print_logprobs(w: &mut Writer, tokens: &[TokenLogprob<'_>]) {
    for token in tokens {
        w.object(|w| {
            print_token(w, token);
            w.array_at("top_logprobs", |w| {
                for alternative in &token.alternatives {
                    w.object(|w| print_token(w, alternative));
                }
            });
        });
    }
}

fn print_token(w: &mut Writer, token: &TokenLogprob<'_>) {
    w.field("token", &token.token);
    w.field("logprob", token.logprob);
    match token.bytes {
        Some(bytes) => w.field("bytes", bytes),
        None => w.array_at("bytes", |w| {
            for byte in token.token.decode().bytes() {
                w.value(u64::from(byte));
            }
        }),
    }
}

/// The counts of both protocols. Totals contain their details.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Totals {
    pub(crate) input: u64,
    pub(crate) cached: u64,
    pub(crate) cache_written: u64,
    pub(crate) output: u64,
}

impl Totals {
    pub(crate) fn of(usage: &Usage) -> Self {
        let cache_written = usage[Class::CacheWriteShort].saturating_add(usage[Class::CacheWriteLong]);
        Self {
            input: usage.tokens_of(Side::Prompt),
            cached: usage[Class::CacheRead],
            cache_written,
            output: usage.tokens_of(Side::Output),
        }
    }

    pub(crate) const fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// A schema of an object that says so and has properties, which these providers demand.
pub(crate) fn object_schema(schema: &str) -> Cow<'_, str> {
    let members = Node::document(schema.as_bytes());
    let Ok(object) = members.as_ref().map_err(Clone::clone).and_then(Node::object) else {
        return Cow::Borrowed(schema);
    };
    let (kind, properties) = (object.take("type"), object.take("properties"));
    let is_other = kind.is_some_and(|kind| kind.is_string() && !kind.is("object"));
    if is_other || kind.is_some() && properties.is_some() {
        return Cow::Borrowed(schema);
    }
    let mut writer = Writer::default();
    let added = writer.object(|w| {
        w.field("type", kind.map_or(Raw("\"object\""), |kind| kind.raw()));
        w.field("properties", properties.map_or(Raw("{}"), |listed| listed.raw()));
        object.rest(|name, node| {
            w.field(name, node.raw());
            Ok(())
        })
    });
    if added.is_ok() { Cow::Owned(writer.take()) } else { Cow::Borrowed(schema) }
}

#[cfg(test)]
mod tests {
    use super::object_schema;

    #[test]
    fn a_function_without_properties_has_an_empty_list_of_them() {
        for (given, expected) in [
            ("{}", r#"{"type":"object","properties":{}}"#),
            (r#"{"type":"object"}"#, r#"{"type":"object","properties":{}}"#),
            (r#"{ "properties": {"a":{}} }"#, r#"{"type":"object","properties":{"a":{}}}"#),
            (r#"{"type":null,"description":"x"}"#, r#"{"type":"object","properties":{},"description":"x"}"#),
            (r#"{"type":"object","properties":{}}"#, r#"{"type":"object","properties":{}}"#),
            (r#"{"type":["object","null"]}"#, r#"{"type":["object","null"],"properties":{}}"#),
            (r#"{"type":"string"}"#, r#"{"type":"string"}"#),
        ] {
            assert_eq!(object_schema(given), expected);
        }
    }
}
