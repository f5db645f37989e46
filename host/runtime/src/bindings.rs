//! What `bindgen!` makes of `wit/`, one module per world, and the conversions to the vocabulary of `tollgate-core`.
//!
//! Nothing outside this crate sees these types.

use tollgate_core::failure::FailureClass;
use tollgate_core::hold::{Quote, RatedHold};
use tollgate_core::outcome::Outcome;
use tollgate_core::points::Micropoints;
use tollgate_core::protocol::{Operation, Owner, Protocol};
use tollgate_core::usage::{Class, Quality, ServiceTier, Usage};

use crate::plan::adapter::{AdapterPlan, Failure, Refusal, StreamOption, TextTap, Translation, UsageTap};
use crate::plan::client::{ClientHeader, ClientParameter, HeaderForm};
use crate::plan::endpoint::{Check, Endpoint, HeaderTemplate};
use crate::plan::exchange::Terms;
use crate::plan::platform::{BodyEdits, Framing, Platform, Scheme, Setting};
use crate::plan::policy::{
    Action, Bill, Candidate, Charge, Direction, FilterPlan, FilterRule, Found, Health, HoldRule, PricingPlan,
    Reason, Rewards, Syntax, Trigger, Verdict,
};

/// World `provider-adapter`. It comes first: the interfaces that all worlds share are generated here.
pub(crate) mod adapter_world {
    wasmtime::component::bindgen!({ path: "../../wit", world: "provider-adapter" });
}

/// World `key-selector`.
pub(crate) mod selector_world {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "key-selector",
        with: {
            "tollgate:plugin/types@0.2.0": crate::bindings::types,
            "tollgate:plugin/host@0.2.0": crate::bindings::host,
        },
    });
}

/// World `pricing-policy`.
pub(crate) mod pricing_world {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "pricing-policy",
        with: { "tollgate:plugin/types@0.2.0": crate::bindings::types },
    });
}

/// World `content-filter`.
pub(crate) mod filter_world {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "content-filter",
        with: { "tollgate:plugin/host@0.2.0": crate::bindings::host },
    });
}

pub(crate) use adapter_world::exports::tollgate::plugin::adapter as wit_adapter;
#[expect(unreachable_pub, reason = "what `bindgen!` makes re-exports what it is told to share")]
pub use adapter_world::tollgate::plugin::{host, types};
pub(crate) use filter_world::exports::tollgate::plugin::filtering as wit_filter;
pub(crate) use pricing_world::exports::tollgate::plugin::pricing as wit_pricing;
pub(crate) use selector_world::exports::tollgate::plugin::key_selection as wit_selector;

/// Two enums with the same cases, converted one way.
macro_rules! same_cases {
    ($from:path => $to:path { $($case:ident),+ $(,)? }) => {
        impl From<$from> for $to {
            fn from(value: $from) -> Self {
                match value {
                    $(<$from>::$case => Self::$case,)+
                }
            }
        }
    };
}

same_cases!(Protocol => types::Protocol { OpenaiChat, OpenaiResponses, AnthropicMessages, Gemini });
same_cases!(types::Protocol => Protocol { OpenaiChat, OpenaiResponses, AnthropicMessages, Gemini });
same_cases!(Operation => types::Operation {
    Generate, CountTokens, Embed, EmbedBatch, ListModels, Interact, Complete, MakeImages, EditImages, Speak,
    Transcribe, TranslateSpeech, Moderate, Rerank, KeepFile, KeptFiles,
});
same_cases!(types::Operation => Operation {
    Generate, CountTokens, Embed, EmbedBatch, ListModels, Interact, Complete, MakeImages, EditImages, Speak,
    Transcribe, TranslateSpeech, Moderate, Rerank, KeepFile, KeptFiles,
});
same_cases!(Owner => types::Owner { User, Platform, Shared });
same_cases!(Quality => types::Quality { Exact, Estimated, Missing });
same_cases!(types::Quality => Quality { Exact, Estimated, Missing });
same_cases!(wit_adapter::FailureClass => FailureClass {
    InvalidCredential, Permission, QuotaExhausted, RateLimited, Overloaded, BadRequest, ContextTooLong,
    ContentRefused, NotFound, Transient, Unknown,
});
same_cases!(wit_adapter::Framing => Framing { Plain, AwsEventStream });
same_cases!(Health => wit_selector::Health { Available, HalfOpen });
same_cases!(wit_pricing::Reason => Reason { Full, OwnCredential, Free });
same_cases!(Direction => wit_filter::Direction { Request, Response });
same_cases!(wit_filter::Syntax => Syntax { Literal, Regex });
same_cases!(wit_filter::Trigger => Trigger { OnMatch, Always });
same_cases!(wit_filter::Action => Action { Allow, Block, Mask });

