//! What a client of Gemini asks for.

use std::borrow::Cow;

use crate::gemini::proto::Proto as _;
use crate::gemini::{schema, signature};
use crate::id;
use crate::json::{Node, Object, Text};
use crate::model::{
    Allowed, Arguments, At, Body, Budget, Call, Effort, Format, Outcome, Part, Reasoning, Refused, Request,
    Role, Sampling, Schema, Source, Tier, Tool, ToolChoice, ToolKind, Turn,
};
use crate::openai_terms::option;
use tollgate_plugin::types::Protocol;

/// Parses a request. `store` concerns what Google keeps, and `labels` its bills: the answer depends on neither.
/// Resolutions and the like say how to look at what is sent, which each provider does in its own way.
///
/// # Errors
/// What is not a request of this protocol, or cannot be expressed in any other.
pub(crate) fn parse<'a>(document: &Node<'a, '_>) -> Result<Request<'a>, Refused> {
    let body = document.object()?;
    body.leave_out(&["model"]);
    body.mention(&["store", "labels"]);
    let mut request = Request::default();
    if let Some(system) = body.field("systemInstruction") {
        request.turns.push(system_turn(&system)?);
    }
    let mut calls = Calls::default();
    body.need_field("contents")?.items_or_one(|content| {
        request.turns.push(turn(&content, &mut calls)?);
        Ok(())
    })?;
    if let Some(tools) = body.field("tools") {
        tools.items_or_one(|node| tool(&node, &mut request.tools))?;
    }
    if let Some(config) = body.field("toolConfig") {
        tool_config(&config, &mut request)?;
    }
    if let Some(settings) = body.field("safetySettings") {
        settings.items_or_one(no_filter)?;
    }
    if let Some(config) = body.field("generationConfig") {
        generation_config(&config, &mut request)?;
    }
    request.tier = option(body.field("serviceTier"), tier)?;
    body.finish()?;
    Ok(request)
}

/// Other providers cannot be told how much to filter; only a client that wants no filter is not affected.
fn no_filter(node: Node<'_, '_>) -> Result<(), Refused> {
    let setting = node.object()?;
    let threshold = setting.need_field("threshold")?;
    match &*threshold.string()? {
        "BLOCK_NONE" | "OFF" => Ok(()),
        _ => Err(threshold.refuse("only Gemini can be told what to filter")),
    }
}

fn tier(node: &Node<'_, '_>) -> Result<Tier, Refused> {
    match &*node.string()?.to_ascii_lowercase() {
        "unspecified" => Ok(Tier::Auto),
        "standard" => Ok(Tier::Standard),
        "flex" => Ok(Tier::Flex),
        "priority" => Ok(Tier::Priority),
        _ => Err(node.refuse("is not a service tier that Tollgate knows")),
    }
}

fn system_turn<'a>(node: &Node<'a, '_>) -> Result<Turn<'a>, Refused> {
    if node.is_string() {
        let part = Part { body: Body::text(node.text()?), cache: None, path: node.place() };
        return Ok(Turn { role: Role::System, parts: vec![part] });
    }
    let content = node.object()?;
    content.leave_out(&["role"]);
    let parts = content.need("parts")?.list_or_one(|node| part(&node, &mut Calls::default()))?;
    content.finish()?;
    Ok(Turn { role: Role::System, parts })
}

fn turn<'a>(node: &Node<'a, '_>, calls: &mut Calls) -> Result<Turn<'a>, Refused> {
    let content = node.object()?;
    let role = match content.take("role") {
        None => Role::User,
        Some(role) => match &*role.string()? {
            "user" | "function" => Role::User,
            "model" => Role::Assistant,
            _ => return Err(role.refuse("is not a role that Tollgate knows")),
        },
    };
    let parts = match content.take("parts") {
        Some(parts) => parts.list_or_one(|node| part(&node, calls))?,
        None => Vec::new(),
    };
    content.finish()?;
    Ok(Turn { role, parts })
}

/// The calls that have no answer yet: clients may leave out ids, and then names and order tell which answer belongs to
/// which call.
#[derive(Debug, Default)]
struct Calls {
    open: Vec<(String, String)>,
    count: u64,
}

