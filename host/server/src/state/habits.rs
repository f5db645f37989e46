//! What calls of each model have been like: how long their answers, how much of that nobody sees, and how many tokens
//! the text of their prompts. Learned from what providers state, in memory alone: after a start nothing is known, and
//! what is not known is not counted on.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use foldhash::quality::RandomState;
use tollgate_core::id::UserId;

/// Models of which something is remembered.
const MODELS_MAX: usize = 4_096;
/// Answers after which a model is known.
const KNOWN_AFTER: u64 = 4;
/// The weight of what was before, in parts of which the newest answer is one.
const MEMORY: u64 = 8;
/// A model answers in the open where less than one token in so many is hidden.
const HIDDEN_PART: u64 = 8;

/// Prompts of so many kinds are remembered.
const PROMPTS_MAX: usize = 16_384;
/// The longest prompt, in tokens, that is believed: the sums of some must fit.
const PROMPT_TOKENS_MAX: u64 = 1 << 40;
/// The shortest prompt, in tokens, that says anything: of shorter ones most is what providers put around them.
const PROMPT_TOKENS_MIN: u64 = 32;
/// A prompt has at least one in so many of the tokens that its text stands for, and at most so many times as many:
/// nobody's odd prompts make others pay more than that.
const FACTOR_MAX: u64 = 2;

/// What calls of each model have been like.
#[derive(Debug, Default)]
pub(crate) struct Habits {
    models: RwLock<HashMap<Arc<str>, Arc<Habit>, RandomState>>,
    prompts: Prompts,
}

/// What prompts have been like: of one user to one model, of all to it, and of all to its family.
#[derive(Debug, Default)]
struct Prompts {
    hasher: RandomState,
    of_users: Densities,
    of_models: Densities,
}

type Densities = RwLock<HashMap<u64, Density, RandomState>>;

/// Tokens that were stated, and that the text stood for: sums of [`MEMORY`] prompts, so that long ones count more.
#[derive(Debug, Default)]
struct Density {
    stated: AtomicU64,
    text: AtomicU64,
}

/// What the answers of one model have been like. Sums of [`MEMORY`] answers; two threads at once may lose an answer.
#[derive(Debug, Default)]
struct Habit {
    answers: AtomicU64,
    output: AtomicU64,
    hidden: AtomicU64,
}

/// What is to be expected of a model's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Output tokens, hidden ones included.
    pub(crate) output: u64,
    /// Those of them that do not show in the answer's text.
    pub(crate) hidden: u64,
    /// Whether the text shows, as it comes, how much is used.
    pub(crate) open: bool,
}

/// How much of an answer its text shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// All of it, as it comes.
    All,
    /// Nobody knows.
    Unknown,
    /// Not all of it.
    Part,
}

impl Shown {
    /// Of a model of which this is expected, asked for thought or not.
    pub(crate) fn of(expected: Option<Expected>, thinks: bool) -> Self {
        match expected {
            Some(expected) if expected.open && !thinks => Self::All,
            None if !thinks => Self::Unknown,
            _ => Self::Part,
        }
    }
}

impl Habits {
    /// A finished answer had so many output tokens, of which so many showed.
    pub(crate) fn note(&self, model: &Arc<str>, output: u64, shown: u64) {
        let Some(habit) = self.find(model).or_else(|| self.add(model)) else { return };
        habit.note(output, output.saturating_sub(shown));
    }

    /// What is to be expected of a model; `None` until it has answered a few times.
    pub(crate) fn expected(&self, model: &str) -> Option<Expected> {
        self.find(model)
            .filter(|habit| habit.answers.load(Ordering::Relaxed) >= KNOWN_AFTER)
            .map(|habit| habit.mean())
    }

    /// A prompt whose text stands for so many tokens had so many.
    pub(crate) fn note_prompt(&self, user: UserId, model: &str, text: u64, stated: u64) {
        if text < PROMPT_TOKENS_MIN {
            return;
        }
        let text = text.min(PROMPT_TOKENS_MAX);
        let stated = stated.clamp(text / FACTOR_MAX, text.saturating_mul(FACTOR_MAX));
        let Prompts { of_users, of_models, .. } = &self.prompts;
        let [own, model, family] = self.prompts.keys(user, model);
        for (all, key) in [(of_users, own), (of_models, model), (of_models, family)] {
            note(all, key, text, stated);
        }
    }

    /// The tokens of a prompt whose text stands for so many, by the last ones of the user, of the model, or of its
    /// family.
    pub(crate) fn prompt_tokens(&self, user: UserId, model: &str, text: u64) -> u64 {
        let Prompts { of_users, of_models, .. } = &self.prompts;
        let [own, model, family] = self.prompts.keys(user, model);
        let known = [(of_users, own), (of_models, model), (of_models, family)];
        known.into_iter().find_map(|(all, key)| all_of(all).get(&key)?.of(text)).unwrap_or(text)
    }

    fn find(&self, model: &str) -> Option<Arc<Habit>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).get(model).cloned()
    }

    fn add(&self, model: &Arc<str>) -> Option<Arc<Habit>> {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        (models.len() < MODELS_MAX).then(|| Arc::clone(models.entry(Arc::clone(model)).or_default()))
    }
}

impl Prompts {
    fn keys(&self, user: UserId, model: &str) -> [u64; 3] {
        let key = |kind: u8, whose: &[u8], name: &str| self.hasher.hash_one((kind, whose, name));
        [key(0, user.as_bytes(), model), key(1, &[], model), key(2, &[], family(model))]
    }
}

/// The family of a model: the word that its name begins with, behind the name of a platform.
fn family(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.find(|letter: char| !letter.is_ascii_alphabetic()).map_or(name, |end| &name[..end])
}