impl From<Outcome> for types::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::Ok,
            Outcome::Empty => Self::Empty,
            Outcome::Partial => Self::Partial,
            Outcome::CancelledBeforeFirstByte => Self::CancelledBeforeFirstByte,
            Outcome::CancelledAfterFirstByte => Self::CancelledAfterFirstByte,
            Outcome::UpstreamError => Self::UpstreamError,
            // The contract has no word for a request that the gateway refused: `Pricing::settle` answers for it.
            Outcome::Unknown | Outcome::Refused => Self::Unknown,
        }
    }
}

/// What a plugin counts. A class that this gateway does not know is left out, and the rest is no more than an
/// estimate then.
impl From<types::Usage> for Usage {
    fn from(told: types::Usage) -> Self {
        let mut usage = Self::of(told.quality.into(), &[]);
        let mut known = true;
        for amount in told.amounts {
            match Class::of_code(amount.class) {
                Some(class) => usage[class] = usage[class].saturating_add(amount.units),
                None => known = false,
            }
        }
        match ServiceTier::of_code(told.service_tier) {
            Some(tier) => usage.tier = tier,
            None => known = false,
        }
        if !known && usage.quality == Quality::Exact {
            usage.quality = Quality::Estimated;
        }
        usage
    }
}

impl From<&Quote> for wit_pricing::Quote {
    fn from(quote: &Quote) -> Self {
        Self {
            rates: quote
                .rates
                .each()
                .map(|(class, rate)| wit_pricing::Rate { class: class.code(), rate })
                .collect(),
            request_rate: quote.rates.request,
            input_tokens: quote.input_tokens,
            output_tokens_max: quote.output_tokens_max,
            own_credential: quote.own_credential,
            platform_credential: quote.platform_credential,
            at_ms: quote.at.millis(),
        }
    }
}

impl From<wit_pricing::Plan> for PricingPlan {
    fn from(plan: wit_pricing::Plan) -> Self {
        let hold = match plan.hold {
            wit_pricing::HoldRule::Rated(wit_pricing::RatedHold { own_ppm, platform_ppm, minimum }) => {
                HoldRule::Rated(RatedHold { own_ppm, platform_ppm, minimum: Micropoints::new(minimum) })
            }
            wit_pricing::HoldRule::Ask => HoldRule::Ask,
        };
        let wit_pricing::Rewards { first_credential, lender_ppm } = plan.rewards;
        let rewards = Rewards { first_credential: Micropoints::new(first_credential), lender_ppm };
        Self { hold, rewards }
    }
}

impl From<&Bill> for wit_pricing::Bill {
    fn from(bill: &Bill) -> Self {
        Self {
            items: bill
                .usage
                .amounts()
                .map(|(class, units)| wit_pricing::Item {
                    class: class.code(),
                    units,
                    rate: bill.rates[class],
                })
                .collect(),
            request_rate: bill.rates.request,
            quality: bill.usage.quality.into(),
            outcome: bill.outcome.into(),
            owner: bill.owner.into(),
            at_ms: bill.at.millis(),
        }
    }
}