impl Calls {
    fn begin<'a>(&mut self, id: Option<Cow<'a, str>>, name: &str) -> Cow<'a, str> {
        self.count += 1;
        let id = id.unwrap_or_else(|| Cow::Owned(id::made("call", "", self.count)));
        self.open.push((name.to_owned(), id.clone().into_owned()));
        id
    }

    fn answer<'a>(&mut self, id: Option<Cow<'a, str>>, name: &str) -> Option<Cow<'a, str>> {
        let is = |call: &(String, String)| match &id {
            Some(id) => call.1 == **id,
            None => call.0 == name,
        };
        let found = self.open.iter().position(is).map(|at| Cow::Owned(self.open.remove(at).1));
        id.or(found)
    }
}

fn part<'a>(node: &Node<'a, '_>, calls: &mut Calls) -> Result<Part<'a>, Refused> {
    let part = node.object()?;
    part.leave_out(&["partMetadata", "part_metadata"]);
    part.hint_fields(&["mediaResolution"])?;
    let signature = part.field("thoughtSignature").map(|text| text.text()).transpose()?.map(signature::open);
    let thought = part.field("thought").map_or(Ok(false), |thought| thought.boolean())?;
    let body = if let Some(text) = part.take("text") {
        let text = text.text()?;
        if thought { Body::Thinking { text, signature } } else { Body::text(text) }
    } else if let Some(data) = part.field("inlineData") {
        inline_data(&data)?
    } else if let Some(file) = part.field("fileData") {
        file_data(&file)?
    } else if let Some(call) = part.field("functionCall") {
        let call = call.object()?;
        let name = call.need("name")?.string()?;
        let id = calls.begin(call.take("id").map(|id| id.string()).transpose()?, &name);
        let arguments = Arguments::Object(match call.take("args") {
            Some(arguments) => arguments.object().map(|_| arguments.raw())?,
            None => crate::json::Raw("{}"),
        });
        call.finish()?;
        Body::Call(Call { id, name, arguments, signature })
    } else if let Some(response) = part.field("functionResponse") {
        outcome(&response, calls)?
    } else if signature.is_some() || thought {
        Body::Thinking { text: Text::EMPTY, signature }
    } else {
        part.finish()?;
        return Err(node.refuse("is not a part that another protocol has"));
    };
    part.finish()?;
    Ok(Part { body, cache: None, path: node.place() })
}

fn inline_data<'a>(node: &Node<'a, '_>) -> Result<Body<'a>, Refused> {
    let blob = node.object()?;
    let media = blob.need_field("mimeType")?;
    let name = blob.field("displayName").map(|name| name.text()).transpose()?;
    let data = blob.need("data")?.text()?;
    blob.finish()?;
    let kind = media.string()?;
    if kind.starts_with("audio/") {
        return Ok(Body::Audio { media: kind, data });
    }
    media_body(&media, &kind, Source::Base64 { media: kind.clone(), data }, name)
}

fn file_data<'a>(node: &Node<'a, '_>) -> Result<Body<'a>, Refused> {
    let file = node.object()?;
    let uri = file.need_field("fileUri")?;
    let media = file.field("mimeType");
    let name = file.field("displayName").map(|name| name.text()).transpose()?;
    file.finish()?;
    let plain = uri.string()?;
    let google = plain.starts_with("gs://")
        || plain.starts_with("https://generativelanguage.googleapis.com/")
        || !plain.contains("://");
    let source = if google {
        Source::Id { origin: Protocol::Gemini, id: uri.text()? }
    } else {
        Source::Url(uri.text()?)
    };
    let kind = media.map_or(Ok(Cow::Borrowed("application/pdf")), |media| media.string())?;
    media_body(&uri, &kind, source, name)
}

fn media_body<'a>(
    node: &Node<'a, '_>,
    media: &str,
    source: Source<'a>,
    name: Option<Text<'a>>,
) -> Result<Body<'a>, Refused> {
    match media.split('/').next() {
        Some("image") => Ok(Body::Image { source, detail: None }),
        Some("application" | "text") => Ok(Body::File { source, name }),
        _ => Err(node.refuse("no other protocol takes this type of media")),
    }
}

