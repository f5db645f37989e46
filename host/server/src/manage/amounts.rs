//! Units and prices of each class as members of what is shown: made from the classes, so that none is forgotten.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};
use tollgate_core::price::Rates;
use tollgate_core::usage::{Class, Unit, Usage};

/// Units of each class, a member for each.
#[derive(Debug, Clone, Copy)]
pub struct Units(pub Usage);

impl Serialize for Units {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Class::COUNT))?;
        for class in Class::ALL {
            map.serialize_entry(class.name(), &self.0[class])?;
        }
        map.end()
    }
}

impl JsonSchema for Units {
    fn schema_name() -> Cow<'static, str> {
        "Units".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let count = |class: Class| json!({"description": class.description(), "type": "integer", "format": "uint64", "minimum": 0});
        members(Class::ALL.into_iter().map(|class| (class.name(), count(class))))
    }
}

/// Prices in points: of a million tokens, or of one of anything else, and of a request.
#[derive(Debug, Clone, Copy)]
pub struct Prices(pub Rates);

impl Serialize for Prices {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Class::COUNT + 1))?;
        for class in Class::ALL {
            map.serialize_entry(class.name(), &self.0.price_of(class).to_string())?;
        }
        map.serialize_entry("request", &self.0.price_of_request().to_string())?;
        map.end()
    }
}

impl JsonSchema for Prices {
    fn schema_name() -> Cow<'static, str> {
        "Prices".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let price = |text: String| json!({"description": text, "type": "string"});
        let per = |class: Class| match class.unit() {
            Unit::Tokens | Unit::Characters => "For a million. ",
            Unit::Images | Unit::Seconds | Unit::Calls => "For one. ",
        };
        let classes =
            Class::ALL.map(|class| (class.name(), price([per(class), class.description()].concat())));
        let request = ("request", price("For a request, whatever it uses.".to_owned()));
        let mut schema = members(classes.into_iter().chain([request]));
        schema.insert("description".to_owned(), json!("Prices in points."));
        schema
    }
}

fn members(each: impl Iterator<Item = (&'static str, Value)>) -> Schema {
    let properties: Map<String, Value> = each.map(|(name, schema)| (name.to_owned(), schema)).collect();
    let required: Vec<&String> = properties.keys().collect();
    json_schema!({"type": "object", "required": required, "properties": properties})
}
