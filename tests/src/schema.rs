//! Whether a value matches a JSON Schema, as far as the OpenAPI document of the management API goes. A keyword that is
//! not known here is a failure, so that nothing counts as checked that was not.

use serde_json::{Map, Value};

/// Says where `value` is not what `schema` asks for; `document` is where references lead.
///
/// # Errors
/// The place and what was expected there.
pub fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    check_at(document, schema, value, "$")
}

/// Follows a reference to a named schema.
///
/// # Panics
/// When it leads nowhere.
#[must_use]
pub fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(path) => {
            document.pointer(path.trim_start_matches('#')).expect("a reference that leads somewhere")
        }
        None => schema,
    }
}

fn check_at(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Some(rules) = schema.as_object() else {
        return if *schema == Value::Bool(true) {
            Ok(())
        } else {
            Err(format!("{at}: nothing may stand here"))
        };
    };
    for (keyword, rule) in rules {
        let holds = match keyword.as_str() {
            "$ref" => {
                check_at(document, resolve(document, schema), value, at)?;
                true
            }
            "type" => is_of(rule, value),
            "enum" => rule.as_array().is_some_and(|all| all.contains(value)),
            "const" => rule == value,
            "anyOf" | "oneOf" => any(document, rule, value, at),
            "allOf" => {
                let mut all = rule.as_array().into_iter().flatten();
                all.try_for_each(|one| check_at(document, one, value, at))?;
                true
            }
            "required" => {
                let names = rule.as_array().into_iter().flatten().filter_map(Value::as_str);
                value.as_object().is_none_or(|object| names.into_iter().all(|name| object.contains_key(name)))
            }
            "properties" | "additionalProperties" => {
                members(document, rules, value, at)?;
                true
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check_at(document, rule, item, &format!("{at}[{index}]"))?;
                }
                true
            }
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap_or(f64::MIN)),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap_or(f64::MAX)),
            "description" | "title" | "examples" | "default" | "format" | "deprecated" => true,
            other => return Err(format!("{at}: this test does not know `{other}`")),
        };
        if !holds {
            return Err(format!("{at}: {value} does not meet `{keyword}`: {rule}"));
        }
    }
    Ok(())
}

fn any(document: &Value, rule: &Value, value: &Value, at: &str) -> bool {
    rule.as_array().into_iter().flatten().any(|one| check_at(document, one, value, at).is_ok())
}

fn members(document: &Value, rules: &Map<String, Value>, value: &Value, at: &str) -> Result<(), String> {
    let nothing = Value::Object(Map::new());
    let properties = rules.get("properties").unwrap_or(&nothing);
    for (name, member) in value.as_object().into_iter().flatten() {
        let rule = properties.get(name).or_else(|| rules.get("additionalProperties"));
        if let Some(rule) = rule {
            check_at(document, rule, member, &format!("{at}.{name}"))?;
        }
    }
    Ok(())
}

fn is_of(rule: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    match rule {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use serde_json::json;

    #[test]
    fn a_value_is_checked_member_by_member() {
        let document = json!({"components": {"schemas": {"Name": {"type": "string"}}}});
        let schema = json!({
            "type": "object",
            "properties": {"name": {"$ref": "#/components/schemas/Name"}, "age": {"type": ["integer", "null"]}},
            "required": ["name"],
            "additionalProperties": false,
        });
        assert_eq!(check(&document, &schema, &json!({"name": "a", "age": null})), Ok(()));
        for wrong in
            [json!({}), json!({"name": 1}), json!({"name": "a", "x": 1}), json!({"name": "a", "age": "1"})]
        {
            assert!(check(&document, &schema, &wrong).is_err(), "{wrong}");
        }
        assert!(check(&document, &json!({"patternProperties": {}}), &json!({})).is_err());
    }
}