impl From<wit_pricing::Charge> for Charge {
    fn from(charge: wit_pricing::Charge) -> Self {
        Self { amount: Micropoints::new(charge.amount), reason: charge.reason.into() }
    }
}

impl From<&Candidate> for wit_selector::Candidate {
    fn from(candidate: &Candidate) -> Self {
        Self {
            handle: candidate.handle,
            owner: candidate.owner.into(),
            health: candidate.health.into(),
            weight: candidate.weight,
            in_flight: candidate.in_flight,
            failures: candidate.failures,
            idle_ms: candidate.idle_ms,
            affinity: candidate.affinity,
        }
    }
}

impl From<&Found> for wit_filter::Found {
    fn from(found: &Found) -> Self {
        Self { rule: found.rule, start: found.start, end: found.end }
    }
}

impl From<wit_filter::Verdict> for Verdict {
    fn from(verdict: wit_filter::Verdict) -> Self {
        Self { action: verdict.action.into(), rule: verdict.rule, mask: verdict.mask }
    }
}

impl From<wit_filter::Plan> for FilterPlan {
    fn from(plan: wit_filter::Plan) -> Self {
        let rule = |rule: wit_filter::Rule| FilterRule {
            id: rule.id,
            syntax: rule.syntax.into(),
            pattern: rule.pattern,
            ignore_case: rule.ignore_case,
        };
        Self {
            rules: plan.rules.into_iter().map(rule).collect(),
            trigger: plan.trigger.into(),
            response_window_chars: plan.response_window_chars,
        }
    }
}

impl From<wit_adapter::Failure> for Failure {
    fn from(failure: wit_adapter::Failure) -> Self {
        Self { class: failure.class.into(), retry_after_ms: failure.retry_after_ms }
    }
}

impl From<wit_adapter::Plan> for AdapterPlan {
    fn from(plan: wit_adapter::Plan) -> Self {
        let header =
            |header: wit_adapter::HeaderTemplate| HeaderTemplate { name: header.name, value: header.value };
        Self {
            endpoints: plan.endpoints.into_iter().map(Endpoint::from).collect(),
            auth: plan.auth.into_iter().map(header).collect(),
            defaults: plan.defaults.into_iter().map(header).collect(),
            client_headers: plan.client_headers.into_iter().map(ClientHeader::from).collect(),
            client_parameters: plan.client_parameters.into_iter().map(ClientParameter::from).collect(),
            usage_taps: plan.usage_taps.into_iter().map(UsageTap::from).collect(),
            text_taps: plan.text_taps.into_iter().map(TextTap::from).collect(),
            stream_options: plan.stream_options.into_iter().map(StreamOption::from).collect(),
            translates: plan.translates.into_iter().map(Translation::from).collect(),
            reset_headers: plan.reset_headers,
            platforms: plan.platforms.into_iter().map(Platform::from).collect(),
            check: plan.check.map(Check::from),
            error_header: plan.error_header,
        }
    }
}

impl From<wit_adapter::ClientHeader> for ClientHeader {
    fn from(header: wit_adapter::ClientHeader) -> Self {
        let form = match header.form {
            wit_adapter::HeaderForm::Word => HeaderForm::Word,
            wit_adapter::HeaderForm::Names => HeaderForm::Names,
            wit_adapter::HeaderForm::Product => HeaderForm::Product,
        };
        Self { name: header.name, form }
    }
}

impl From<wit_adapter::ClientParameter> for ClientParameter {
    fn from(parameter: wit_adapter::ClientParameter) -> Self {
        Self { operation: parameter.operation.into(), name: parameter.name, value: parameter.value }
    }
}

impl From<wit_adapter::Check> for Check {
    fn from(check: wit_adapter::Check) -> Self {
        Self { path: check.path, account_header: check.account_header }
    }
}

