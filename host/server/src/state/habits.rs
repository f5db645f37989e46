//! What the answers of each model have been like: how long, and how much of that nobody sees. Learned from what
//! providers state, in memory alone: after a start nothing is known, and what is not known is not counted on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Models of which something is remembered.
const MODELS_MAX: usize = 4_096;
/// Answers after which a model is known.
const KNOWN_AFTER: u64 = 4;
/// The weight of what was before, in parts of which the newest answer is one.
const MEMORY: u64 = 8;
/// A model answers in the open where less than one token in so many is hidden.
const HIDDEN_PART: u64 = 8;

/// What the answers of each model have been like.
#[derive(Debug, Default)]
pub(crate) struct Habits {
    models: RwLock<HashMap<Arc<str>, Arc<Habit>>>,
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

    fn find(&self, model: &str) -> Option<Arc<Habit>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).get(model).cloned()
    }

    fn add(&self, model: &Arc<str>) -> Option<Arc<Habit>> {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        (models.len() < MODELS_MAX).then(|| Arc::clone(models.entry(Arc::clone(model)).or_default()))
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
    use super::{Expected, Habits, MODELS_MAX};
    use std::sync::Arc;

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
