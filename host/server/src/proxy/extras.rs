//! What a request asks for beside the text that it carries: searches and other tools that a provider runs, tiers of
//! service, pictures, and what it only names (files, conversations). Each costs something that its text does not show,
//! so each has to have a price, or is refused by its name, and the hold covers it.
//!
//! What stands below the body's own members is noticed on the one pass that checks the body ([`Below`]); a request
//! without any of it costs nothing more.

use std::ops::{ControlFlow, Range};

use tollgate_core::hosted::{self, PricedBy};
use tollgate_core::json::{self, Kind, Nested, Value};
use tollgate_core::price::{ModelPrice, Rates, TierFactors};
use tollgate_core::protocol::{Operation, Protocol};
use tollgate_core::usage::{Class, ServiceTier};

use super::counted::Counted;
use super::error::ProxyError;
use super::files::name::Name;
use super::members::Member;
use super::prompt::{Part, Prompt};

/// Uses of a hosted tool that a hold covers where the request sets no bound of its own.
const TOOL_USES: u64 = 3;
/// Prompt tokens that each use of a tool may add, and each picture that the request only names.
const RESULT_TOKENS: u64 = 4_096;

/// What is asked for beside text.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// What must have a price.
    asked: Vec<Asked>,
    /// Files, conversations and caches that are named and not sent.
    unseen: bool,
    /// Searches that a chat begins with: its answer does not state them.
    searches: u64,
    /// Of these, items and conversations that their own provider keeps alone.
    kept: bool,
    /// Prompt tokens that pictures and the results of tools may have.
    added_tokens: u64,
    /// What the gateway counts itself.
    counted: Option<Counted>,
    /// Whether it asks for thought, of which a part may not show.
    pub(super) thinks: bool,
    /// The files that it names and that are kept under names which were given here.
    named: Vec<Name>,
}

/// Something that costs more than tokens do.
#[derive(Debug)]
struct Asked {
    /// As the request calls it.
    name: Box<str>,
    /// The member that asks for it.
    field: &'static str,
    priced: PricedBy,
    /// How often it may be used.
    uses: u64,
}

impl Extras {
    /// What the body of a call asks for, by its members and by what was noticed below them.
    pub(super) fn of(
        protocol: Protocol,
        operation: Operation,
        body: &[u8],
        members: &[Member],
        below: &Below<'_>,
    ) -> Self {
        let mut extras = Self { named: below.named.clone(), ..Self::default() };
        if !operation.generates() {
            return extras;
        }
        let typed = protocol != Protocol::Gemini || operation == Operation::Interact;
        let mut uses_max = None;
        for Member { name, value } in members {
            match &**name {
                b"tools" if below.any_in(value.range()) => extras.tools(body, *value, typed),
                b"max_tool_calls" => uses_max = json::unsigned(body, *value),
                b"service_tier" | b"serviceTier" => extras.tier(body, *value, "service_tier"),
                b"speed" => extras.tier(body, *value, "speed"),
                b"previous_response_id"
                | b"conversation"
                | b"cachedContent"
                | b"cached_content"
                | b"previous_interaction_id" => extras.kept |= is_set(body, *value),
                b"prompt" if protocol == Protocol::OpenaiResponses => extras.kept |= is_set(body, *value),
                b"reasoning" | b"reasoning_effort" | b"thinking" => extras.thinks |= is_set(body, *value),
                b"generationConfig" | b"generation_config" => extras.generation(body, *value),
                b"modalities" | b"response_modalities" => extras.modalities(body, *value),
                name => extras.member(name, body, *value),
            }
        }
        if let Some(most) = uses_max {
            extras.asked.iter_mut().for_each(|asked| asked.uses = asked.uses.min(most));
        }
        extras.kept |= below.items > 0;
        extras.unseen |= below.files > 0 || below.documents && below.remote > 0;
        let results: u64 = extras.asked.iter().map(|asked| asked.uses).sum();
        extras.added_tokens = results.saturating_add(below.remote).saturating_mul(RESULT_TOKENS);
        extras
    }

    /// The kept files that it names.
    pub(super) fn named(&self) -> &[Name] {
        &self.named
    }

