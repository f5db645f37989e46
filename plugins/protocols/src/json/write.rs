//! Putting JSON together in one pass into one buffer.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::text::quote;
use super::{Number, Raw, Text};
use crate::model::At;

/// What can stand where JSON wants a value.
pub(crate) trait Value {
    /// Adds its text to `out`.
    fn write(&self, out: &mut String);
}

/// A growing document, or a growing stream of them.
///
/// Commas follow from the last byte: a member or an element needs one exactly when a value ends there.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: String,
}

impl Writer {
    /// All that was written; the writer is empty afterwards.
    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// Text between documents, such as the lines of an event stream.
    pub(crate) fn literal(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// An object. What `members` returns is passed on.
    pub(crate) fn object<R>(&mut self, members: impl FnOnce(&mut Self) -> R) -> R {
        self.begin_object();
        let result = members(self);
        self.end_object();
        result
    }

    /// An array. What `elements` returns is passed on.
    pub(crate) fn array<R>(&mut self, elements: impl FnOnce(&mut Self) -> R) -> R {
        self.begin_array();
        let result = elements(self);
        self.end_array();
        result
    }

    /// Begins an object; its members and [`Writer::end_object`] follow.
    pub(crate) fn begin_object(&mut self) {
        self.separate();
        self.out.push('{');
    }

    /// Ends an object.
    pub(crate) fn end_object(&mut self) {
        self.out.push('}');
    }

    /// Begins an array; its elements and [`Writer::end_array`] follow.
    pub(crate) fn begin_array(&mut self) {
        self.separate();
        self.out.push('[');
    }

    /// Ends an array.
    pub(crate) fn end_array(&mut self) {
        self.out.push(']');
    }

    /// A member that is an object.
    pub(crate) fn object_at<R>(&mut self, name: &str, members: impl FnOnce(&mut Self) -> R) -> R {
        self.key(name);
        self.object(members)
    }

    /// A member that is an array.
    pub(crate) fn array_at<R>(&mut self, name: &str, elements: impl FnOnce(&mut Self) -> R) -> R {
        self.key(name);
        self.array(elements)
    }

    /// A member; `name` needs no escapes.
    pub(crate) fn field(&mut self, name: &str, value: impl Value) {
        self.key(name);
        value.write(&mut self.out);
    }

    /// A member that is left out when there is no value.
    pub(crate) fn optional(&mut self, name: &str, value: Option<impl Value>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    /// A member that is `null`.
    pub(crate) fn null(&mut self, name: &str) {
        self.key(name);
        self.out.push_str("null");
    }

    /// An element.
    pub(crate) fn value(&mut self, value: impl Value) {
        self.separate();
        value.write(&mut self.out);
    }

    /// The name of a member; its value must follow.
    pub(crate) fn key(&mut self, name: &str) {
        self.separate();
        quote(name, &mut self.out);
        self.out.push(':');
    }

    fn separate(&mut self) {
        if let Some(b'"' | b'}' | b']' | b'0'..=b'9' | b'e' | b'l') = self.out.as_bytes().last() {
            self.out.push(',');
        }
    }
}

impl Value for str {
    fn write(&self, out: &mut String) {
        quote(self, out);
    }
}

impl Value for String {
    fn write(&self, out: &mut String) {
        quote(self, out);
    }
}

impl Value for Cow<'_, str> {
    fn write(&self, out: &mut String) {
        quote(self, out);
    }
}

impl Value for Text<'_> {
    fn write(&self, out: &mut String) {
        out.push('"');
        out.push_str(self.as_escaped());
        out.push('"');
    }
}

impl Value for Number<'_> {
    fn write(&self, out: &mut String) {
        out.push_str(self.0);
    }
}

impl Value for Raw<'_> {
    /// Line ends can only stand between tokens; they would end an event's line.
    fn write(&self, out: &mut String) {
        if self.0.contains(['\n', '\r']) {
            out.extend(self.0.chars().filter(|symbol| !matches!(symbol, '\n' | '\r')));
        } else {
            out.push_str(self.0);
        }
    }
}

impl Value for u64 {
    fn write(&self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = write!(out, "{self}");
    }
}

impl Value for u32 {
    fn write(&self, out: &mut String) {
        u64::from(*self).write(out);
    }
}

impl Value for bool {
    fn write(&self, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }
}

impl<T: Value + ?Sized> Value for &T {
    fn write(&self, out: &mut String) {
        (**self).write(out);
    }
}

impl<T: Value> Value for At<T> {
    fn write(&self, out: &mut String) {
        self.value.write(out);
    }
}

#[cfg(test)]
mod tests {
    use super::{Raw, Text, Writer};

    #[test]
    fn commas_stand_between_values_and_nowhere_else() {
        let mut writer = Writer::default();
        writer.literal("data: ");
        writer.object(|w| {
            w.field("a", 1_u64);
            w.null("b");
            w.field("c", true);
            w.field("d", Text::plain(":{"));
            w.optional("e", None::<u64>);
            w.array_at("f", |w| {
                w.array(|_| ());
                w.object(|_| ());
                w.value("x");
                w.value(Raw("{\n\"y\":1\n}"));
            });
            w.object_at("g", |w| w.field("h", "["));
        });
        let expected = r#"data: {"a":1,"b":null,"c":true,"d":":{","f":[[],{},"x",{"y":1}],"g":{"h":"["}}"#;
        assert_eq!(writer.take(), expected);
    }
}
