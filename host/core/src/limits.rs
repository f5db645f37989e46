//! What one API key may do, and how much of it: which protocols and models, how many requests and tokens.
//!
//! Pure: the caller passes the time. Requests and tokens a minute are buckets that fill evenly and hold a minute's
//! worth; the tokens of a day count from midnight UTC. A call is let in while there is anything left and its prompt's
//! estimate is taken at once; what it really used replaces the estimate when it has ended. A bucket may therefore go
//! below zero, by what the calls under way have used beyond their estimates, and fills from there.

use crate::line::is_unruly;
use crate::protocol::Protocol;
use crate::time::Timestamp;

const MINUTE_MS: i128 = 60_000;
/// A clock that is behind by more than this was set back.
const SET_BACK_MS: u64 = 60_000;
/// The wait that is advised where it is not known when a call under way ends.
const CONCURRENCY_RETRY_MS: u64 = 1000;
/// The largest number that a limit may be: what is more is no limit.
pub const LIMIT_MAX: u64 = 1_000_000_000_000;
/// Most patterns of models that a key may name, and their longest.
const PATTERNS_MAX: usize = 64;
const PATTERN_BYTES_MAX: usize = 256;

/// Everything that an API key is limited to. The default limits nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyLimits {
    /// The protocols that it may be used with; all where there are none.
    pub protocols: Vec<Protocol>,
    /// Names of the providers that may serve its calls; all where there are none.
    pub providers: Vec<String>,
    /// Patterns of the models that it may call, as [`matches()`] reads them; all where there are none.
    pub models: Vec<String>,
    /// How much of a conversation is sent on.
    pub context: ContextLimit,
    /// What becomes of hints that a provider's protocol lacks.
    pub translation: Translation,
    /// Whether its user's own credentials alone may serve its calls: what they cannot serve is refused, and nobody
    /// pays the whole price for it.
    pub own_only: bool,
    /// How much and how often.
    pub rates: RateLimits,
}

/// How much of a conversation is sent on. Off unless it is switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContextLimit {
    /// Whether the oldest turns beyond the window are left out.
    pub enabled: bool,
    /// The window in tokens, as [`crate::context`] estimates them.
    pub window: Option<u64>,
}

impl ContextLimit {
    /// The window in tokens, where there is one in force.
    #[must_use]
    pub fn in_force(self) -> Option<u64> {
        self.window.filter(|_| self.enabled)
    }
}

/// What becomes of hints that are in a request, and not in the protocol that it is translated into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Translation {
    /// They are left out, and the client is told of them.
    #[default]
    Lenient,
    /// The request is refused.
    Strict,
}

impl Translation {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Lenient, Self::Strict];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lenient => "lenient",
            Self::Strict => "strict",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// How much and how often: `None` for no limit, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// Calls a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute, prompt and output together.
    pub tokens_per_minute: Option<u64>,
    /// Tokens a day (UTC), prompt and output together.
    pub tokens_per_day: Option<u64>,
    /// Calls at one time.
    pub concurrency: Option<u64>,
}

impl KeyLimits {
    /// Whether the key is limited in no way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether calls in this protocol are allowed.
    #[must_use]
    pub fn allows_protocol(&self, protocol: Protocol) -> bool {
        self.protocols.is_empty() || self.protocols.contains(&protocol)
    }

    /// Whether calls may be served by this provider.
    #[must_use]
    pub fn allows_provider(&self, provider: &str) -> bool {
        self.providers.is_empty() || self.providers.iter().any(|name| name == provider)
    }

