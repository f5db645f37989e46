//! What the gateway counts of a call itself, because its answer need not state it: images that are made, seconds of a
//! recording, characters that are spoken, documents that are ranked. Where the answer states more, that counts.
//!
//! Such a call is served where what it is counted as, or what its answer states in its place, has a price.

use std::ops::ControlFlow;

use tollgate_core::audio;
use tollgate_core::json::{self, Kind};
use tollgate_core::outcome::Outcome;
use tollgate_core::price::{ModelPrice, Rates};
use tollgate_core::protocol::Operation;
use tollgate_core::usage::{Class, Quality, Usage};

use super::error::ProxyError;
use super::form::Form;
use super::members::{Member, last};

/// Tokens that a second of speech has, where tokens are billed and not stated.
const TOKENS_A_SECOND: u64 = 10;
/// Documents of a ranking that are one unit.
const DOCUMENTS_A_UNIT: u64 = 100;
/// Images of one request, and images that it may show.
const IMAGES_MAX: u64 = 128;

/// Units of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    class: Class,
    units: u64,
}

impl Counted {
    /// Of a request that is JSON.
    pub(super) fn of(operation: Operation, body: &[u8], members: &[Member], answers: u64) -> Option<Self> {
        let (class, units) = match operation {
            Operation::MakeImages => (Class::Image, answers.min(IMAGES_MAX)),
            Operation::Speak => {
                let text = last(members, "input").and_then(|input| json::string(body, input));
                (Class::Character, text.map_or(0, |text| text.chars().count() as u64))
            }
            Operation::Rerank => {
                let mut documents = 0_u64;
                let list = last(members, "documents").or_else(|| last(members, "texts"));
                if let Some(list) = list.filter(|list| list.kind == Kind::Array) {
                    // The whole body has been validated, so its parts cannot fail.
                    let _valid = json::elements_of(body, list, |_| {
                        documents += 1;
                        ControlFlow::Continue(())
                    });
                }
                (Class::SearchUnit, documents.div_ceil(DOCUMENTS_A_UNIT).max(1))
            }
            _ => return None,
        };
        Some(Self { class, units })
    }

    /// Of one that is a form.
    pub(super) fn of_form(operation: Operation, body: &[u8], form: &Form, answers: u64) -> Option<Self> {
        let recording = || form.files().filter_map(|file| body.get(file.value.clone()));
        let (class, units) = match operation {
            Operation::EditImages => (Class::Image, answers.min(IMAGES_MAX)),
            Operation::Transcribe | Operation::TranslateSpeech => {
                (Class::AudioSecond, recording().map(audio::seconds).sum())
            }
            _ => return None,
        };
        Some(Self { class, units })
    }

    /// Whether a model can be charged for it.
    ///
    /// # Errors
    /// 400, which says what has no price, and how it gets one.
    pub(super) fn check(self, model: &str, price: &ModelPrice) -> Result<(), ProxyError> {
        let instead: &[Class] = match self.class {
            Class::Image => &[Class::ImageOutput],
            Class::AudioSecond => &[Class::AudioInput, Class::Input],
            // Most who rank bill tokens, and one's own server nothing.
            Class::SearchUnit => return Ok(()),
            _ => &[],
        };
        let priced = |class: &Class| price.base[*class] > 0;
        if price.base.request > 0 || priced(&self.class) || instead.iter().any(priced) {
            return Ok(());
        }
        let name = self.class.name();
        let words = format!(
            "`{model}` has no price for `{name}` here, so it is not served: the operator has to set one in the price \
             list, or to give `{name}` away (`unpriced_allowed`)."
        );
        Err(ProxyError::bad_request(words, Some("model")))
    }

    /// What it is called where it is given away.
    pub(super) const fn name(self) -> &'static str {
        self.class.name()
    }

    /// What it costs, in millionths of a micro-point.
    pub(super) fn cost(self, rates: &Rates) -> i128 {
        rates.cost_of(self.class, self.units)
    }

    /// What was used, with what was counted where the answer came and did not state it.
    pub(super) fn add_to(self, mut usage: Usage, outcome: Outcome) -> Usage {
        let came = matches!(outcome, Outcome::Ok | Outcome::Partial | Outcome::CancelledAfterFirstByte);
        if !came || usage[self.class] > 0 {
            return usage;
        }
        usage[self.class] = self.units;
        if self.class == Class::AudioSecond && usage.quality != Quality::Exact {
            usage[Class::AudioInput] = self.units.saturating_mul(TOKENS_A_SECOND);
        }
        if usage.quality == Quality::Missing {
            usage.quality = Quality::Estimated;
        }
        usage
    }
}
