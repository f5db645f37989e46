//! A schema of answers as Anthropic takes it: objects have the properties that it names and no others, and sizes are
//! not constrained (<https://platform.claude.com/docs/en/build-with-claude/structured-outputs>, read 2026-11).

use crate::json::{Node, Raw, Writer};
use crate::model::Refused;

/// No provider accepts schemas that nest deeper.
const DEPTH_MAX: usize = 64;

/// What Anthropic refuses to constrain.
const CONSTRAINTS: [&str; 12] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "patternProperties",
];

/// The text of the schema, and whether it constrains less, or more, than the client's.
///
/// # Errors
/// It is no schema, or nested too deep, or of an object whose properties have no names.
pub(super) fn closed(schema: &str) -> Result<(String, bool), Refused> {
    let mut closing = Closing { writer: Writer::default(), changed: false };
    closing.schema(&Node::document(schema.as_bytes())?, DEPTH_MAX)?;
    Ok((closing.writer.take(), closing.changed))
}

struct Closing {
    writer: Writer,
    changed: bool,
}

impl Closing {
    fn schema(&mut self, node: &Node<'_, '_>, depth: usize) -> Result<(), Refused> {
        let Some(depth) = depth.checked_sub(1) else { return Err(node.refuse("is nested too deep")) };
        if !node.is_object() {
            self.writer.value(node.raw());
            return Ok(());
        }
        let object = node.object()?;
        let others = object.take("additionalProperties");
        let mut is_object = false;
        self.writer.begin_object();
        object.rest(|name, value| {
            is_object |= name == "properties" || name == "type" && value.is("object");
            self.member(name, &value, depth)
        })?;
        if let Some(others) = others.filter(|others| others.raw().0 != "false") {
            if node.object()?.take("properties").is_none() {
                return Err(others.refuse("Anthropic wants the names of all properties"));
            }
            self.changed = true;
        }
        if is_object {
            self.writer.field("additionalProperties", false);
        }
        self.writer.end_object();
        Ok(())
    }

    fn member(&mut self, name: &str, value: &Node<'_, '_>, depth: usize) -> Result<(), Refused> {
        let small = matches!(value.raw().0, "0" | "1");
        match name {
            _ if CONSTRAINTS.contains(&name) || name == "minItems" && !small => self.changed = true,
            "items" | "not" => {
                self.writer.key(name);
                self.schema(value, depth)?;
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
                self.writer.key(if name == "oneOf" { "anyOf" } else { name });
                self.writer.begin_array();
                value.items(|option| self.schema(&option, depth))?;
                self.writer.end_array();
            }
            "properties" | "$defs" | "definitions" => {
                self.writer.key(name);
                self.writer.begin_object();
                value.object()?.rest(|property, value| {
                    self.writer.key(property);
                    self.schema(&value, depth)
                })?;
                self.writer.end_object();
            }
            _ => self.writer.field(name, Raw(value.raw().0)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::closed;

    #[test]
    fn objects_are_closed_and_sizes_are_free() {
        for (given, expected, changed) in [
            (
                r#"{"type":"object","properties":{"a":{"type":"string"}}}"#,
                r#"{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}"#,
                false,
            ),
            (
                r#"{"type":"object","properties":{},"additionalProperties":false}"#,
                r#"{"type":"object","properties":{},"additionalProperties":false}"#,
                false,
            ),
            (
                r#"{"type":"object","properties":{"minimum":{"type":"integer","minimum":1}},"additionalProperties":true}"#,
                r#"{"type":"object","properties":{"minimum":{"type":"integer"}},"additionalProperties":false}"#,
                true,
            ),
            (
                r#"{"type":"array","minItems":1,"items":{"oneOf":[{"type":"object","properties":{}},{"type":"null"}]}}"#,
                r#"{"type":"array","minItems":1,"items":{"anyOf":[{"type":"object","properties":{},"additionalProperties":false},{"type":"null"}]}}"#,
                false,
            ),
            (
                r##"{"$ref":"#/$defs/a","$defs":{"a":{"type":"array","maxItems":3,"items":true}}}"##,
                r##"{"$ref":"#/$defs/a","$defs":{"a":{"type":"array","items":true}}}"##,
                true,
            ),
        ] {
            assert_eq!(closed(given).unwrap(), (expected.to_owned(), changed));
        }
    }

    #[test]
    fn names_without_end_and_depth_are_refused() {
        assert!(closed(r#"{"type":"object","additionalProperties":{"type":"string"}}"#).is_err());
        let deep = format!("{}{{}}{}", "{\"items\":".repeat(5000), "}".repeat(5000));
        assert!(closed(&deep).is_err());
    }
}
