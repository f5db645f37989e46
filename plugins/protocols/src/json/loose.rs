//! Reading what is readable. An answer was paid for, and one odd member of it spoils nothing else: a number where a
//! text is meant, a text where a number is, one value where a list of them is, and nothing where something should be.

use super::{Node, Number, Object, Text};

/// How deep texts may lie in lists and objects.
const DEPTH_MAX: u32 = 4;
/// Members in which a text lies, where it is not one itself.
const WITHIN: [&str; 7] = ["text", "thinking", "content", "summary", "value", "reasoning", "refusal"];

impl<'a, 'p> Node<'a, 'p> {
    /// The members, where it is an object.
    pub(crate) fn members(&self) -> Option<Object<'a, 'p>> {
        self.object().ok()
    }

    /// Calls `each` for each element of an array, or for the value itself, which stands for a list of one then. What is
    /// `null` is none.
    pub(crate) fn each(&self, mut each: impl FnMut(Node<'a, '_>)) {
        if !self.is_array() {
            return each(*self);
        }
        // An element is never refused here.
        let _ = self.items(|node| {
            if !node.is_null() {
                each(node);
            }
            Ok(())
        });
    }

    /// A name or a text on one place: a string, or what a number or a word is written as. Empty for anything else.
    pub(crate) fn words(&self) -> Text<'a> {
        match self.text() {
            Ok(text) => text,
            Err(_) if self.is_array() || self.is_object() || self.is_null() => Text::EMPTY,
            // Neither needs an escape.
            Err(_) => Text::escaped(self.raw().0),
        }
    }

    /// All text in it, in order: a string, or those in a list or in the members that hold some.
    pub(crate) fn all_text(&self) -> Text<'a> {
        self.text_within(DEPTH_MAX)
    }

    fn text_within(&self, depth: u32) -> Text<'a> {
        let Some(deeper) = depth.checked_sub(1) else { return Text::EMPTY };
        if let Some(object) = self.members() {
            let inner = WITHIN.into_iter().find_map(|name| object.take(name));
            return inner.map_or(Text::EMPTY, |inner| inner.text_within(deeper));
        }
        if !self.is_array() {
            return self.words();
        }
        let mut whole: Option<Text<'a>> = None;
        self.each(|node| {
            let text = node.text_within(deeper);
            match &mut whole {
                Some(whole) => whole.append(&text),
                None => whole = Some(text),
            }
        });
        whole.unwrap_or(Text::EMPTY)
    }

    /// A count: a whole number, also with a fraction of zeros, or in quotes.
    pub(crate) fn count(&self) -> Option<u64> {
        let text = self.text().map_or(self.raw().0.into(), Text::into_decoded);
        let whole = match text.trim().split_once('.') {
            Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => whole,
            Some(_) => return None,
            None => text.trim(),
        };
        Number(whole).whole()
    }

    /// A number, where it is one.
    pub(crate) fn any_number(&self) -> Option<Number<'a>> {
        self.number().ok()
    }

    /// Whether it is true, in whichever way.
    pub(crate) fn is_true(&self) -> bool {
        self.raw().0 == "true" || self.is("true")
    }
}

#[cfg(test)]
mod tests {
    use super::Node;

    #[test]
    fn what_is_readable_is_read() {
        let read = |json: &'static str| Node::document(json.as_bytes()).unwrap();
        for (json, words, count) in [
            ("\"a\\n\"", "a\n", None),
            ("7", "7", Some(7)),
            ("7.0", "7.0", Some(7)),
            ("7.5", "7.5", None),
            ("-1", "-1", None),
            ("\"7\"", "7", Some(7)),
            ("\" 7.00 \"", " 7.00 ", Some(7)),
            ("true", "true", None),
            ("null", "", None),
            ("{}", "", None),
            ("[7]", "", None),
        ] {
            assert_eq!((&*read(json).words().decode(), read(json).count()), (words, count), "{json}");
        }
    }

    #[test]
    fn a_text_is_found_in_lists_and_members() {
        let all = |json: &str| Node::document(json.as_bytes()).unwrap().all_text().decode().into_owned();
        assert_eq!(all(r#"[{"type":"text","text":"a"},"b",{"text":{"value":"c"}},null,7]"#), "abc7");
        assert_eq!(all(r#"{"thinking":[{"type":"text","text":"so"}]}"#), "so");
        assert_eq!(all(r#"[[[[["too deep"]]]]]"#), "");
        let mut list = Vec::new();
        Node::document(b"{\"x\":1}").unwrap().each(|node| list.push(node.raw().0.to_owned()));
        Node::document(b"[1,null,[2]]").unwrap().each(|node| list.push(node.raw().0.to_owned()));
        assert_eq!(list, ["{\"x\":1}", "1", "[2]"]);
    }
}
