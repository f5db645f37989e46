//! What a client asks for.

use std::borrow::Cow;

use super::{At, CacheMark, Part, Refused, Role, Turn};
use crate::json::{Number, Text};

/// A request of any protocol.
///
/// Options that are absent, `null` or at a value that changes nothing are `None`.
#[derive(Debug, Default)]
pub(crate) struct Request<'a> {
    pub(crate) turns: Vec<Turn<'a>>,
    /// Whether the answer should come as events.
    pub(crate) stream: bool,
    /// Whether a chat client wants the usage of a stream.
    pub(crate) stream_usage: bool,
    pub(crate) tools: Vec<Tool<'a>>,
    pub(crate) tool_choice: Option<At<ToolChoice<'a>>>,
    /// No more than one call at a time.
    pub(crate) one_call: Option<At<()>>,
    pub(crate) format: Option<At<Format<'a>>>,
    pub(crate) sampling: Sampling<'a>,
    pub(crate) reasoning: Reasoning,
    /// Who the client's own user is, for the provider's abuse detection.
    pub(crate) user: Option<Text<'a>>,
    pub(crate) tier: Option<At<Tier>>,
    /// `low` or `high`.
    pub(crate) verbosity: Option<At<Text<'a>>>,
    /// OpenAI's hint about which requests share a cache.
    pub(crate) cache_key: Option<Text<'a>>,
    /// Whether everything up to the last part should be cached.
    pub(crate) cache: Option<CacheMark>,
}

impl<'a> Request<'a> {
    /// The names of the tools that earlier turns called, each once.
    pub(crate) fn called(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for call in self.turns.iter().flat_map(Turn::calls) {
            if !names.contains(&&*call.name) {
                names.push(&call.name);
            }
        }
        names
    }

    /// Moves instructions out of the conversation, in order. When there is nothing else, the last of them stays as a
    /// user's turn, because these providers do not answer without one.
    pub(crate) fn take_system(&mut self) -> Vec<Turn<'a>> {
        let turns = std::mem::take(&mut self.turns);
        let (mut system, others): (Vec<_>, Vec<_>) =
            turns.into_iter().partition(|turn| turn.role == Role::System);
        self.turns = others;
        if self.turns.is_empty()
            && let Some(last) = system.pop()
        {
            self.turns.push(Turn { role: Role::User, ..last });
        }
        system
    }

    /// Joins what belongs together in the model's turns: pieces of text, and thoughts with their proof. Clients send a
    /// stream back in the pieces in which they got it.
    pub(crate) fn join_pieces(&mut self) {
        for turn in self.turns.iter_mut().filter(|turn| turn.role == Role::Assistant) {
            let mut parts: Vec<Part<'a>> = Vec::with_capacity(turn.parts.len());
            for part in turn.parts.drain(..) {
                let rest = match parts.last_mut() {
                    Some(last) => last.join(part),
                    None => Some(part),
                };
                parts.extend(rest);
            }
            turn.parts = parts;
        }
    }

    /// Moves the answers of tools right after the calls, the only place where every provider accepts them; what the
    /// user said in between comes after them.
    pub(crate) fn put_outcomes_first(&mut self) {
        let mut turns: Vec<Turn<'a>> = Vec::with_capacity(self.turns.len());
        for turn in self.turns.drain(..) {
            match turns.last_mut() {
                Some(last) if last.role == Role::User && turn.has_outcomes() => {
                    last.parts.extend(turn.parts);
                    last.parts.sort_by_key(|part| !part.is_outcome());
                }
                _ => turns.push(turn),
            }
        }
        self.turns = turns;
    }

    /// Leaves out empty text, which some providers refuse, and turns that had nothing else.
    pub(crate) fn drop_empty(&mut self) {
        for turn in &mut self.turns {
            turn.parts.retain(|part| !part.is_empty_text());
        }
        self.turns.retain(|turn| !turn.parts.is_empty());
    }

    /// Merges adjacent turns of one role.
    pub(crate) fn merge_turns(&mut self) {
        let mut merged: Vec<Turn<'a>> = Vec::with_capacity(self.turns.len());
        for turn in self.turns.drain(..) {
            match merged.last_mut() {
                Some(last) if last.role == turn.role => last.parts.extend(turn.parts),
                _ => merged.push(turn),
            }
        }
        self.turns = merged;
    }
}

/// What may be called.
#[derive(Debug)]
pub(crate) struct Tool<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) description: Option<Text<'a>>,
    /// JSON Schema of the arguments.
    pub(crate) schema: Option<Cow<'a, str>>,
    /// Whether the arguments must follow the schema.
    pub(crate) strict: Option<bool>,
    pub(crate) cache: Option<CacheMark>,
    /// Where its name stood in the client's request.
    pub(crate) path: Box<str>,
}