    /// Whether calls of this model are allowed.
    #[must_use]
    pub fn allows_model(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| matches(pattern, model))
    }

    /// Refuses what makes no sense: a limit of 0, an empty pattern.
    ///
    /// # Errors
    /// The reason, for the person who sets the limits.
    pub fn check(&self) -> Result<(), String> {
        let RateLimits { requests_per_minute, tokens_per_minute, tokens_per_day, concurrency } = self.rates;
        let numbers = [requests_per_minute, tokens_per_minute, tokens_per_day, concurrency];
        let numbers = numbers.into_iter().chain([self.context.window]);
        if numbers.flatten().any(|number| number == 0 || number > LIMIT_MAX) {
            return Err(format!("a limit is a number between 1 and {LIMIT_MAX}"));
        }
        if self.context.enabled && self.context.window.is_none() {
            return Err("context management needs a context window".to_owned());
        }
        if self.models.len() > PATTERNS_MAX || self.providers.len() > PATTERNS_MAX {
            return Err(format!(
                "a key names at most {PATTERNS_MAX} patterns of models and as many providers"
            ));
        }
        let is_word = |word: &String| {
            !word.is_empty()
                && word.len() <= PATTERN_BYTES_MAX
                && !word.chars().any(|sign| is_unruly(sign) || sign.is_whitespace())
        };
        if !self.providers.iter().all(is_word) {
            return Err("a provider is named as the configuration names it".to_owned());
        }
        if !self.models.iter().all(is_word) {
            return Err("a pattern of models is a name in which `*` stands for any signs".to_owned());
        }
        Ok(())
    }
}

/// Whether `name` is what `pattern` describes: `*` stands for any characters or none, every other character for itself.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    // The leftmost place of each part leaves the most room for the next.
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The limit that a call met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Calls a minute.
    RequestsPerMinute,
    /// Tokens a minute.
    TokensPerMinute,
    /// Tokens a day.
    TokensPerDay,
    /// Calls at one time.
    Concurrency,
}

/// A call that is not let in now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub limit: Limit,
    /// Milliseconds until another try makes sense; at least 1.
    pub retry_after_ms: u64,
}

/// A bucket that fills evenly to a minute's worth. Its unit is a sixty-thousandth of what it holds: a limit of `n` a
/// minute is then `n` units a millisecond, without a fraction.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// What was taken and has not been refilled.
    missing: i128,
    filled_at: Timestamp,
}

impl Bucket {
    /// Takes up the time since the last look. A clock that was set back costs what the bucket would have gained
    /// meanwhile, and no more; threads that look a moment apart are no such clock.
    fn fill(&mut self, per_minute: u64, now: Timestamp) {
        let come_back = i128::from(now.since_ms(self.filled_at)) * i128::from(per_minute);
        self.missing = (self.missing - come_back).max(0);
        let is_set_back = now.plus_ms(SET_BACK_MS) < self.filled_at;
        self.filled_at = if is_set_back { now } else { self.filled_at.max(now) };
    }

    fn take(&mut self, count: i128) {
        self.missing = (self.missing + count * MINUTE_MS).max(0);
    }

    /// Milliseconds until one can be taken; 0 for now.
    fn wait_ms(&self, per_minute: u64) -> u64 {
        let full = i128::from(per_minute) * MINUTE_MS;
        ceil_div(self.missing + MINUTE_MS - full, per_minute)
    }

    fn window(&self, per_minute: u64) -> Window {
        let remaining = i128::from(per_minute) - i128::from(ceil_div(self.missing, 60_000));
        Window {
            limit: per_minute,
            remaining: u64::try_from(remaining).unwrap_or(0),
            reset_ms: ceil_div(self.missing, per_minute),
        }
    }
}

/// `amount / by`, rounded up; 0 for what is negative.
fn ceil_div(amount: i128, by: u64) -> u64 {
    let by = i128::from(by.max(1));
    u64::try_from((amount.max(0) + by - 1) / by).unwrap_or(u64::MAX)
}

/// What is left of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The limit.
    pub limit: u64,
    /// What is left now.
    pub remaining: u64,
    /// Milliseconds until all of it is back.
    pub reset_ms: u64,
}

/// What is left of the limits that clients are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateStatus {
    /// Calls a minute, where they are limited.
    pub requests: Option<Window>,
    /// Tokens a minute, where they are limited.
    pub tokens: Option<Window>,
}

/// What one key has used. The same whatever its limits are, which are passed each time: they may change between two
/// calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct RateMeter {
    requests: Bucket,
    tokens: Bucket,
    day: u64,
    tokens_today: u64,
    in_flight: u64,
}

impl RateMeter {
    /// A key with the tokens that it has used since midnight UTC, as the records have them at a start.
    #[must_use]
    pub fn new(tokens_today: u64, now: Timestamp) -> Self {
        Self { day: now.day(), tokens_today, ..Self::default() }
    }

