//! The tools that a provider runs itself, by the names that the wire formats have for them, and what prices each.

use crate::usage::{Class, ServiceTier};

/// What prices something that a request asks for beside text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PricedBy {
    /// A class of usage.
    Class(Class),
    /// The factor of a service tier.
    Tier(ServiceTier),
    /// Nothing that a price list has.
    Nothing,
}

/// Types of tools that the client runs, or that cost nothing but tokens.
const FREE_TYPES: [&str; 14] = [
    "function",
    "custom",
    "namespace",
    "local_shell",
    "apply_patch",
    "bash_*",
    "text_editor_*",
    "memory_*",
    "tool_search*",
    "computer*",
    "web_fetch_*",
    "mcp",
    "mcp_toolset",
    "mcp_server",
];

/// Whether a name is the pattern's, which may end in `*` for whatever follows.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |stem| name.starts_with(stem))
}

/// What prices a tool of this `type`; `None` where it costs nothing but tokens.
#[must_use]
pub fn priced_type(name: &str) -> Option<PricedBy> {
    if FREE_TYPES.iter().any(|free| fits(free, name)) {
        return None;
    }
    let named = |stems: &[&str]| stems.iter().any(|stem| name.starts_with(stem));
    Some(if named(&["web_search", "google_search", "url_context"]) {
        PricedBy::Class(Class::WebSearch)
    } else if named(&["file_search"]) {
        PricedBy::Class(Class::FileSearch)
    } else if named(&["code_interpreter", "code_execution", "shell"]) {
        PricedBy::Class(Class::CodeInterpreter)
    } else if named(&["google_maps"]) {
        PricedBy::Class(Class::MapSearch)
    } else if named(&["image_generation"]) {
        PricedBy::Class(Class::Image)
    } else {
        PricedBy::Nothing
    })
}

/// The same for a tool that has no type: it is a member of its name (`generateContent`).
#[must_use]
pub fn priced_member(name: &[u8]) -> Option<PricedBy> {
    match name {
        b"functionDeclarations" | b"function_declarations" | b"computerUse" | b"computer_use" => None,
        b"googleSearch"
        | b"google_search"
        | b"googleSearchRetrieval"
        | b"google_search_retrieval"
        | b"urlContext"
        | b"url_context" => Some(PricedBy::Class(Class::WebSearch)),
        b"fileSearch" | b"file_search" => Some(PricedBy::Class(Class::FileSearch)),
        b"googleMaps" | b"google_maps" => Some(PricedBy::Class(Class::MapSearch)),
        b"codeExecution" | b"code_execution" => Some(PricedBy::Class(Class::CodeInterpreter)),
        _ => Some(PricedBy::Nothing),
    }
}

/// What prices being served in a tier of this name; `None` for the standard one, and for whatever the provider chooses.
#[must_use]
pub fn priced_tier(name: &str) -> Option<PricedBy> {
    let standard = ["auto", "default", "standard", "standard_only", "unspecified"];
    if standard.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return None;
    }
    let known = ServiceTier::ALL.into_iter().find(|tier| name.eq_ignore_ascii_case(tier.name()));
    Some(known.map_or(PricedBy::Nothing, PricedBy::Tier))
}

/// What prices being served in this place; `None` for anywhere.
#[must_use]
pub fn priced_place(name: &str) -> Option<PricedBy> {
    let anywhere = name.is_empty() || ["global", "not_available"].contains(&name);
    (!anywhere).then_some(PricedBy::Tier(ServiceTier::Regional))
}

/// Whether each answer of a chat model begins with a search of the web, asked for or not.
#[must_use]
pub fn always_searches(model: &str) -> bool {
    model.starts_with("gpt-") && ["-search-preview", "-search-api"].iter().any(|part| model.contains(part))
}

#[cfg(test)]
mod tests {
    use super::{PricedBy, always_searches, priced_member, priced_place, priced_tier, priced_type};
    use crate::usage::{Class, ServiceTier};

    #[test]
    fn a_tool_is_free_priced_or_unknown() {
        for free in ["function", "custom", "bash_20250124", "computer_20251124", "web_fetch_20250910", "mcp"]
        {
            assert_eq!(priced_type(free), None, "{free}");
        }
        let class = |name| match priced_type(name) {
            Some(PricedBy::Class(class)) => Some(class),
            _ => None,
        };
        assert_eq!(class("web_search_20250305"), Some(Class::WebSearch));
        assert_eq!(class("web_search_preview"), Some(Class::WebSearch));
        assert_eq!(class("code_execution_20250825"), Some(Class::CodeInterpreter));
        assert_eq!(class("image_generation"), Some(Class::Image));
        assert_eq!(class("google_maps"), Some(Class::MapSearch));
        for unknown in ["oracle", "functions", "custom_search", "google_map", "", "web"] {
            assert_eq!(priced_type(unknown), Some(PricedBy::Nothing), "{unknown}");
        }
        assert_eq!(priced_member(b"functionDeclarations"), None);
        assert_eq!(priced_member(b"google_search"), Some(PricedBy::Class(Class::WebSearch)));
        assert_eq!(priced_member(b"googleMaps"), Some(PricedBy::Class(Class::MapSearch)));
        assert_eq!(priced_member(b"enterpriseWebSearch"), Some(PricedBy::Nothing));
    }

    #[test]
    fn a_tier_is_standard_known_or_not() {
        assert_eq!([priced_tier("auto"), priced_tier("STANDARD")], [None, None]);
        assert_eq!(priced_tier("Priority"), Some(PricedBy::Tier(ServiceTier::Priority)));
        assert_eq!([priced_tier("scale"), priced_tier("")], [Some(PricedBy::Nothing); 2]);
        assert_eq!([priced_place("global"), priced_place("")], [None, None]);
        assert_eq!(priced_place("us"), Some(PricedBy::Tier(ServiceTier::Regional)));
    }

    #[test]
    fn a_search_model_is_told_by_its_name() {
        let searches = ["gpt-4o-search-preview-2025-03-11", "gpt-4o-mini-search-preview", "gpt-5-search-api"];
        assert!(searches.into_iter().all(always_searches));
        assert!(!["gpt-4o", "docs-search-api", "gpt-research", ""].into_iter().any(always_searches));
    }
}
