//! Schemas that OpenAI can hold a model to: objects have all the properties that they name, and no others.

use crate::json::Node;
use crate::model::{At, Format, Request};

/// No provider accepts schemas that nest deeper.
const DEPTH_MAX: usize = 64;

/// Whether the answer must follow the schema of its format: where OpenAI cannot hold a model to it, the model is shown
/// the schema.
pub(crate) fn of_format(request: &Request<'_>) -> Option<bool> {
    let At { value: Format::Schema(schema), path } = request.format.as_ref()? else { return None };
    let strict = schema.strict?;
    let fits = schema.schema.as_deref().is_none_or(fits);
    if strict && !fits {
        request.left_out.mention(path);
    }
    Some(strict && fits)
}

fn fits(schema: &str) -> bool {
    Node::document(schema.as_bytes()).is_ok_and(|schema| is_closed(&schema, DEPTH_MAX))
}

fn is_closed(node: &Node<'_, '_>, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    let Ok(object) = node.object() else { return true };
    let required = object.take("required").and_then(|list| list.list(|name| name.string()).ok());
    let required = required.unwrap_or_default();
    let closed = object.take("additionalProperties").is_some_and(|others| others.raw().0 == "false");
    let mut fits = true;
    if let Some(properties) = object.take("properties").and_then(|listed| listed.object().ok()) {
        let all = properties.rest(|name, value| {
            fits &= required.iter().any(|required| **required == *name) && is_closed(&value, depth);
            Ok(())
        });
        fits &= closed && all.is_ok();
    }
    let rest = object.rest(|name, value| {
        match name {
            "items" => fits &= is_closed(&value, depth),
            "anyOf" => value.items(|option| {
                fits &= is_closed(&option, depth);
                Ok(())
            })?,
            "$defs" | "definitions" => value.object()?.rest(|_, value| {
                fits &= is_closed(&value, depth);
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    });
    fits && rest.is_ok()
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_schema_is_strict_where_every_object_names_all_that_it_has() {
        for (schema, expected) in [
            (
                r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}"#,
                true,
            ),
            (r#"{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}"#, false),
            (r#"{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}"#, false),
            (
                r#"{"type":"array","items":{"anyOf":[{"type":"null"},{"type":"object","properties":{"a":true}}]}}"#,
                false,
            ),
            (r#"{"$defs":{"a":{"type":"object","properties":{"b":{}}}},"$ref":"x"}"#, false),
            (r#"{"type":"string"}"#, true),
        ] {
            assert_eq!(fits(schema), expected, "{schema}");
        }
    }
}