    /// Lets a call in and counts it, or says which limit it met. A refused call is not counted.
    ///
    /// # Errors
    /// [`Refused`], with the limit that takes longest to lift.
    pub fn admit(&mut self, rates: &RateLimits, now: Timestamp) -> Result<(), Refused> {
        self.admit_by(rates, now, now)
    }

    /// The same by two clocks: days are the calendar's, and minutes are those of a clock that nobody sets.
    ///
    /// # Errors
    /// As for [`Self::admit`].
    pub fn admit_by(&mut self, rates: &RateLimits, now: Timestamp, steady: Timestamp) -> Result<(), Refused> {
        self.pass(rates, now, steady);
        let waits = [
            (Limit::RequestsPerMinute, rates.requests_per_minute.map(|limit| self.requests.wait_ms(limit))),
            (Limit::TokensPerMinute, rates.tokens_per_minute.map(|limit| self.tokens.wait_ms(limit))),
            (
                Limit::TokensPerDay,
                rates
                    .tokens_per_day
                    .filter(|limit| self.tokens_today >= *limit)
                    .map(|_| now.ms_to_midnight()),
            ),
            (
                Limit::Concurrency,
                rates.concurrency.filter(|limit| self.in_flight >= *limit).map(|_| CONCURRENCY_RETRY_MS),
            ),
        ];
        let longest =
            waits.into_iter().filter_map(|(limit, wait)| Some((limit, wait?))).max_by_key(|it| it.1);
        if let Some((limit, retry_after_ms)) = longest.filter(|(_, wait)| *wait > 0) {
            return Err(Refused { limit, retry_after_ms });
        }
        self.requests.take(1);
        self.in_flight += 1;
        Ok(())
    }

    /// Takes up the time: buckets fill, days end.
    fn pass(&mut self, rates: &RateLimits, now: Timestamp, steady: Timestamp) {
        self.requests.fill(rates.requests_per_minute.unwrap_or(LIMIT_MAX), steady);
        self.tokens.fill(rates.tokens_per_minute.unwrap_or(LIMIT_MAX), steady);
        if now.is_another_day(self.day) {
            (self.day, self.tokens_today) = (now.day(), 0);
        }
    }

    /// A call that was let in at `admitted` expects to use this many tokens.
    pub fn expect(&mut self, tokens: u64, admitted: Timestamp) {
        self.correct(0, tokens, admitted);
    }