fn all_of(all: &Densities) -> RwLockReadGuard<'_, HashMap<u64, Density, RandomState>> {
    all.read().unwrap_or_else(PoisonError::into_inner)
}

fn note(all: &Densities, key: u64, text: u64, stated: u64) {
    let known = all_of(all);
    if let Some(density) = known.get(&key) {
        return density.note(text, stated);
    }
    drop(known);
    let mut all = all.write().unwrap_or_else(PoisonError::into_inner);
    if all.len() < PROMPTS_MAX {
        all.entry(key).or_default().note(text, stated);
    }
}

impl Density {
    fn note(&self, text: u64, stated: u64) {
        for (sum, value) in [(&self.text, text), (&self.stated, stated)] {
            let before = sum.load(Ordering::Relaxed);
            sum.store((before - before / MEMORY).saturating_add(value), Ordering::Relaxed);
        }
    }

    fn of(&self, text: u64) -> Option<u64> {
        let [stated, known] = [&self.stated, &self.text].map(|sum| u128::from(sum.load(Ordering::Relaxed)));
        // To the nearest: sums forget in whole tokens, always a little too much.
        let tokens = (u128::from(text) * stated + known / 2).checked_div(known)?;
        Some(u64::try_from(tokens).unwrap_or(u64::MAX))
    }
}

impl Habit {
    fn note(&self, output: u64, hidden: u64) {
        let first = self.answers.fetch_add(1, Ordering::Relaxed) == 0;
        for (sum, value) in [(&self.output, output), (&self.hidden, hidden)] {
            let before = sum.load(Ordering::Relaxed);
            let after = if first { value.saturating_mul(MEMORY) } else { before - before / MEMORY };
            sum.store(if first { after } else { after.saturating_add(value) }, Ordering::Relaxed);
        }
    }

    fn mean(&self) -> Expected {
        let [output, hidden] = [&self.output, &self.hidden].map(|sum| sum.load(Ordering::Relaxed) / MEMORY);
        Expected { output, hidden, open: hidden.saturating_mul(HIDDEN_PART) <= output }
    }
}

#[cfg(test)]
mod tests {
    use super::{Expected, Habits, MODELS_MAX, PROMPTS_MAX, family};
    use std::sync::Arc;
    use tollgate_core::id::UserId;

    const ALICE: UserId = UserId::from_bytes([1; 16]);
    const BOB: UserId = UserId::from_bytes([2; 16]);

    #[test]
    fn a_prompt_is_as_dense_as_the_last_ones_of_whoever_is_nearest() {
        let habits = Habits::default();
        let tokens = |user, model: &str| habits.prompt_tokens(user, model, 1_000);
        assert_eq!(tokens(ALICE, "gpt-4o"), 1_000, "four bytes a token");
        for _ in 0..20 {
            habits.note_prompt(ALICE, "gpt-4o", 2_000, 2_600);
        }
        assert_eq!([tokens(ALICE, "gpt-4o"), tokens(BOB, "gpt-4o"), tokens(BOB, "gpt-5-mini")], [1_300; 3]);
        assert_eq!(tokens(BOB, "claude-sonnet-4-5"), 1_000);
        for _ in 0..60 {
            habits.note_prompt(BOB, "gpt-4o", 2_000, 1_600);
        }
        assert_eq!((tokens(ALICE, "gpt-4o"), tokens(BOB, "gpt-4o")), (1_300, 800), "to each their own");
    }

    #[test]
    fn odd_prompts_change_what_others_pay_within_bounds() {
        let habits = Habits::default();
        for _ in 0..9 {
            habits.note_prompt(BOB, "m-1", 1_000, u64::MAX);
            habits.note_prompt(BOB, "n-1", u64::MAX, 0);
            habits.note_prompt(BOB, "o-1", 3, 90);
        }
        let tokens = |model: &str| habits.prompt_tokens(ALICE, model, 1_000);
        assert_eq!([tokens("m-2"), tokens("o-1")], [2_000, 1_000]);
        assert!((499..=501).contains(&tokens("n-2")), "{}", tokens("n-2"));
        for name in 0..2 * PROMPTS_MAX {
            habits.note_prompt(ALICE, &format!("m{name}"), 100, 100);
        }
        assert_eq!(habits.prompts.of_users.read().unwrap().len(), PROMPTS_MAX);
    }

    #[test]
    fn a_family_is_a_name_without_its_version() {
        let names = ["gpt-4o", "openai/gpt-5", "o3-mini", "llama3.1:8b", "gemini", "", "7b"];
        assert_eq!(names.map(family), ["gpt", "gpt", "o", "llama", "gemini", "", ""]);
    }

    #[test]
    fn a_model_is_known_after_a_few_answers_and_follows_its_last_ones() {
        let habits = Habits::default();
        let model: Arc<str> = "m".into();
        for _ in 0..4 {
            assert_eq!(habits.expected("m"), None);
            habits.note(&model, 800, 800);
        }
        assert_eq!(habits.expected("m"), Some(Expected { output: 800, hidden: 0, open: true }));
        for _ in 0..40 {
            habits.note(&model, 8_000, 100);
        }
        let now = habits.expected("m").unwrap();
        assert!(!now.open && now.output > 7_000 && now.hidden > 6_500, "{now:?}");
    }

    #[test]
    fn no_number_and_no_name_is_too_much() {
        let habits = Habits::default();
        for _ in 0..9 {
            habits.note(&"m".into(), u64::MAX, 0);
        }
        assert!(!habits.expected("m").unwrap().open);
        for name in 0..2 * MODELS_MAX {
            habits.note(&format!("m{name}").into(), 1, 1);
        }
        assert_eq!(habits.models.read().unwrap().len(), MODELS_MAX);
    }
}