impl Tool<'_> {
    /// Checks the name against what a provider accepts: at most this many characters, of letters, digits, `_`, `-` and
    /// `more`.
    ///
    /// # Errors
    /// It does not fit.
    pub(crate) fn check_name(&self, max: usize, more: &str) -> Result<(), Refused> {
        let fits =
            |symbol: char| symbol.is_ascii_alphanumeric() || "_-".contains(symbol) || more.contains(symbol);
        if (1..=max).contains(&self.name.len()) && self.name.chars().all(fits) {
            return Ok(());
        }
        let why = format!("the upstream takes names of 1 to {max} letters, digits and any of _-{more}");
        Err(Refused::new(self.path.to_string(), why))
    }
}

/// Whether tools are to be called.
#[derive(Debug)]
pub(crate) enum ToolChoice<'a> {
    Auto,
    None,
    /// At least one.
    Any,
    One(Cow<'a, str>),
    /// As if there were only these tools.
    Only(Allowed<'a>),
}

/// A choice among some of the tools.
#[derive(Debug)]
pub(crate) struct Allowed<'a> {
    pub(crate) names: Vec<Cow<'a, str>>,
    /// Whether one of them must be called.
    pub(crate) must: bool,
}

/// The format of the answer; text when there is none.
#[derive(Debug)]
pub(crate) enum Format<'a> {
    /// Any JSON object.
    Object,
    Schema(Schema<'a>),
}

/// JSON that follows a schema.
#[derive(Debug)]
pub(crate) struct Schema<'a> {
    pub(crate) name: Option<Text<'a>>,
    pub(crate) description: Option<Text<'a>>,
    pub(crate) schema: Option<Cow<'a, str>>,
    pub(crate) strict: Option<bool>,
}

/// How the answer is sampled and where it ends.
#[derive(Debug, Default)]
pub(crate) struct Sampling<'a> {
    /// Tokens, reasoning included.
    pub(crate) max_tokens: Option<Number<'a>>,
    pub(crate) temperature: Option<At<Number<'a>>>,
    pub(crate) top_p: Option<At<Number<'a>>>,
    pub(crate) top_k: Option<At<Number<'a>>>,
    pub(crate) frequency_penalty: Option<At<Number<'a>>>,
    pub(crate) presence_penalty: Option<At<Number<'a>>>,
    pub(crate) seed: Option<At<Number<'a>>>,
    /// Not empty.
    pub(crate) stop: Option<At<Vec<Text<'a>>>>,
    /// How many answers; more than one.
    pub(crate) candidates: Option<At<Number<'a>>>,
    /// How many alternatives beside each token; zero for the chosen one only.
    pub(crate) logprobs: Option<At<u64>>,
}

/// How hard to think.
#[derive(Debug, Default)]
pub(crate) struct Reasoning {
    pub(crate) effort: Option<At<Effort>>,
    pub(crate) budget: Option<At<Budget>>,
    /// Whether the client wants to see the thoughts.
    pub(crate) visible: Option<bool>,
}

impl Reasoning {
    /// In words: as it was given, or as the budget amounts to.
    pub(crate) fn as_effort(&self) -> Option<Effort> {
        self.effort.as_ref().map(|effort| effort.value).or_else(|| match self.budget.as_ref()?.value {
            Budget::Off => Some(Effort::None),
            Budget::Adaptive => None,
            Budget::Tokens(tokens) => Some(Effort::of_tokens(tokens)),
        })
    }

    /// In tokens: as it was given, or as the effort amounts to. `None` leaves it to the provider.
    pub(crate) fn as_budget(&self) -> Option<Budget> {
        let said = self.budget.as_ref().map(|budget| budget.value);
        said.or_else(|| Some(self.effort.as_ref()?.value.as_budget()))
    }
}

/// How hard to think, in words; ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

impl Effort {
    const NAMES: [(Self, &'static str); 7] = [
        (Self::None, "none"),
        (Self::Minimal, "minimal"),
        (Self::Low, "low"),
        (Self::Medium, "medium"),
        (Self::High, "high"),
        (Self::Xhigh, "xhigh"),
        (Self::Max, "max"),
    ];

    /// As OpenAI spells it; Anthropic and Google spell theirs alike except for the case.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.into_iter().find(|named| named.0 == self).map_or("none", |named| named.1)
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        let named = Self::NAMES.into_iter().find(|named| named.1.eq_ignore_ascii_case(name));
        named.map(|named| named.0)
    }

    /// The smallest effort whose budget holds `tokens`.
    fn of_tokens(tokens: u64) -> Self {
        match tokens {
            0..=1024 => Self::Low,
            1025..=8192 => Self::Medium,
            8193..=24_576 => Self::High,
            _ => Self::Xhigh,
        }
    }

    /// Tokens as Google's own OpenAI layer counts them.
    fn as_budget(self) -> Budget {
        match self {
            Self::None => Budget::Off,
            Self::Minimal | Self::Low => Budget::Tokens(1024),
            Self::Medium => Budget::Tokens(8192),
            Self::High | Self::Xhigh | Self::Max => Budget::Tokens(24_576),
        }
    }
}

/// How hard to think, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    Off,
    /// As the model decides.
    Adaptive,
    Tokens(u64),
}

/// How soon the answer is wanted, and at what price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    Auto,
    Standard,
    Flex,
    Priority,
    Batch,
}