    /// A call that was let in has left: another may take its place.
    pub fn leave(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A call that was let in at `admitted` used this many tokens instead of those that it expected. Tokens count for
    /// the day on which their call was let in.
    pub fn correct(&mut self, expected: u64, used: u64, admitted: Timestamp) {
        self.tokens.take(i128::from(used) - i128::from(expected));
        if admitted.day() == self.day {
            self.tokens_today = self.tokens_today.saturating_add(used).saturating_sub(expected);
        }
    }

    /// What is left.
    #[must_use]
    pub fn standing(&self, rates: &RateLimits) -> RateStatus {
        RateStatus {
            requests: rates.requests_per_minute.map(|limit| self.requests.window(limit)),
            tokens: rates.tokens_per_minute.map(|limit| self.tokens.window(limit)),
        }
    }
}

impl RateStatus {
    /// The headers that tell clients of this protocol, in the protocol's own names and forms: OpenAI's resets are
    /// durations, Anthropic's are moments, and Gemini has no such headers.
    #[must_use]
    pub fn headers(&self, protocol: Protocol, now: Timestamp) -> Vec<(&'static str, String)> {
        let names: [[&'static str; 3]; 2] = match protocol {
            Protocol::OpenaiChat | Protocol::OpenaiResponses => [
                [
                    "x-ratelimit-limit-requests",
                    "x-ratelimit-remaining-requests",
                    "x-ratelimit-reset-requests",
                ],
                ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
            ],
            Protocol::AnthropicMessages => [
                [
                    "anthropic-ratelimit-requests-limit",
                    "anthropic-ratelimit-requests-remaining",
                    "anthropic-ratelimit-requests-reset",
                ],
                [
                    "anthropic-ratelimit-tokens-limit",
                    "anthropic-ratelimit-tokens-remaining",
                    "anthropic-ratelimit-tokens-reset",
                ],
            ],
            Protocol::Gemini => return Vec::new(),
        };
        let reset = |window: Window| match protocol {
            Protocol::AnthropicMessages => now.plus_ms(window.reset_ms).rfc3339(),
            _ => duration(window.reset_ms),
        };
        let told = names.into_iter().zip([self.requests, self.tokens]);
        told.filter_map(|(names, window)| Some((names, window?)))
            .flat_map(|([limit, remaining, at], window)| {
                let (most, left) = (window.limit.to_string(), window.remaining.to_string());
                [(limit, most), (remaining, left), (at, reset(window))]
            })
            .collect()
    }
}

/// A duration as Go writes it: `120ms`, `7s`, `6m0s`.
fn duration(ms: u64) -> String {
    match (ms / 60_000, ms % 60_000) {
        (0, ms) if ms < 1000 => format!("{ms}ms"),
        (0, ms) => seconds(ms),
        (minutes, ms) => format!("{minutes}m{}", seconds(ms)),
    }
}

fn seconds(ms: u64) -> String {
    let (whole, rest) = (ms / 1000, ms % 1000);
    if rest == 0 { format!("{whole}s") } else { format!("{whole}.{rest:03}s") }
}

#[cfg(test)]
mod tests {
    use super::{KeyLimits, Limit, RateLimits, RateMeter, RateStatus, Refused, Window, duration, matches};
    use crate::protocol::Protocol;
    use crate::time::{DAY_MS, Timestamp};
    use proptest::prelude::*;

    /// 2027-01-15T08:00:00Z
    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn requests(limit: u64) -> RateLimits {
        RateLimits { requests_per_minute: Some(limit), ..RateLimits::default() }
    }

    #[test]
    fn a_star_stands_for_any_signs_and_everything_else_for_itself() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        };
        check("gpt-4o", "gpt-4o", true);
        check("gpt-4o", "gpt-4o-mini", false);
        check("gpt-4o*", "gpt-4o", true);
        check("gpt-4o*", "gpt-4o-mini", true);
        check("*", "", true);
        check("*-mini", "gpt-4o-mini", true);
        check("g*4*i", "gpt-4o-mini", true);
        check("g*4*o", "gpt-4o-mini", false);
        check("aa*a", "aa", false);
        check("a*b*b", "ab", false);
        check("", "a", false);
        check("gpt.4o", "gpt-4o", false);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let check = |limits: KeyLimits| limits.check().unwrap_err();
        check(KeyLimits { rates: requests(0), ..KeyLimits::default() });
        check(KeyLimits { rates: requests(u64::MAX), ..KeyLimits::default() });
        for pattern in ["", "gpt 4", "a\nb"] {
            check(KeyLimits { models: vec![pattern.to_owned()], ..KeyLimits::default() });
        }
        KeyLimits { models: vec!["*".to_owned()], rates: requests(1), ..KeyLimits::default() }
            .check()
            .unwrap();
    }

    #[test]
    fn a_minute_passes_whatever_the_calendar_says() {
        let (mut meter, rates) = (RateMeter::new(0, NOW), requests(1));
        let hour = 3_600_000;
        meter.admit_by(&rates, NOW, NOW).unwrap();
        // Set back by a day, and ahead by one: neither lets a call in, nor keeps one out.
        for date in [NOW.millis() - 24 * hour, NOW.millis() + 24 * hour, 0, u64::MAX] {
            let refused = meter.admit_by(&rates, Timestamp::from_millis(date), NOW.plus_ms(1)).unwrap_err();
            assert_eq!(refused.retry_after_ms, 59_999, "{date}");
        }
        meter.admit_by(&rates, Timestamp::from_millis(0), NOW.plus_ms(60_000)).unwrap();
        // One clock for both, set back: a minute is lost, and not the hour.
        let (mut meter, back) = (RateMeter::new(0, NOW), Timestamp::from_millis(NOW.millis() - hour));
        meter.admit(&rates, NOW).unwrap();
        meter.admit(&rates, back).unwrap_err();
        meter.admit(&rates, back.plus_ms(60_000)).unwrap();
    }

