//! Gemini's own form of a schema, as JSON Schema.
//!
//! Types are in capitals, `nullable` stands beside a type, and whole numbers may be strings, as Protocol Buffers write
//! them. What says nothing about which values are allowed (the order of properties, an example) is left out.

use super::proto::camel_case;
use crate::json::{Node, Writer};
use crate::model::Refused;

/// No provider accepts schemas that nest deeper.
const DEPTH_MAX: usize = 64;

/// The text of the schema for everyone else.
///
/// # Errors
/// It is not a schema, or nested too deep.
pub(super) fn to_json_schema(node: &Node<'_, '_>) -> Result<String, Refused> {
    let mut writer = Writer::default();
    schema(&mut writer, node, DEPTH_MAX)?;
    Ok(writer.take())
}

fn schema(w: &mut Writer, node: &Node<'_, '_>, depth: usize) -> Result<(), Refused> {
    let Some(depth) = depth.checked_sub(1) else { return Err(node.refuse("is nested too deep")) };
    let object = node.object()?;
    let nullable = object.take("nullable").map_or(Ok(false), |nullable| nullable.boolean())?;
    w.object(|w| object.rest(|name, value| member(w, &camel_case(name), &value, nullable, depth)))
}

fn member(
    w: &mut Writer,
    name: &str,
    value: &Node<'_, '_>,
    nullable: bool,
    depth: usize,
) -> Result<(), Refused> {
    match name {
        "propertyOrdering" | "example" => {}
        "type" => print_type(w, &value.string()?.to_ascii_lowercase(), nullable),
        "items" | "additionalProperties" if value.is_object() => {
            w.key(name);
            schema(w, value, depth)?;
        }
        "anyOf" => w.array_at(name, |w| value.items(|option| schema(w, &option, depth)))?,
        "properties" | "defs" => w.object_at(name, |w| {
            value.object()?.rest(|property, value| {
                w.key(property);
                schema(w, &value, depth)
            })
        })?,
        "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties"
            if !value.raw().0.starts_with(|first: char| first.is_ascii_digit()) =>
        {
            let number =
                value.string()?.parse::<u64>().map_err(|_| value.refuse("must be a whole number"))?;
            w.field(name, number);
        }
        _ => w.field(name, value.raw()),
    }
    Ok(())
}

fn print_type(w: &mut Writer, name: &str, nullable: bool) {
    if nullable {
        w.array_at("type", |w| {
            w.value(name);
            w.value("null");
        });
    } else {
        w.field("type", name);
    }
}

#[cfg(test)]
mod tests {
    use super::{Node, to_json_schema};

    fn converted(schema: &str) -> Result<String, String> {
        Node::document(schema.as_bytes())
            .and_then(|node| to_json_schema(&node))
            .map_err(|refused| refused.to_string())
    }

    #[test]
    fn types_are_small_and_null_is_one_of_them() {
        let schema = r#"{"type":"OBJECT","property_ordering":["b"],"required":["b"],"properties":{
            "type":{"type":"STRING","nullable":true,"enum":["X"]},
            "b":{"type":"ARRAY","minItems":"1","max_items":3,"items":{"anyOf":[{"type":"NUMBER","minimum":0.50}]}}}}"#;
        let expected = r#"{"type":"object","required":["b"],"properties":{"type":{"type":["string","null"],"enum":["X"]},"b":{"type":"array","minItems":1,"maxItems":3,"items":{"anyOf":[{"type":"number","minimum":0.50}]}}}}"#;
        assert_eq!(converted(schema), Ok(expected.into()));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{}{{}}{}", "{\"items\":".repeat(5000), "}".repeat(5000));
        assert!(converted(&deep).unwrap_err().ends_with("is nested too deep"));
        assert!(converted(r#"{"minItems":"1,\"x\":2"}"#).is_err());
    }
}
