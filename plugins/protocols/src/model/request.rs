//! What a client asks for.

use std::borrow::Cow;

use super::{At, Body, CacheMark, LeftOut, Outcome, Part, Refused, Role, Tool, ToolChoice, Turn};
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
    pub(crate) user: Option<At<Text<'a>>>,
    pub(crate) tier: Option<At<Tier>>,
    /// `low` or `high`.
    pub(crate) verbosity: Option<At<Text<'a>>>,
    /// OpenAI's hint about which requests share a cache.
    pub(crate) cache_key: Option<At<Text<'a>>>,
    /// Whether everything up to the last part should be cached.
    pub(crate) cache: Option<CacheMark>,
    /// What of it is not sent.
    pub(crate) left_out: LeftOut,
}

/// Stands for what a tool never answered.
const NO_ANSWER: &str = "(no answer)";

impl<'a> Request<'a> {
    /// Leaves out a wish without which the answer is one as well.
    ///
    /// # Errors
    /// Nothing may be left out.
    pub(crate) fn leave<T>(&self, wish: Option<&At<T>>, why: &'static str) -> Result<(), Refused> {
        wish.map_or(Ok(()), |given| self.left_out.hint(&given.path, why))
    }

    /// Notes an option that is not sent.
    pub(crate) fn mention<T>(&self, option: Option<&At<T>>) {
        option.into_iter().for_each(|given| self.left_out.mention(&given.path));
    }

    /// Notes marks of caches, for an upstream that caches what repeats by itself.
    pub(crate) fn mention_caches(&self) {
        let parts = self.turns.iter().flat_map(|turn| &turn.parts);
        let marked = parts.filter(|part| part.cache.is_some()).map(|part| &*part.path);
        let tools = self.tools.iter().filter(|tool| tool.cache.is_some()).map(Tool::place);
        if let Some(place) = marked.chain(tools).next() {
            self.left_out.mention(&[place, ".cache_control"].concat());
        } else if self.cache.is_some() {
            self.left_out.mention("cache_control");
        }
    }

    /// Notes how hard to think, for a model that does not.
    pub(crate) fn mention_reasoning(&self) {
        self.mention(self.reasoning.effort.as_ref());
        self.mention(self.reasoning.budget.as_ref());
    }

    /// Asks for no more than the model can write.
    pub(crate) fn limit_output(&mut self, most: u64, notes: &LeftOut) {
        if let Some(limit) = self.sampling.max_tokens.as_mut().filter(|limit| limit.value > most) {
            limit.value = most;
            notes.mention(&limit.path);
        }
    }

    /// Notes how to sample, for a model that is not told.
    pub(crate) fn mention_sampling(&self) {
        let Sampling { temperature, top_p, top_k, frequency_penalty, presence_penalty, .. } = &self.sampling;
        for option in [temperature, top_p, top_k, frequency_penalty, presence_penalty] {
            self.mention(option.as_ref());
        }
    }

    /// Gives every call its answer, without which no provider goes on, and refuses what answers no call.
    ///
    /// # Errors
    /// A tool answers what the turns right before it did not ask.
    pub(crate) fn pair_outcomes(&mut self, notes: &LeftOut) -> Result<(), Refused> {
        let mut open: Vec<(Cow<'a, str>, Box<str>)> = Vec::new();
        let mut turns: Vec<Turn<'a>> = Vec::with_capacity(self.turns.len());
        for mut turn in self.turns.drain(..) {
            match turn.role {
                Role::System => {}
                Role::Assistant => open.extend(turn.calls_at()),
                Role::User => {
                    turn.check_outcomes(&open)?;
                    let missing = open.drain(..).filter(|call| !turn.answers(&call.0)).collect::<Vec<_>>();
                    let unanswered: Vec<_> = missing.into_iter().map(|call| no_answer(call, notes)).collect();
                    turn.parts.splice(0..0, unanswered);
                    turn.parts.sort_by_key(|part| !part.is_outcome());
                }
            }
            turns.push(turn);
        }
        let unanswered: Vec<_> = open.into_iter().map(|call| no_answer(call, notes)).collect();
        if !unanswered.is_empty() {
            turns.push(Turn { role: Role::User, parts: unanswered });
        }
        self.turns = turns;
        Ok(())
    }

    /// Puts a turn of the user before an answer that a conversation begins with.
    pub(crate) fn begin_with_user(&mut self) {
        let first = self.turns.iter().position(|turn| turn.role != Role::System);
        if let Some(at) = first.filter(|at| self.turns[*at].role == Role::Assistant) {
            let path = self.turns[at].parts.first().map(|part| &*part.path).unwrap_or_default();
            self.left_out.mention(path);
            let text = Body::text(Text::escaped("(the conversation begins)"));
            self.turns.insert(at, Turn { role: Role::User, parts: vec![text.into()] });
        }
    }

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

fn no_answer<'a>((id, path): (Cow<'a, str>, Box<str>), notes: &LeftOut) -> Part<'a> {
    notes.mention(&path);
    let parts = vec![Part::from(Body::text(Text::escaped(NO_ANSWER)))];
    Part { body: Body::Outcome(Outcome { id, parts, failed: true }), cache: None, path }
}

/// The format of the answer; text when there is none.
#[derive(Debug)]
pub(crate) enum Format<'a> {
    /// Any JSON object.
    Object,
    Schema(Schema<'a>),
}

impl Format<'_> {
    /// Whether nothing but an object is asked for.
    pub(crate) const fn is_any_object(&self) -> bool {
        matches!(self, Self::Object | Self::Schema(Schema { schema: None, .. }))
    }
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
    pub(crate) max_tokens: Option<At<u64>>,
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
