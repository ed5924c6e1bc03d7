//! One OpenAPI 3.1 document for every route of a contract, read from the same descriptors that the routes run by.

mod example;
mod operation;
mod schema;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use kit::contract::{Contract, comment};
use serde_json::{Map, Value, json};

use crate::{binding::Binding, config::Pages, template::Template};

/// A route with its template, as the router has it.
pub type Route<'r> = (&'r http::Method, &'r Template, &'r Arc<Binding>);

/// The document.
pub fn document(contract: &Contract, routes: &[Route<'_>], pages: &Pages) -> Value {
    let mut schemas = schema::Schemas::default();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let (mut ids, mut known) = (BTreeMap::new(), BTreeMap::new());
    for (verb, template, binding) in routes {
        let operation =
            operation::Writer { verb, schemas: &mut schemas, ids: &mut ids, paths: &mut known, template, binding };
        let (path, operation) = operation.write();
        paths.entry(path).or_default().insert(verb.as_str().to_lowercase(), operation);
    }
    let mut components = schemas.finish();
    components.extend(errors(contract));
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {"title": pages.title, "version": pages.version, "description": pages.description},
        "servers": [{"url": "/"}],
        "tags": tags(contract, routes),
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {"Error": error_response()},
            "securitySchemes": {"bearer": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "An access token.",
            }},
        },
    });
    let fields = contract.pool().all_messages().flat_map(|message| message.fields().collect::<Vec<_>>());
    let names = fields.map(|field| (field.name().to_owned(), field.json_name().to_owned()));
    in_json(&mut document, &names.collect());
    document
}

/// Comments name fields as the proto does, in backticks; who reads the document sends JSON.
fn in_json(value: &mut Value, names: &HashMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "description" => *text = with_names(text, names),
                    value => in_json(value, names),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| in_json(value, names)),
        _ => {}
    }
}

fn with_names(text: &str, names: &HashMap<String, String>) -> String {
    let renamed = |part: &str| {
        let parts = part.split('.').map(|name| names.get(name).map_or(name, String::as_str));
        parts.collect::<Vec<_>>().join(".")
    };
    let parts = text.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { renamed(part) } else { part.to_owned() }).collect::<Vec<_>>().join("`")
}

/// One tag for each service that has routes.
fn tags(contract: &Contract, routes: &[Route<'_>]) -> Vec<Value> {
    let services = contract.pool().services();
    let used = services.filter(|service| routes.iter().any(|(.., b)| b.method.service == service.full_name()));
    used.map(|service| json!({"name": service.name(), "description": comment(service.parent_file(), service.path())}))
        .collect()
}

fn error_response() -> Value {
    json!({
        "description": "What went wrong, why, and what to do.",
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/Error"}},
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}},
        },
    })
}

/// The two forms of an error, and the reasons.
fn errors(contract: &Contract) -> Map<String, Value> {
    let reasons = contract.reasons();
    let table: String = reasons
        .iter()
        .map(|reason| format!("\n- `{}` ({}): {}", reason.name, reason.http_status, reason.description))
        .collect();
    let names: Vec<&str> = reasons.iter().map(|reason| reason.name.as_str()).collect();
    let text = || json!({"type": "string"});
    let reason = json!({"$ref": "#/components/schemas/Reason"});
    let error = json!({
        "type": "object",
        "description": "An error as AIP-193 writes it.",
        "required": ["error"],
        "properties": {"error": {
            "type": "object",
            "required": ["code", "message", "status", "details"],
            "properties": {
                "code": {"type": "integer", "description": "The HTTP status."},
                "message": {"type": "string", "description": "What to do, in a sentence."},
                "status": {"type": "string", "description": "The gRPC code, `NOT_FOUND`."},
                "details": {"type": "array", "items": {
                    "type": "object",
                    "description": "A detail of google.rpc. `ErrorInfo` and `RequestInfo` (the trace id) are always there.",
                    "required": ["@type"],
                    "properties": {"@type": text(), "reason": reason, "domain": text()},
                    "additionalProperties": true,
                }},
            },
        }},
    });
    let problem = json!({
        "type": "object",
        "description": "An error as RFC 9457 writes it.",
        "required": ["type", "title", "status", "detail", "reason", "traceId"],
        "properties": {
            "type": text(), "title": text(), "status": {"type": "integer"}, "detail": text(), "instance": text(),
            "reason": reason, "domain": text(), "traceId": text(),
            "metadata": {"type": ["object", "null"], "additionalProperties": text()},
            "errors": {"type": "array", "items": {
                "type": "object",
                "properties": {"field": text(), "description": text()},
            }},
        },
    });
    let reasons = json!({
        "type": "string",
        "description": format!("Why a call was refused. New reasons may be added. Those of today:\n{table}"),
        "examples": names,
    });
    Map::from_iter([("Error".to_owned(), error), ("Problem".to_owned(), problem), ("Reason".to_owned(), reasons)])
}
