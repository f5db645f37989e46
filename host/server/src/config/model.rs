//! An entry of `[[models]]`, and its equivalent in the management API: what clients call a model, and who serves it.

use serde::{Deserialize, Serialize};
use tollgate_core::line::{is_unruly, plain};

use super::value::BaseUrl;

/// Most bytes of a model's name.
const NAME_BYTES_MAX: usize = 256;
/// Most targets of an entry.
const TARGETS_MAX: usize = 32;
/// Most further names of an entry.
const ALIASES_MAX: usize = 64;
/// Most models that may stand in for one.
const FALLBACKS_MAX: usize = 8;
/// Most credentials that are set aside for a target.
const CREDENTIALS_MAX: usize = 64;

/// Who serves a model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Form")]
pub struct Model {
    /// What clients call it; each `*` stands for any characters.
    pub name: String,
    /// What they may call it as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Who serves it; at least one.
    pub targets: Vec<Target>,
    /// Models that are tried, one after the other, when every target has failed before the first byte of an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
}

/// A provider that serves a model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Name of a provider.
    pub provider: String,
    /// What that provider calls the model; the client's name where absent. A `*` in it is what the star of the client's
    /// name stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Where the provider is, for this model, in place of its own `base_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<BaseUrl>,
    /// Platform credentials, by id or label, that serve this and nothing else; if there are none, any of the
    /// provider's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<String>,
    /// Share of the requests among targets of one priority: 1 to 1000.
    #[serde(default = "usual_weight")]
    pub weight: u32,
    /// Lower ones are tried first.
    #[serde(default)]
    pub priority: u32,
}

const fn usual_weight() -> u32 {
    100
}

impl Target {
    /// Any credential of a provider, under the client's name for the model or another.
    #[must_use]
    pub fn new(provider: &str, model: Option<&str>) -> Self {
        Self {
            provider: provider.to_owned(),
            model: model.map(str::to_owned),
            base_url: None,
            credentials: Vec::new(),
            weight: usual_weight(),
            priority: 0,
        }
    }
}

/// How an entry is written: with `targets`, or with the one target's members beside the name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    targets: Vec<Target>,
    #[serde(default)]
    fallbacks: Vec<String>,
    provider: Option<String>,
    model: Option<String>,
    base_url: Option<BaseUrl>,
    #[serde(default)]
    credentials: Vec<String>,
}

impl TryFrom<Form> for Model {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        let Form { name, aliases, mut targets, fallbacks, provider, model, base_url, credentials } = form;
        match provider {
            Some(provider) if targets.is_empty() => {
                targets.push(Target { base_url, credentials, ..Target::new(&provider, model.as_deref()) });
            }
            None if model.is_none() && base_url.is_none() && credentials.is_empty() => {}
            _ => return Err(format!("model `{name}` names a target both beside and in `targets`")),
        }
        let model = Self { name, aliases, targets, fallbacks };
        model.check()?;
        Ok(model)
    }
}

impl Model {
    /// The name and the further names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name).chain(&self.aliases).map(String::as_str)
    }

    /// What is invalid with any providers.
    fn check(&self) -> Result<(), String> {
        let Self { name, aliases, targets, fallbacks } = self;
        let said = |what: &str| Err(format!("model `{}` {what}", plain(name)));
        if !self.names().chain(fallbacks.iter().map(String::as_str)).all(is_name) {
            return said("has a name that is empty, too long, or holds spaces");
        }
        if targets.is_empty() {
            return said("needs `provider` or `targets`");
        }
        if targets.len() > TARGETS_MAX || aliases.len() > ALIASES_MAX || fallbacks.len() > FALLBACKS_MAX {
            return Err(format!(
                "model `{name}` may have {TARGETS_MAX} targets, {ALIASES_MAX} aliases and {FALLBACKS_MAX} fallbacks"
            ));
        }
        if fallbacks.iter().any(|fallback| fallback.contains('*')) {
            return said("names a fallback with a star: which model is that?");
        }
        targets.iter().try_for_each(|target| self.check_target(target).or_else(|what| said(&what)))
    }

    fn check_target(&self, target: &Target) -> Result<(), String> {
        let Target { model, credentials, weight, .. } = target;
        if model.as_deref().is_some_and(|model| !is_name(model)) {
            return Err("has a target whose `model` is empty, too long, or holds spaces".to_owned());
        }
        let stars = |name: &str| name.matches('*').count();
        let given = model.as_deref().map_or(0, stars);
        if given > 1 || (given == 1 && self.names().any(|name| stars(name) != 1)) {
            return Err("has a target with a star, for which each of its names needs exactly one".to_owned());
        }
        if !(1..=1000).contains(weight) {
            return Err("has a weight that is not between 1 and 1000".to_owned());
        }
        if credentials.len() > CREDENTIALS_MAX || credentials.iter().any(String::is_empty) {
            return Err(format!(
                "may set at most {CREDENTIALS_MAX} credentials aside, each by its id or label"
            ));
        }
        Ok(())
    }

    /// A provider that is not configured, if there is one.
    pub(crate) fn stranger(&self, known: impl Fn(&str) -> bool) -> Option<&str> {
        self.targets.iter().map(|target| target.provider.as_str()).find(|provider| !known(provider))
    }
}

fn is_name(name: &str) -> bool {
    let odd = |sign: char| is_unruly(sign) || sign.is_whitespace();
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.contains(odd)
}

#[cfg(test)]
mod tests {
    use super::{Model, Target};

    fn read(json: &str) -> Result<Model, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn one_target_may_stand_beside_the_name() {
        let short = read(r#"{"name":"fast","provider":"openai","model":"gpt-4o-mini"}"#).unwrap();
        let long =
            read(r#"{"name":"fast","targets":[{"provider":"openai","model":"gpt-4o-mini"}]}"#).unwrap();
        assert_eq!(short, long);
        assert_eq!(short.targets, [Target::new("openai", Some("gpt-4o-mini"))]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let entry = r#"{"name":"a/*","aliases":["b-*"],"fallbacks":["c"],"targets":[{"provider":"p","model":"x-*",
            "base_url":"https://h/v9","credentials":["batch"],"weight":7,"priority":2}]}"#;
        let model = read(entry).unwrap();
        assert_eq!(read(&serde_json::to_string(&model).unwrap()).unwrap(), model);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_models_name() {
        let check = |entry: &str, words: &str| {
            let error = read(entry).unwrap_err();
            assert!(error.contains(words), "{entry}: {error}");
        };
        check(r#"{"name":"","provider":"p"}"#, "name");
        check(r#"{"name":"a b","provider":"p"}"#, "`a b` has a name");
        check(r#"{"name":"m"}"#, "`m` needs `provider` or `targets`");
        check(r#"{"name":"m","model":"x","targets":[{"provider":"p"}]}"#, "both beside and in");
        check(r#"{"name":"m","provider":"p","targets":[{"provider":"p"}]}"#, "both beside and in");
        check(r#"{"name":"m","provider":"p","model":"x-*"}"#, "needs exactly one");
        check(r#"{"name":"m*","aliases":["n"],"provider":"p","model":"x-*"}"#, "needs exactly one");
        check(r#"{"name":"m","provider":"p","fallbacks":["gpt-*"]}"#, "which model");
        check(r#"{"name":"m","targets":[{"provider":"p","weight":0}]}"#, "between 1 and 1000");
        check(r#"{"name":"m","targets":[{"provider":"p","base_url":"ftp://h"}]}"#, "http://");
        check(r#"{"name":"m","provider":"p","other":1}"#, "unknown field");
    }
}
