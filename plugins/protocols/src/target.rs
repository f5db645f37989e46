//! The model that is to answer, as far as a translation has to know it.

use std::borrow::Cow;

use crate::id;
use crate::json::{Node, Text, Writer};
use crate::model::{Alias, Refused, ToolKind};

/// The upstream's model, and facts that would otherwise depend on time and chance.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The name of the model at the upstream.
    pub model: &'a str,
    /// What the model can do.
    pub abilities: Abilities,
    /// Tokens that an answer may have where the client sets no limit and the protocol wants one.
    pub max_output_tokens: u64,
    /// Tokens that no answer of the model can have more of.
    pub output_limit: u64,
    /// Whether the client asked for a stream by its path, as Gemini's clients do. Others say it in the body.
    pub streaming: bool,
    /// Whether such a client did not ask for events (`alt=sse`), so that its stream is one array in JSON.
    pub json_array: bool,
    /// Whether it is one of OpenAI's older completions that is asked for.
    pub completion: bool,
    /// The gateway's name for this request: what the upstream leaves without an id gets one that is made of it.
    pub request_id: &'a str,
    /// Seconds since 1970, for answers that must state when they were made.
    pub now_s: u64,
    /// Whether hints that the upstream's protocol lacks are refused, and not left out.
    pub strict: bool,
}

/// What a model can do, as far as models of one protocol differ. What a model cannot do and the answer can do without
/// is left out of its requests.
#[derive(Debug, Clone, Copy)]
pub struct Abilities {
    /// It takes temperature, top-p, top-k and penalties.
    pub sampling: bool,
    /// It takes a number of tokens to think with (Claude before Opus 4.7). Otherwise it is told how hard to think in
    /// words.
    pub thinking_budget: bool,
    /// It takes instructions in the middle of the conversation (the newest Claude). Otherwise they go to its beginning.
    pub system_turns: bool,
    /// It can think, so that it can be told not to.
    pub reasoning: bool,
    /// Its server of Chat Completions wants its thoughts back as `reasoning_content`, as those of open models do.
    pub thoughts_back: bool,
}

impl<'a> Target<'a> {
    /// A model that can do everything its protocol can express, except take instructions in the middle.
    #[must_use]
    pub const fn new(model: &'a str) -> Self {
        let abilities = Abilities {
            sampling: true,
            thinking_budget: true,
            system_turns: false,
            reasoning: true,
            thoughts_back: false,
        };
        Self {
            model,
            abilities,
            max_output_tokens: 8192,
            output_limit: u64::MAX,
            streaming: false,
            json_array: false,
            completion: false,
            request_id: "",
            now_s: 0,
            strict: false,
        }
    }
}

/// What the translation of an answer needs to know of its request.
///
/// It outlives the call that made it: the answer may be translated elsewhere, from what [`Context::to_json`] kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The name of the model at the upstream, for answers that do not state it.
    pub(crate) model: String,
    pub(crate) request_id: String,
    pub(crate) now_s: u64,
    /// Whether a chat client wants the usage of a stream.
    pub(crate) stream_usage: bool,
    /// Whether a Gemini client's stream is an array.
    pub(crate) json_array: bool,
    /// Whether a client of OpenAI's older completions is answered.
    pub(crate) completion: bool,
    /// What the answer to a Responses client repeats of its request: members, from the comma on.
    pub(crate) echo: String,
    /// The tools that the client knows otherwise than the upstream.
    pub(crate) aliases: Vec<Alias>,
    /// Whether the answer is to be one JSON object, which the upstream was only asked for in words.
    pub(crate) json_only: bool,
}

impl Context {
    /// How the client knows the tool of this name, where it knows it otherwise.
    pub(crate) fn alias(&self, sent: &str) -> Option<&Alias> {
        self.aliases.iter().find(|alias| alias.sent == sent)
    }

    /// What the client calls the tool of this name.
    pub(crate) fn client_name<'n>(&'n self, sent: &'n str) -> &'n str {
        self.alias(sent).map_or(sent, |alias| &alias.name)
    }

    /// What kind of tool has this name.
    pub(crate) fn kind_of(&self, sent: &str) -> ToolKind {
        self.alias(sent).map_or(ToolKind::Function, |alias| alias.kind)
    }

    /// All of it, as text to keep until the answer comes.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut writer = Writer::default();
        writer.object(|w| {
            w.field("model", &self.model);
            w.field("request_id", &self.request_id);
            w.field("now_s", self.now_s);
            w.field("stream_usage", self.stream_usage);
            w.field("json_array", self.json_array);
            w.field("completion", self.completion);
            w.field("echo", &self.echo);
            w.field("json_only", self.json_only);
            w.array_at("aliases", |w| self.aliases.iter().for_each(|alias| print_alias(w, alias)));
        });
        writer.take()
    }

    /// What [`Context::to_json`] kept.
    ///
    /// # Errors
    /// It is not such a text.
    pub fn from_json(json: &str) -> Result<Self, Refused> {
        let document = Node::document(json.as_bytes())?;
        let kept = document.object()?;
        Ok(Self {
            model: kept.need("model")?.string()?.into_owned(),
            request_id: kept.need("request_id")?.string()?.into_owned(),
            now_s: kept.need("now_s")?.whole()?,
            stream_usage: kept.need("stream_usage")?.boolean()?,
            json_array: kept.need("json_array")?.boolean()?,
            completion: kept.take("completion").map_or(Ok(false), |it| it.boolean())?,
            echo: kept.need("echo")?.string()?.into_owned(),
            json_only: kept.need("json_only")?.boolean()?,
            aliases: kept.need("aliases")?.list(|alias| parse_alias(&alias))?,
        })
    }

    /// The answer's id: the upstream's, or one that is made of the request's.
    pub(crate) fn answer_id<'a>(&self, prefix: &str, stated: Option<Text<'a>>) -> Text<'a> {
        stated_or(stated, || id::made(prefix, &self.request_id, 0))
    }

    /// The model that answered.
    pub(crate) fn answer_model<'a>(&self, stated: Option<Text<'a>>) -> Text<'a> {
        stated_or(stated, || self.model.clone())
    }
}

fn print_alias(w: &mut Writer, alias: &Alias) {
    w.object(|w| {
        w.field("sent", &alias.sent);
        w.field("name", &alias.name);
        w.optional("namespace", alias.namespace.as_ref());
        w.field("kind", alias.kind.name());
    });
}

fn parse_alias(node: &Node<'_, '_>) -> Result<Alias, Refused> {
    let alias = node.object()?;
    Ok(Alias {
        sent: alias.need("sent")?.string()?.into_owned(),
        name: alias.need("name")?.string()?.into_owned(),
        namespace: alias.take("namespace").map(|name| name.string()).transpose()?.map(Cow::into_owned),
        kind: ToolKind::named(&alias.need("kind")?.string()?).unwrap_or_default(),
    })
}

fn stated_or<'a>(stated: Option<Text<'a>>, other: impl FnOnce() -> String) -> Text<'a> {
    let Some(mut stated) = stated.filter(|stated| !stated.is_empty()) else { return Text::plain(&other()) };
    stated.replace_halves();
    stated
}
