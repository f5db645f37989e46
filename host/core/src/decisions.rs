//! What was decided about a request on its way, in numbers: kept with its record, always, and small. It is a value
//! without anything on the heap, so that the road pays nothing to carry it; what it means in words is said where it is
//! shown.

use crate::id::CredentialId;

/// Other candidates that are named.
const OTHERS: usize = 3;
/// The layout of [`Decisions::packed`].
const LAYOUT: u8 = 1;
/// More than the longest of that layout.
const PACKED_MAX: usize = 192;

/// What was decided about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decisions {
    /// What the content filter said of it.
    pub screened: Screened,
    /// Which model served or was tried last: 0 the one that was asked for, then those that stand in for it.
    pub stand_in: u32,
    /// How the credential of the last attempt was chosen.
    pub choice: Option<Choice>,
    /// What the hold followed from.
    pub held: Option<Held>,
}

/// What the content filter said of a request, or of its answer where it refused that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Screened {
    /// The verdict.
    pub verdict: Verdict,
    /// The rule that decided, by the number that the component gave it.
    pub rule: Option<u32>,
    /// Places that a rule matched.
    pub matches: u32,
}

/// A content filter's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verdict {
    /// None was in force, or the request did not come so far.
    #[default]
    None,
    /// Nothing was found, so that nobody was asked.
    Clean,
    /// It let the request pass.
    Allowed,
    /// It had parts of the request covered.
    Masked,
    /// It refused it.
    Blocked,
    /// It failed, and nothing passed for that.
    Failed,
}

impl Verdict {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::None, Self::Clean, Self::Allowed, Self::Masked, Self::Blocked, Self::Failed];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Clean => "clean",
            Self::Allowed => "allowed",
            Self::Masked => "masked",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
        }
    }
}

/// How a credential was chosen, and what the policy saw of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Choice {
    /// What sets it apart from the others.
    pub because: Because,
    /// How many were fit.
    pub fit: u32,
    /// How many could have served but for their state: resting, at a limit, out of service.
    pub unfit: u32,
    /// Some of the fit ones that were not chosen.
    pub others: [Option<CredentialId>; OTHERS],
    /// Share of the load.
    pub weight: u32,
    /// Calls that it was serving.
    pub in_flight: u32,
    /// Failures in a row.
    pub failures: u32,
    /// How long it had been idle; `None` where it had not served yet.
    pub idle_ms: Option<u64>,
    /// Whether its rest was over and this call tried it.
    pub half_open: bool,
}

/// What sets a chosen credential apart from those that were not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Because {
    /// There was no other.
    #[default]
    Only,
    /// It is the caller's own, or lent where the others are the operator's.
    Owner,
    /// The conversation began with it.
    Conversation,
    /// The others' rest has just ended.
    Health,
    /// It had less to do for its weight.
    Load,
    /// It had been idle for longest.
    Idle,
    /// Nothing of these: the policy's own rule.
    Policy,
}

impl Because {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Only, Self::Owner, Self::Conversation, Self::Health, Self::Load, Self::Idle, Self::Policy];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Only => "only",
            Self::Owner => "owner",
            Self::Conversation => "conversation",
            Self::Health => "health",
            Self::Load => "load",
            Self::Idle => "idle",
            Self::Policy => "policy",
        }
    }
}

/// What a hold followed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Prompt tokens, by estimate.
    pub input_tokens: u64,
    /// Output tokens that it covered.
    pub output_tokens: u64,
    /// Whether the price is the default of the provider, and none of the model's own.
    pub default_price: bool,
}

/// Decisions as bytes.
#[derive(Debug, Clone, Copy)]
pub struct Packed {
    bytes: [u8; PACKED_MAX],
    length: usize,
}

impl Packed {
    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.push(value.to_le_bytes()[0]);
    }

    /// One more than the number; 0 for none.
    fn maybe(&mut self, value: Option<u64>) {
        self.number(value.map_or(0, |value| value.saturating_add(1)));
    }
}

impl Decisions {
    /// Whether nothing was decided.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As bytes: a layout, then whole numbers (LEB128) in a fixed order, then ids.
    #[must_use]
    pub fn packed(&self) -> Packed {
        let mut out = Packed { bytes: [0; PACKED_MAX], length: 0 };
        out.push(LAYOUT);
        let Self { screened, stand_in, choice, held } = self;
        out.number(code(&Verdict::ALL, &screened.verdict));
        out.maybe(screened.rule.map(u64::from));
        out.number(screened.matches.into());
        out.number((*stand_in).into());
        out.number(u64::from(choice.is_some()) | u64::from(held.is_some()) << 1);
        if let Some(held) = held {
            out.number(held.input_tokens);
            out.number(held.output_tokens);
            out.number(held.default_price.into());
        }
        if let Some(choice) = choice {
            out.number(code(&Because::ALL, &choice.because));
            for number in [choice.fit, choice.unfit, choice.weight, choice.in_flight, choice.failures] {
                out.number(number.into());
            }
            out.maybe(choice.idle_ms);
            out.number(choice.half_open.into());
            out.number(choice.others.iter().flatten().count() as u64);
            for id in choice.others.iter().flatten() {
                id.as_bytes().iter().for_each(|byte| out.push(*byte));
            }
        }
        out
    }