/// The answer of a tool. Google's own words for it are `output` and `error`; anything else is carried as JSON text.
fn outcome<'a>(node: &Node<'a, '_>, calls: &mut Calls) -> Result<Body<'a>, Refused> {
    let response = node.object()?;
    let name = response.need("name")?;
    let id = response.take("id").map(|id| id.string()).transpose()?;
    let id = calls.answer(id, &name.string()?).ok_or_else(|| name.refuse("answers no call"))?;
    let value = response.need("response")?;
    let (text, failed) = outcome_text(&value)?;
    let mut parts = vec![Part { body: Body::text(text), cache: None, path: value.place() }];
    if let Some(more) = response.take("parts") {
        more.items_or_one(|node| {
            let object = node.object()?;
            let data = object.need_field("inlineData")?;
            parts.push(Part { body: inline_data(&data)?, cache: None, path: node.place() });
            object.finish()
        })?;
    }
    response.finish()?;
    Ok(Body::Outcome(Outcome { id, parts, failed }))
}

fn outcome_text<'a>(node: &Node<'a, '_>) -> Result<(Text<'a>, bool), Refused> {
    let object = node.object()?;
    let output = object.take("output").filter(Node::is_string);
    let error = object.take("error").filter(Node::is_string);
    match (output, error) {
        (Some(text), None) if object.finish().is_ok() => Ok((text.text()?, false)),
        (None, Some(text)) if object.finish().is_ok() => Ok((text.text()?, true)),
        _ => Ok((Text::plain(node.raw().0), false)),
    }
}

fn tool<'a>(node: &Node<'a, '_>, tools: &mut Vec<Tool<'a>>) -> Result<(), Refused> {
    let tool = node.object()?;
    if let Some(declarations) = tool.field("functionDeclarations") {
        declarations.items_or_one(|node| {
            tools.push(declaration(&node)?);
            Ok(())
        })?;
    }
    // The client runs what it is for, as Gemini alone spells it.
    if let Some(computer) = tool.field("computerUse") {
        return Err(computer.refuse("no other protocol has this tool"));
    }
    tool.rest(|_, hosted| if hosted.is_null() { Ok(()) } else { hosted.hint("only Google runs this tool") })
}

/// How its answers look is told to Gemini alone.
fn declaration<'a>(node: &Node<'a, '_>) -> Result<Tool<'a>, Refused> {
    let function = node.object()?;
    let schema = json_schema(&function, "parameters", "parametersJsonSchema")?;
    let name = function.need("name")?;
    let tool = Tool {
        name: name.string()?,
        path: name.place(),
        description: function.take("description").map(|text| text.text()).transpose()?,
        schema,
        strict: None,
        cache: None,
        kind: ToolKind::Function,
        within: None,
    };
    function.hint_fields(&["response", "responseJsonSchema", "behavior"])?;
    function.finish()?;
    Ok(tool)
}

/// A schema in Google's own form or as JSON Schema, as JSON Schema.
fn json_schema<'a>(
    object: &Object<'a, '_>,
    own: &'static str,
    json: &'static str,
) -> Result<Option<Cow<'a, str>>, Refused> {
    if let Some(schema) = object.field(json) {
        return schema.object_text().map(Some);
    }
    let Some(own) = object.field(own) else { return Ok(None) };
    Ok(Some(Cow::Owned(schema::to_json_schema(&own)?)))
}

fn tool_config<'a>(node: &Node<'a, '_>, request: &mut Request<'a>) -> Result<(), Refused> {
    let config = node.object()?;
    if let Some(calling) = config.field("functionCallingConfig") {
        request.tool_choice = Some(calling.at(tool_choice(&calling)?));
    }
    config.hint_fields(&["retrievalConfig", "includeServerSideToolInvocations"])?;
    config.finish()
}

fn tool_choice<'a>(node: &Node<'a, '_>) -> Result<ToolChoice<'a>, Refused> {
    let calling = node.object()?;
    let names = calling.field("allowedFunctionNames");
    let mut names = names.map_or(Ok(Vec::new()), |names| names.list_or_one(|name| name.string()))?;
    let mode = calling.take("mode");
    let choice = match mode.map_or(Ok(Cow::Borrowed("AUTO")), |mode| mode.string())?.as_ref() {
        "NONE" => ToolChoice::None,
        "ANY" if names.is_empty() => ToolChoice::Any,
        "ANY" if names.len() == 1 => ToolChoice::One(names.remove(0)),
        "ANY" => ToolChoice::Only(Allowed { names, must: true }),
        "AUTO" | "VALIDATED" | "MODE_UNSPECIFIED" if names.is_empty() => ToolChoice::Auto,
        "AUTO" | "VALIDATED" | "MODE_UNSPECIFIED" => ToolChoice::Only(Allowed { names, must: false }),
        _ => return Err(node.refuse("is not a mode that Tollgate knows")),
    };
    calling.hint_fields(&["streamFunctionCallArguments"])?;
    calling.finish()?;
    Ok(choice)
}