impl From<&Refusal<'_>> for wit_adapter::Refusal {
    fn from(refusal: &Refusal<'_>) -> Self {
        Self {
            status: refusal.status,
            retry_after_ms: refusal.retry_after_ms,
            kind: refusal.kind.to_owned(),
            body: refusal.body.to_vec(),
        }
    }
}

impl From<wit_adapter::Platform> for Platform {
    fn from(platform: wit_adapter::Platform) -> Self {
        let header =
            |header: wit_adapter::HeaderTemplate| HeaderTemplate { name: header.name, value: header.value };
        let setting =
            |setting: wit_adapter::Setting| Setting { name: setting.name, default: setting.default };
        Self {
            name: platform.name,
            base_url: platform.base_url,
            endpoints: platform.endpoints.into_iter().map(Endpoint::from).collect(),
            settings: platform.settings.into_iter().map(setting).collect(),
            scheme: platform.scheme.into(),
            headers: platform.headers.into_iter().map(header).collect(),
            added: platform.added.into_iter().map(header).collect(),
            framing: platform.framing.into(),
            edits: BodyEdits {
                without: platform.without,
                members: platform.members.into_iter().map(|member| (member.name, member.value)).collect(),
                moved: platform.moved.into_iter().map(|moved| (moved.name, moved.member)).collect(),
            },
            check: platform.check.map(Check::from),
            check_base_url: platform.check_base_url,
        }
    }
}

impl From<wit_adapter::Scheme> for Scheme {
    fn from(scheme: wit_adapter::Scheme) -> Self {
        use wit_adapter::Scheme as Wit;
        match scheme {
            Wit::Header => Self::Header,
            Wit::Query(name) => Self::Query(name),
            Wit::Sigv4(service) => Self::Sigv4(service),
            Wit::OauthRefresh(terms) => {
                Self::OauthRefresh { token_url: terms.token_url, client_id: terms.client_id }
            }
            Wit::ServiceAccountJwt(terms) => {
                Self::ServiceAccountJwt { token_url: terms.token_url, scope: terms.scope }
            }
        }
    }
}

impl From<wit_adapter::Endpoint> for Endpoint {
    fn from(endpoint: wit_adapter::Endpoint) -> Self {
        Self {
            protocol: endpoint.protocol.into(),
            operation: endpoint.operation.into(),
            streaming: endpoint.streaming,
            path: endpoint.path,
        }
    }
}

impl From<wit_adapter::Translation> for Translation {
    fn from(translation: wit_adapter::Translation) -> Self {
        Self {
            client: translation.client.into(),
            upstream: translation.upstream.into(),
            operation: translation.operation.into(),
            upstream_operation: translation.upstream_operation.into(),
        }
    }
}

impl From<&Terms<'_>> for wit_adapter::Exchange {
    fn from(terms: &Terms<'_>) -> Self {
        Self {
            client: terms.client.into(),
            upstream: terms.upstream.into(),
            operation: terms.operation.into(),
            model: terms.model.to_owned(),
            request_id: terms.request_id.to_owned(),
            now_s: terms.now_s,
            streaming: terms.streaming,
            json_array: terms.json_array,
            output_limit: terms.output_limit,
            strict: terms.strict,
        }
    }
}

impl From<wit_adapter::UsageTap> for UsageTap {
    fn from(tap: wit_adapter::UsageTap) -> Self {
        Self { protocol: tap.protocol.into(), path: tap.path }
    }
}

impl From<wit_adapter::TextTap> for TextTap {
    fn from(tap: wit_adapter::TextTap) -> Self {
        Self { protocol: tap.protocol.into(), member: tap.member }
    }
}

impl From<wit_adapter::StreamOption> for StreamOption {
    fn from(option: wit_adapter::StreamOption) -> Self {
        Self {
            protocol: option.protocol.into(),
            object: option.object,
            member: option.member,
            withhold_when_empty: option.withhold_when_empty,
        }
    }
}