    #[test]
    fn a_day_that_the_calendar_was_set_back_from_is_over() {
        let rates = RateLimits { tokens_per_day: Some(10), ..RateLimits::default() };
        let mut meter = RateMeter::new(10, NOW);
        meter.admit(&rates, NOW).unwrap_err();
        // A moment before midnight is still today, as threads see it that look a moment apart.
        let midnight = Timestamp::from_millis(NOW.day() * DAY_MS);
        meter.admit(&rates, Timestamp::from_millis(midnight.millis() - 1000)).unwrap_err();
        meter.admit(&rates, Timestamp::from_millis(midnight.millis() - DAY_MS)).unwrap();
        meter.expect(10, Timestamp::from_millis(midnight.millis() - DAY_MS));
        meter.admit(&rates, Timestamp::from_millis(midnight.millis() - DAY_MS)).unwrap_err();
        meter.admit(&rates, NOW).unwrap();
    }

    #[test]
    fn a_minutes_worth_may_come_at_once_and_the_rest_evenly() {
        let (mut meter, rates) = (RateMeter::new(0, NOW), requests(6));
        for left in (0..6).rev() {
            meter.admit(&rates, NOW).unwrap();
            assert_eq!(meter.standing(&rates).requests.map(|window| window.remaining), Some(left));
        }
        let refused = Refused { limit: Limit::RequestsPerMinute, retry_after_ms: 10_000 };
        assert_eq!(meter.admit(&rates, NOW), Err(refused));
        meter.admit(&rates, NOW.plus_ms(9_999)).unwrap_err();
        meter.admit(&rates, NOW.plus_ms(10_000)).unwrap();
        meter.admit(&rates, NOW.plus_ms(10_000)).unwrap_err();
    }

    #[test]
    fn tokens_that_were_used_beyond_the_estimate_are_missing_later() {
        let rates = RateLimits { tokens_per_minute: Some(600), ..RateLimits::default() };
        let mut meter = RateMeter::new(0, NOW);
        meter.admit(&rates, NOW).unwrap();
        meter.expect(100, NOW);
        assert_eq!(meter.standing(&rates).tokens.map(|window| window.remaining), Some(500));
        meter.leave();
        meter.correct(100, 700, NOW);
        // 100 too many, and one to take: 10 a second.
        let refused = Refused { limit: Limit::TokensPerMinute, retry_after_ms: 10_100 };
        assert_eq!(meter.admit(&rates, NOW), Err(refused));
        meter.admit(&rates, NOW.plus_ms(10_100)).unwrap();
        meter.correct(0, 0, NOW);
    }

    #[test]
    fn a_days_tokens_are_back_at_midnight_utc_and_count_for_the_day_of_their_call() {
        let rates = RateLimits { tokens_per_day: Some(100), ..RateLimits::default() };
        let mut meter = RateMeter::new(99, NOW);
        meter.admit(&rates, NOW).unwrap();
        meter.expect(1, NOW);
        let midnight = NOW.ms_to_midnight();
        assert_eq!(midnight, 16 * 60 * 60 * 1000);
        let refused = Refused { limit: Limit::TokensPerDay, retry_after_ms: midnight };
        assert_eq!(meter.admit(&rates, NOW), Err(refused));
        meter.admit(&rates, NOW.plus_ms(midnight)).unwrap();
        // The first call ends now, and it was yesterday's.
        meter.correct(1, 1_000, NOW);
        meter.admit(&rates, NOW.plus_ms(midnight)).unwrap();
    }

    #[test]
    fn calls_at_one_time_are_bounded_and_one_that_leaves_makes_room() {
        let rates = RateLimits { concurrency: Some(2), ..RateLimits::default() };
        let mut meter = RateMeter::new(0, NOW);
        meter.admit(&rates, NOW).unwrap();
        meter.admit(&rates, NOW).unwrap();
        assert_eq!(meter.admit(&rates, NOW).unwrap_err().limit, Limit::Concurrency);
        meter.leave();
        meter.admit(&rates, NOW).unwrap();
    }