    /// The reverse of [`Decisions::packed`]; `None` for what that never makes.
    #[must_use]
    pub fn unpacked(bytes: &[u8]) -> Option<Self> {
        let (&LAYOUT, rest) = bytes.split_first()? else { return None };
        let mut from = Unpacking(rest);
        let screened = Screened {
            verdict: *Verdict::ALL.get(usize::try_from(from.number()?).ok()?)?,
            rule: from.maybe()?.map(u32::try_from).transpose().ok()?,
            matches: from.small()?,
        };
        let stand_in = from.small()?;
        let there = from.number()?;
        let held = if there & 2 == 0 { None } else { Some(from.held()?) };
        let choice = if there & 1 == 0 { None } else { Some(from.choice()?) };
        (there <= 3 && from.0.is_empty()).then_some(Self { screened, stand_in, choice, held })
    }
}

fn code<T: PartialEq>(all: &[T], value: &T) -> u64 {
    all.iter().position(|known| known == value).unwrap_or_default() as u64
}

struct Unpacking<'a>(&'a [u8]);

impl Unpacking<'_> {
    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    #[expect(clippy::option_option, reason = "the outer one is what cannot be read")]
    fn maybe(&mut self) -> Option<Option<u64>> {
        self.number().map(|number| number.checked_sub(1))
    }

    fn flag(&mut self) -> Option<bool> {
        self.number().filter(|number| *number <= 1).map(|number| number == 1)
    }

    fn held(&mut self) -> Option<Held> {
        let (input_tokens, output_tokens) = (self.number()?, self.number()?);
        Some(Held { input_tokens, output_tokens, default_price: self.flag()? })
    }

    fn choice(&mut self) -> Option<Choice> {
        let mut choice = Choice {
            because: *Because::ALL.get(usize::try_from(self.number()?).ok()?)?,
            fit: self.small()?,
            unfit: self.small()?,
            weight: self.small()?,
            in_flight: self.small()?,
            failures: self.small()?,
            idle_ms: self.maybe()?,
            half_open: self.flag()?,
            others: [None; OTHERS],
        };
        let count = usize::try_from(self.number()?).ok()?;
        for place in choice.others.get_mut(..count)? {
            let (id, rest) = self.0.split_first_chunk()?;
            self.0 = rest;
            *place = Some(CredentialId::from_bytes(*id));
        }
        Some(choice)
    }
}

#[cfg(test)]
mod tests {
    use super::{Because, Choice, Decisions, Held, OTHERS, PACKED_MAX, Screened, Verdict};
    use crate::id::CredentialId;

    fn dearest() -> Decisions {
        Decisions {
            screened: Screened { verdict: Verdict::Failed, rule: Some(u32::MAX), matches: u32::MAX },
            stand_in: u32::MAX,
            choice: Some(Choice {
                because: Because::Policy,
                fit: u32::MAX,
                unfit: u32::MAX,
                others: [Some(CredentialId::from_bytes([9; 16])); OTHERS],
                weight: u32::MAX,
                in_flight: u32::MAX,
                failures: u32::MAX,
                idle_ms: Some(u64::MAX - 1),
                half_open: true,
            }),
            held: Some(Held { input_tokens: u64::MAX, output_tokens: u64::MAX, default_price: true }),
        }
    }

    #[test]
    fn what_is_packed_is_what_is_unpacked_and_nothing_less_is() {
        let one = Choice { fit: 1, weight: 100, ..Choice::default() };
        let usual = Decisions {
            screened: Screened { verdict: Verdict::Clean, rule: None, matches: 0 },
            choice: Some(one),
            held: Some(Held { input_tokens: 250, output_tokens: 1024, default_price: false }),
            ..Decisions::default()
        };
        for decisions in [dearest(), usual, Decisions { choice: Some(one), ..Decisions::default() }] {
            let packed = decisions.packed();
            assert_eq!(Decisions::unpacked(packed.bytes()), Some(decisions));
            for end in 0..packed.bytes().len() {
                assert_eq!(Decisions::unpacked(&packed.bytes()[..end]), None, "up to {end}");
            }
            assert_eq!(Decisions::unpacked(&[packed.bytes(), &[0]].concat()), None);
        }
        assert!(usual.packed().bytes().len() <= 20, "{:?}", usual.packed().bytes());
        assert!(dearest().packed().bytes().len() < PACKED_MAX);
        assert_eq!(Decisions::unpacked(&[2]), None, "a layout of a later version");
    }

    #[test]
    fn numbers_of_names_stay_what_they_are() {
        for (at, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, at, "{}", verdict.name());
        }
        for (at, because) in Because::ALL.into_iter().enumerate() {
            assert_eq!(because as usize, at, "{}", because.name());
        }
    }
}