    /// With what the gateway counts itself.
    pub(super) const fn count(&mut self, counted: Option<Counted>) {
        self.counted = counted;
    }

    /// What that is.
    pub(super) const fn counted(&self) -> Option<Counted> {
        self.counted
    }

    /// Members that ask for something by being there.
    fn member(&mut self, name: &[u8], body: &[u8], value: Value) {
        let (name, priced) = match name {
            b"web_search_options" => {
                self.first_search(is_set(body, value));
                return;
            }
            b"model" => {
                self.first_search(is_search_model(body, value));
                return;
            }
            b"search_parameters" => ("search_parameters", PricedBy::Nothing),
            b"enable_search" => ("enable_search", PricedBy::Nothing),
            b"plugins" => ("plugins", PricedBy::Nothing),
            b"inference_geo" => {
                match json::string(body, value).and_then(|name| hosted::priced_place(&name)) {
                    Some(priced) => ("inference_geo", priced),
                    None => return,
                }
            }
            _ => return,
        };
        if is_set(body, value) {
            self.ask(name, name, priced, TOOL_USES);
        }
    }

    /// A search that a chat begins with, whatever of it says so.
    fn first_search(&mut self, asked: bool) {
        if asked && self.searches == 0 {
            self.searches = 1;
            let priced = PricedBy::Class(Class::WebSearch);
            self.ask("web_search_options", "web_search_options", priced, TOOL_USES);
        }
    }

    fn ask(&mut self, name: &str, field: &'static str, priced: PricedBy, uses: u64) {
        self.asked.push(Asked { name: name.into(), field, priced, uses });
    }

    fn tier(&mut self, body: &[u8], value: Value, field: &'static str) {
        let Some(name) = json::string(body, value) else { return };
        if let Some(priced) = hosted::priced_tier(&name) {
            self.ask(&name, field, priced, 0);
        }
    }

    fn generation(&mut self, body: &[u8], config: Value) {
        if config.kind != Kind::Object {
            return;
        }
        // The whole body has been validated, so its parts cannot fail.
        let _valid = json::members_of(body, config, |name, value| match name {
            b"responseModalities" | b"response_modalities" => self.modalities(body, value),
            b"thinkingConfig" | b"thinking_config" => self.thinks = true,
            _ => {}
        });
    }