    #[test]
    fn each_protocol_is_told_in_its_own_words() {
        let window = |remaining, reset_ms| Some(Window { limit: 60, remaining, reset_ms });
        let standing = RateStatus { requests: window(59, 1_000), tokens: None };
        let said = |protocol| -> Vec<String> {
            let headers = standing.headers(protocol, NOW).into_iter();
            headers.map(|(name, value)| format!("{name}: {value}")).collect()
        };
        let openai = [
            "x-ratelimit-limit-requests: 60",
            "x-ratelimit-remaining-requests: 59",
            "x-ratelimit-reset-requests: 1s",
        ];
        assert_eq!(said(Protocol::OpenaiChat), openai);
        assert_eq!(said(Protocol::OpenaiResponses), openai);
        assert_eq!(
            said(Protocol::AnthropicMessages),
            [
                "anthropic-ratelimit-requests-limit: 60",
                "anthropic-ratelimit-requests-remaining: 59",
                "anthropic-ratelimit-requests-reset: 2027-01-15T08:00:01Z",
            ]
        );
        assert!(said(Protocol::Gemini).is_empty());
        let durations = [120, 1_000, 7_500, 60_000, 360_000].map(duration);
        assert_eq!(durations, ["120ms", "1s", "7.500s", "1m0s", "6m0s"]);
    }

    /// The slow way: any split of the name that fits.
    fn matches_slowly(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', rest @ ..] => (0..=name.len()).any(|at| matches_slowly(rest, &name[at..])),
            [sign, rest @ ..] => name.first() == Some(sign) && matches_slowly(rest, &name[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn a_pattern_means_what_the_slow_way_says(pattern in "[ab*]{0,7}", name in "[ab]{0,9}") {
            prop_assert_eq!(matches(&pattern, &name), matches_slowly(pattern.as_bytes(), name.as_bytes()));
        }

        #[test]
        fn no_sequence_of_calls_passes_a_limit(
            rate in 1..40u64,
            at_once in 1..5u64,
            steps in prop::collection::vec((0..4_000u64, any::<bool>()), 1..300),
        ) {
            let rates = RateLimits { concurrency: Some(at_once), ..requests(rate) };
            let mut meter = RateMeter::new(0, NOW);
            let (mut now, mut admitted, mut in_flight) = (NOW, Vec::new(), 0);
            for (pause, leave) in steps {
                now = now.plus_ms(pause);
                match meter.admit(&rates, now) {
                    Ok(()) => { admitted.push(now); in_flight += 1; }
                    Err(refused) => {
                        prop_assert!(refused.retry_after_ms > 0);
                        if refused.limit == Limit::RequestsPerMinute && in_flight < at_once {
                            let mut later = meter;
                            prop_assert_eq!(later.admit(&rates, now.plus_ms(refused.retry_after_ms)), Ok(()));
                        }
                    }
                }
                prop_assert!(in_flight <= at_once);
                if leave && in_flight > 0 {
                    meter.leave();
                    in_flight -= 1;
                }
            }
            // A full bucket and what a minute fills.
            for (first, start) in admitted.iter().enumerate() {
                let within = admitted[first..].iter().filter(|at| at.since_ms(*start) < 60_000).count() as u64;
                prop_assert!(within <= 2 * rate);
            }
        }

        #[test]
        fn a_days_count_is_the_sum_of_what_was_used(used in prop::collection::vec((0..500u64, 0..500u64), 0..50)) {
            let mut meter = RateMeter::new(0, NOW);
            for (expected, used) in &used {
                meter.expect(*expected, NOW);
                meter.correct(*expected, *used, NOW);
            }
            let sum: u64 = used.iter().map(|(_, used)| used).sum();
            let cap = |tokens| RateLimits { tokens_per_day: Some(tokens), ..RateLimits::default() };
            prop_assert!(meter.admit(&cap(sum + 1), NOW).is_ok());
            if sum > 0 {
                let refused = meter.admit(&cap(sum), NOW).unwrap_err();
                prop_assert_eq!(refused.retry_after_ms, NOW.ms_to_midnight());
            }
            prop_assert!(NOW.ms_to_midnight() < DAY_MS);
        }
    }
}
