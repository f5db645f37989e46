//! The OpenAPI 3.1 document of the management API, made of the table and the types of its handlers.

use std::sync::LazyLock;

use http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{ROOT, ROUTES};
use crate::admin::ask::Ask;
use crate::admin::error::{Problem, ProblemBody};
use crate::admin::route::{Access, Route};
use crate::admin::schema::schema;
use crate::admin::version::edited;

/// Where named schemas stand in the document.
const SCHEMAS: &str = "/components/schemas";

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

/// An OpenAPI document.
#[derive(Serialize, JsonSchema)]
pub(super) struct OpenApi(Map<String, Value>);

/// `GET /management/v1/openapi.json`
pub(super) async fn show(_: Ask) -> Result<OpenApi, Problem> {
    Ok(OpenApi(DOCUMENT.as_object().cloned().unwrap_or_default()))
}

/// The document.
pub(crate) fn openapi() -> &'static Value {
    &DOCUMENT
}

fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = SCHEMAS.into());
    let mut generator = settings.into_generator();
    let mut paths = Map::new();
    for route in ROUTES.iter() {
        let methods = paths.entry(format!("{ROOT}{}", route.path)).or_insert_with(|| json!({}));
        methods[route.method.as_str().to_lowercase()] = operation(route, &mut generator);
    }
    let error = schema::<ProblemBody>(&mut generator);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tollgate management API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Points are decimal numbers in strings, times are milliseconds since 1970-01-01 UTC unless a member says \
                            otherwise. What is somebody else's is answered as if it were not there.",
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {"token": {
                "type": "http",
                "scheme": "bearer",
                "description": "An access token of a login. The admin secret will do for whatever an admin may do.",
            }},
            "responses": {"Problem": {
                "description": "Why there is no result.",
                "content": {"application/json": {"schema": error}},
            }},
        },
    })
}

/// One row as the document shows it.
fn operation(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [route.path.split('/').nth(1).unwrap_or_default().trim_end_matches(".json")],
        "security": if route.access == Access::Anyone { json!([]) } else { json!([{"token": []}]) },
        "x-access": route.access.name(),
        "parameters": parameters(route, generator),
        "responses": responses(route, generator),
    });
    if let Some(body) = (route.shape.body)(generator) {
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": body}}});
    }
    if let Some(action) = route.action {
        operation["x-audit-action"] = action.into();
    }
    if route.replaced_by.is_some() {
        operation["deprecated"] = true.into();
    }
    operation
}

/// `post_keys`, `get_keys_key`: a name for programs that are generated.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(['/', '.', '-']).map(|word| word.trim_matches(['{', '}']));
    let words = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("_");
    format!("{}_{words}", route.method.as_str().to_lowercase())
}

fn parameters(route: &Route, generator: &mut SchemaGenerator) -> Vec<Value> {
    let of_path = route.params().zip(&route.shape.params);
    let mut all: Vec<Value> = of_path
        .map(|(name, schema)| json!({"name": name, "in": "path", "required": true, "schema": schema}))
        .collect();
    if let Some(query) = (route.shape.query)(generator) {
        let required = query.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        for (name, schema) in query.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let required = required.iter().any(|it| it == name);
            all.push(json!({"name": name, "in": "query", "required": required, "schema": schema}));
        }
    }
    if changes_version(route) {
        all.push(json!({
            "name": "If-Match",
            "in": "header",
            "required": false,
            "description": "The `ETag` of the answer that is changed: where it has changed meanwhile, nothing is, and the answer is 412.",
            "schema": {"type": "string"},
        }));
    }
    if route.creates {
        all.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "required": false,
            "description": "At most 255 visible characters. A call that comes again with the same key within a day gets the first answer.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        }));
    }
    all
}

/// Whether a row changes something that has a version.
fn changes_version(route: &Route) -> bool {
    route.action.is_some() && edited(route, &[]).is_some()
}

/// The success of a route and each way in which it is known to fail.
fn responses(route: &Route, generator: &mut SchemaGenerator) -> Value {
    let mut all = Map::new();
    let mut success = json!({"description": "Done."});
    if let Some((media_type, schema)) = (route.shape.reply)(generator) {
        success["content"] = json!({media_type: {"schema": schema}});
    }
    if edited(route, &[]).is_some() && route.success() == StatusCode::OK {
        success["headers"] = json!({"ETag": {"description": "The version that is shown, for `If-Match`.", "schema": {"type": "string"}}});
    }
    all.insert(route.success().as_str().to_owned(), success);
    let takes = (route.shape.body)(generator).is_some();
    let logs_in = matches!(route.path, "/login" | "/refresh") || route.path.starts_with("/session/");
    let asks = takes || (route.shape.query)(generator).is_some();
    let kept_out = matches!(route.access, Access::Me | Access::Admin);
    let failures = [
        ("400", asks || route.creates),
        ("401", route.access != Access::Anyone || logs_in),
        ("403", kept_out || (takes && route.access == Access::Owner)),
        ("404", route.params().next().is_some() || takes),
        ("409", route.action.is_some()),
        ("412", changes_version(route)),
        ("413", takes),
        ("422", route.action.is_some()),
        ("429", matches!(route.path, "/login" | "/session/login")),
    ];
    for (status, _) in failures.into_iter().filter(|(_, applies)| *applies) {
        all.insert(status.to_owned(), json!({"$ref": "#/components/responses/Problem"}));
    }
    all.insert("default".to_owned(), json!({"$ref": "#/components/responses/Problem"}));
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::openapi;
    use crate::admin::routes::{ROOT, ROUTES};

    #[test]
    fn every_row_is_an_operation_of_its_own_and_nothing_else_is() {
        let paths = openapi()["paths"].as_object().unwrap();
        let operations: Vec<_> =
            paths.values().flat_map(|methods| methods.as_object().unwrap().values()).collect();
        let names: BTreeSet<_> = operations.iter().map(|it| it["operationId"].as_str().unwrap()).collect();
        assert_eq!((operations.len(), names.len()), (ROUTES.len(), ROUTES.len()));
        for route in ROUTES.iter() {
            let operation = &paths[&format!("{ROOT}{}", route.path)][route.method.as_str().to_lowercase()];
            assert!(operation["responses"][route.success().as_str()].is_object(), "{}", route.path);
            let takes_key = operation["parameters"].to_string().contains("Idempotency-Key");
            assert_eq!(takes_key, route.creates, "{}", route.path);
        }
    }
}
