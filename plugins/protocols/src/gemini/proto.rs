//! The JSON of Protocol Buffers: every member has two names, `camelCase` and `snake_case`.

use crate::json::{Node, Object};
use crate::model::Refused;

/// A member by its `camelCase` name, whichever of the two was written.
pub(crate) trait Proto<'a> {
    fn field(&self, name: &'static str) -> Option<Node<'a, '_>>;

    /// Whether there is one, taken or not.
    fn has_field(&self, name: &'static str) -> bool;

    /// # Errors
    /// It is not there.
    fn need_field(&self, name: &'static str) -> Result<Node<'a, '_>, Refused>;

    /// Leaves out members without which the answer is one as well.
    ///
    /// # Errors
    /// Nothing may be left out.
    fn hint_fields(&self, names: &[&'static str]) -> Result<(), Refused>;
}

impl<'a> Proto<'a> for Object<'a, '_> {
    fn field(&self, name: &'static str) -> Option<Node<'a, '_>> {
        self.take_if(name, |given| is_named(given, name))
    }

    fn has_field(&self, name: &'static str) -> bool {
        self.has_if(|given| is_named(given, name))
    }

    fn need_field(&self, name: &'static str) -> Result<Node<'a, '_>, Refused> {
        self.field(name).ok_or_else(|| self.lacks(name))
    }

    fn hint_fields(&self, names: &[&'static str]) -> Result<(), Refused> {
        let mut given = names.iter().filter_map(|name| self.field(name));
        given.try_for_each(|node| node.hint("only Gemini knows it"))
    }
}

/// Whether `given` is `camel` or its `snake_case` form.
pub(super) fn is_named(given: &str, camel: &str) -> bool {
    given == camel || given.contains('_') && camel_case(given) == camel
}

/// `snake_case` as `camelCase`.
pub(super) fn camel_case(snake: &str) -> String {
    let mut camel = String::with_capacity(snake.len());
    let mut upper = false;
    for symbol in snake.chars() {
        match symbol {
            '_' => upper = true,
            _ if std::mem::take(&mut upper) => camel.extend(symbol.to_uppercase()),
            _ => camel.push(symbol),
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::is_named;

    #[test]
    fn both_names_of_a_member_are_the_same() {
        assert!(is_named("maxOutputTokens", "maxOutputTokens"));
        assert!(is_named("max_output_tokens", "maxOutputTokens"));
        assert!(!is_named("maxoutputtokens", "maxOutputTokens"));
        assert!(is_named("text", "text"));
    }
}