    fn modalities(&mut self, body: &[u8], list: Value) {
        if list.kind != Kind::Array {
            return;
        }
        let _valid = json::elements_of(body, list, |element| {
            let kind = json::string(body, element);
            if kind.is_some_and(|kind| kind.eq_ignore_ascii_case("image")) {
                self.ask("image", "modalities", PricedBy::Class(Class::ImageOutput), 0);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
    }

    /// A list of tools, or a tool in place of one, that has more than the client's own functions.
    fn tools(&mut self, body: &[u8], tools: Value, typed: bool) {
        let mut take = |tool: Value| {
            if tool.kind == Kind::Object {
                if typed { self.typed_tool(body, tool) } else { self.named_tools(body, tool) }
            }
            ControlFlow::Continue(())
        };
        match tools.kind {
            Kind::Array => {
                let _valid = json::elements_of(body, tools, take);
            }
            _ => {
                let _one = take(tools);
            }
        }
    }

    /// A tool whose `type` says what it is.
    fn typed_tool(&mut self, body: &[u8], tool: Value) {
        let (mut uses, mut inner) = (TOOL_USES, None);
        let mut types = Vec::new();
        let _valid = json::members_of(body, tool, |name, value| match name {
            b"type" => types.extend(json::string(body, value)),
            b"max_uses" => uses = json::unsigned(body, value).unwrap_or(uses),
            b"tools" => inner = Some(value),
            _ => {}
        });
        for name in types {
            if name == "namespace" {
                inner.into_iter().for_each(|inner| self.tools(body, inner, true));
            } else if let Some(priced) = hosted::priced_type(&name) {
                self.ask(&name, "tools", priced, uses);
            }
        }
    }

    /// Gemini's tools: each member is one.
    fn named_tools(&mut self, body: &[u8], tool: Value) {
        let _valid = json::members_of(body, tool, |name, value| {
            if value.kind != Kind::Null
                && let Some(priced) = hosted::priced_member(name)
            {
                self.ask(&String::from_utf8_lossy(name), "tools", priced, TOOL_USES);
            }
        });
    }

    /// The first thing that has no price here, and that the operator does not give away.
    ///
    /// # Errors
    /// 400, which names it.
    pub(super) fn check(
        &self,
        model: &str,
        price: &ModelPrice,
        given_away: &[String],
    ) -> Result<(), ProxyError> {
        let free = |name: &str| given_away.iter().any(|pattern| hosted::fits(pattern, name));
        if let Some(counted) = self.counted.filter(|counted| !free(counted.name())) {
            counted.check(model, price)?;
        }
        let unpriced = self.asked.iter().find(|asked| !asked.has_price(price) && !free(&asked.name));
        unpriced.map_or(Ok(()), |Asked { name, field, .. }| {
            let words =
                format!("`{name}` has no price for `{model}` here, so it is not served: leave it out.");
            Err(ProxyError::bad_request(words, Some(field)))
        })
    }

    /// What all of it costs at most, in millionths of a micro-point: tools by the use.
    pub(super) fn cost(&self, rates: &Rates) -> i128 {
        let costs = self.asked.iter().map(|asked| match asked.priced {
            PricedBy::Class(class) => rates.cost_of(class, asked.uses),
            PricedBy::Tier(_) | PricedBy::Nothing => 0,
        });
        let counted = self.counted.map_or(0, |counted| counted.cost(rates));
        costs.fold(counted, i128::saturating_add)
    }

    /// The dearest factor that a tier which was asked for may have: a place is its own, and for the rest a provider may
    /// take another one than what was asked for.
    pub(super) fn tier_ppm(&self, price: &ModelPrice) -> u32 {
        let tiers = self.asked.iter().filter_map(|asked| match asked.priced {
            PricedBy::Tier(tier) => Some(tier),
            PricedBy::Class(_) | PricedBy::Nothing => None,
        });
        let ppm = |tier| match tier {
            ServiceTier::Regional => price.tiers.ppm(tier),
            _ => price.tiers.dearest(),
        };
        tiers.map(ppm).fold(TierFactors::STANDARD_PPM, u32::max)
    }

    /// Searches of the web that a chat begins with.
    pub(super) const fn searches(&self) -> u64 {
        self.searches
    }

    /// Whether the prompt has more than what the body shows.
    pub(super) const fn hides_of_prompt(&self) -> bool {
        self.unseen || self.kept || self.added_tokens > 0
    }

    /// Prompt tokens that the body does not show; `named` stands for a file, a conversation or a cache. Who does not
    /// get the request in the client's `own_words` is told of no conversation and no item that its provider keeps.
    pub(super) const fn unseen_tokens(&self, named: u64, own_words: bool) -> u64 {
        let hides = self.unseen || self.kept && own_words;
        self.added_tokens.saturating_add(if hides { named } else { 0 })
    }
}

impl Asked {
    fn has_price(&self, price: &ModelPrice) -> bool {
        match self.priced {
            // Who makes images is paid by the image, or by their tokens.
            PricedBy::Class(Class::Image) => {
                [Class::Image, Class::ImageOutput].iter().any(|class| !price.base.goes_without_saying(*class))
            }
            PricedBy::Class(class) => !price.base.goes_without_saying(class),
            PricedBy::Tier(tier) => price.tiers.ppm(tier) != TierFactors::STANDARD_PPM,
            PricedBy::Nothing => false,
        }
    }
}

/// Whether a model searches whatever it is asked.
fn is_search_model(body: &[u8], value: Value) -> bool {
    json::string(body, value).is_some_and(|name| hosted::always_searches(&name))
}

/// Whether a member asks for anything.
fn is_set(body: &[u8], value: Value) -> bool {
    !matches!(&body[value.range()], b"null" | b"false" | b"[]" | b"{}" | b"\"\"")
}

/// Listens to the one pass over a body for what stands below its own members.
pub(super) struct Below<'a> {
    body: &'a [u8],
    /// Whether tools have a `type`.
    typed: bool,
    /// Where something is that may be a tool which the provider runs: each is looked at only where it is in `tools`.
    hosted: Vec<usize>,
    /// Files that are named and not sent.
    files: u64,
    /// Of these, those that are kept under names which were given here.
    named: Vec<Name>,
    /// Items of earlier answers that are named and not sent.
    items: u64,
    /// Addresses from which the provider fetches something.
    remote: u64,
    documents: bool,
    /// What the model reads of it.
    pub(super) prompt: Prompt,
    /// What the member at hand is to the prompt.
    part: Part,
}

impl<'a> Below<'a> {
    /// For a body of a call in this protocol.
    pub(super) const fn new(body: &'a [u8], protocol: Protocol, operation: Operation) -> Self {
        let typed = !matches!(protocol, Protocol::Gemini) || matches!(operation, Operation::Interact);
        let prompt = Prompt::EMPTY;
        Self {
            body,
            typed,
            hosted: Vec::new(),
            files: 0,
            named: Vec::new(),
            items: 0,
            remote: 0,
            documents: false,
            prompt,
            part: Part::None,
        }
    }

    fn any_in(&self, range: Range<usize>) -> bool {
        self.hosted.iter().any(|at| range.contains(at))
    }

    /// A file by its address.
    fn keeps(&mut self, address: Value) {
        let address = json::string(self.body, address);
        self.named.extend(address.and_then(|address| Name::within(&address)));
    }

    fn kind(&mut self, depth: usize, value: Value) {
        match &self.body[value.range()] {
            b"\"function\"" | b"\"custom\"" | b"\"message\"" | b"\"text\"" | b"\"string\""
            | b"\"object\"" => {}
            b"\"document\"" => self.documents = true,
            b"\"item_reference\"" => self.items += 1,
            _ if self.typed && depth <= 3 => self.hosted.push(value.start),
            _ => {}
        }
    }
}

impl Nested for Below<'_> {
    fn begins(&mut self, name: &[u8]) {
        self.part = Part::of(name);
    }

    fn string(&mut self, bytes: usize) {
        if self.part == Part::Said {
            self.prompt.say(bytes);
        }
    }

    fn member(&mut self, depth: usize, name: &[u8], value: Value) {
        if self.part == Part::Said {
            self.prompt.look_at(self.body, name, value);
        }
        match name {
            b"type" => self.kind(depth, value),
            b"file_id" | b"file_uri" | b"fileUri" | b"file_url" if value.kind == Kind::String => {
                self.files += 1;
                self.keeps(value);
            }
            // So do interactions name a file.
            b"uri" if value.kind == Kind::String => self.keeps(value),
            b"url" | b"image_url" if self.body[value.range()].starts_with(b"\"http") => self.remote += 1,
            b"functionDeclarations" | b"function_declarations" | b"parts" | b"role" => {}
            _ if !self.typed && depth <= 3 => self.hosted.push(value.start),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Below, Extras};
    use crate::proxy::members::Member;
    use tollgate_core::json;
    use tollgate_core::protocol::{Operation, Protocol};

    fn extras(protocol: Protocol, operation: Operation, body: &str) -> Extras {
        let body = body.as_bytes();
        let mut below = Below::new(body, protocol, operation);
        let mut members = Vec::new();
        let read = json::members_with(body, &mut below, |name, value| {
            members.push(Member { name: name.into(), value });
        });
        read.unwrap();
        Extras::of(protocol, operation, body, &members, &below)
    }

    fn check(protocol: Protocol, body: &str, asked: &[&str]) {
        let found = extras(protocol, Operation::Generate, body);
        let names: Vec<&str> = found.asked.iter().map(|asked| &*asked.name).collect();
        assert_eq!(names, asked, "{body}");
    }

    #[test]
    fn what_a_client_runs_itself_is_no_extra() {
        use Protocol::{AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
        check(OpenaiChat, r#"{"tools":[{"type":"function","function":{"name":"web_search"}}]}"#, &[]);
        check(OpenaiResponses, r#"{"tools":[{"type":"custom"},{"type":"local_shell"},{"type":"mcp"}]}"#, &[]);
        let own =
            r#"{"tools":[{"name":"web_search","input_schema":{"type":"object"}},{"type":"bash_20250124"}]}"#;
        check(AnthropicMessages, own, &[]);
        check(Gemini, r#"{"tools":[{"functionDeclarations":[{"name":"urlContext"}]}]}"#, &[]);
        check(OpenaiChat, r#"{"messages":[{"type":"web_search"}],"metadata":{"type":"web_search"}}"#, &[]);
        check(OpenaiChat, r#"{"service_tier":"auto","plugins":[],"web_search_options":null}"#, &[]);
    }

    #[test]
    fn what_the_provider_runs_is_found_however_it_is_spelt() {
        use Protocol::{AnthropicMessages, Gemini, OpenaiChat, OpenaiResponses};
        check(OpenaiResponses, r#"{"tools":[{"type":"function"},{"type":"web_search"}]}"#, &["web_search"]);
        check(OpenaiResponses, r#"{"tools":[{"type":"web\u005fsearch"}]}"#, &["web_search"]);
        check(OpenaiResponses, r#"{"tools":[{"\u0074ype":"file_search"}]}"#, &["file_search"]);
        check(OpenaiResponses, r#"{"tools":{"type":"code_interpreter"}}"#, &["code_interpreter"]);
        check(OpenaiResponses, r#"{"tools":[{"type":"function","type":"shell"}]}"#, &["shell"]);
        let nested = r#"{"tools":[{"type":"namespace","tools":[{"type":"image_generation"}]}]}"#;
        check(OpenaiResponses, nested, &["image_generation"]);
        check(OpenaiResponses, r#"{"tools":[{"type":"oracle"}]}"#, &["oracle"]);
        check(AnthropicMessages, r#"{"tools":[{"type":"web_search_20250305"}]}"#, &["web_search_20250305"]);
        check(
            Gemini,
            r#"{"tools":[{"url_context":{}},{"codeExecution":{}}]}"#,
            &["url_context", "codeExecution"],
        );
        check(Gemini, r#"{"tools":{"maps":{}}}"#, &["maps"]);
        check(Gemini, r#"{"generationConfig":{"responseModalities":["TEXT","IMAGE"]}}"#, &["image"]);
        check(
            OpenaiChat,
            r#"{"web_search_options":{"a":1},"service_tier":"Priority"}"#,
            &["web_search_options", "Priority"],
        );
        check(AnthropicMessages, r#"{"speed":"fast","inference_geo":"us"}"#, &["fast", "inference_geo"]);
        check(AnthropicMessages, r#"{"inference_geo":"global"}"#, &[]);
        check(OpenaiChat, r#"{"model":"gpt-5-search-api"}"#, &["web_search_options"]);
        check(
            OpenaiChat,
            r#"{"model":"gpt-5-search-api","web_search_options":{"a":1}}"#,
            &["web_search_options"],
        );
        check(OpenaiResponses, r#"{"model":"gpt-4o-search-preview"}"#, &["web_search_options"]);
    }

    #[test]
    fn what_is_named_and_not_sent_is_counted() {
        let tokens = |body: &str| {
            extras(Protocol::OpenaiResponses, Operation::Generate, body).unseen_tokens(1_000_000, true)
        };
        assert_eq!(tokens(r#"{"input":[{"content":[{"type":"input_text","text":"file_id"}]}]}"#), 0);
        assert_eq!(
            tokens(r#"{"input":[{"content":[{"type":"input_file","file_id":"file-1"}]}]}"#),
            1_000_000
        );
        assert_eq!(tokens(r#"{"input":[{"type":"item_reference","id":"a"}]}"#), 1_000_000);
        assert_eq!(tokens(r#"{"previous_response_id":"resp_1"}"#), 1_000_000);
        let kept = r#"{"conversation":"conv_1"}"#;
        let translated = extras(Protocol::OpenaiResponses, Operation::Generate, kept).unseen_tokens(9, false);
        assert_eq!(translated, 0, "nobody else is told of it");
        assert_eq!(tokens(r#"{"previous_response_id":null,"conversation":null}"#), 0);
        assert_eq!(tokens(r#"{"input":[{"content":[{"image_url":"https://a/b.png"}]}]}"#), 4_096);
        assert_eq!(tokens(r#"{"input":[{"content":[{"image_url":"data:image/png;base64,AA"}]}]}"#), 0);
        assert_eq!(tokens(r#"{"tools":[{"type":"web_search"}],"max_tool_calls":1}"#), 4_096);
    }
}