fn generation_config<'a>(node: &Node<'a, '_>, request: &mut Request<'a>) -> Result<(), Refused> {
    let config = node.object()?;
    sampling(&config, &mut request.sampling)?;
    if let Some(thinking) = config.field("thinkingConfig") {
        parse_thinking(&thinking, &mut request.reasoning)?;
    }
    request.format = format(&config)?;
    if let Some(modalities) = config.field("responseModalities") {
        modalities.items_or_one(|modality| match &*modality.string()?.to_ascii_uppercase() {
            "TEXT" => Ok(()),
            _ => Err(modality.refuse("only text can be answered in the upstream's protocol")),
        })?;
    }
    config.hint_fields(&["mediaResolution", "audioTimestamp", "enableEnhancedCivicAnswers"])?;
    config.finish()
}

fn sampling<'a>(config: &Object<'a, '_>, sampling: &mut Sampling<'a>) -> Result<(), Refused> {
    sampling.max_tokens = option(config.field("maxOutputTokens"), Node::whole)?;
    let number = |name| option(config.field(name), Node::number);
    let unless =
        |neutral: f64| move |option: &At<crate::json::Number<'a>>| option.value.approximate() != neutral;
    sampling.temperature = number("temperature")?;
    sampling.top_p = number("topP")?.filter(unless(1.0));
    sampling.top_k = number("topK")?;
    sampling.presence_penalty = number("presencePenalty")?.filter(unless(0.0));
    sampling.frequency_penalty = number("frequencyPenalty")?.filter(unless(0.0));
    sampling.candidates = number("candidateCount")?.filter(unless(1.0));
    sampling.seed = number("seed")?;
    let stop = option(config.field("stopSequences"), |node| node.list_or_one(|stop| stop.text()))?;
    sampling.stop = stop.filter(|stop| !stop.value.is_empty());
    let top = config.field("logprobs").map(|top| top.whole()).transpose()?.unwrap_or(0);
    let wanted = option(config.field("responseLogprobs"), Node::boolean)?.filter(|wanted| wanted.value);
    sampling.logprobs = wanted.map(|wanted| At { value: top, path: wanted.path });
    Ok(())
}

fn parse_thinking(node: &Node<'_, '_>, reasoning: &mut Reasoning) -> Result<(), Refused> {
    let thinking = node.object()?;
    reasoning.visible = thinking.field("includeThoughts").map(|visible| visible.boolean()).transpose()?;
    reasoning.effort = option(thinking.field("thinkingLevel"), |node| {
        Effort::named(&node.string()?).ok_or_else(|| node.refuse("is not a level that Tollgate knows"))
    })?;
    reasoning.budget = option(thinking.field("thinkingBudget"), |node| match node.number()?.0 {
        "-1" => Ok(Budget::Adaptive),
        "0" => Ok(Budget::Off),
        _ => Ok(Budget::Tokens(node.whole()?)),
    })?;
    thinking.finish()
}

fn format<'a>(config: &Object<'a, '_>) -> Result<Option<At<Format<'a>>>, Refused> {
    let schema = json_schema(config, "responseSchema", "responseJsonSchema")?;
    let Some(media) = config.field("responseMimeType") else {
        return if schema.is_some() { Err(config.lacks("responseMimeType")) } else { Ok(None) };
    };
    match (&*media.string()?, schema) {
        ("application/json", None) => Ok(Some(media.at(Format::Object))),
        ("application/json", Some(schema)) => {
            let schema = Schema { name: None, description: None, schema: Some(schema), strict: None };
            Ok(Some(media.at(Format::Schema(schema))))
        }
        ("text/plain", None) => Ok(None),
        _ => Err(media.refuse("no other protocol has this format")),
    }
}
