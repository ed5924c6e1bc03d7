//! `/docs`: the OpenAPI document as one page of HTML, with nothing to load from anywhere.

use serde_json::{Map, Value};

/// Messages within messages that are shown.
const DEPTH: usize = 4;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
code,pre{font:14px/1.4 ui-monospace,monospace}pre{background:#f4f4f4;padding:.7rem;overflow-x:auto}\
summary{cursor:pointer;padding:.3rem 0}summary b{display:inline-block;min-width:4.5rem}details{border-bottom:1px solid #ddd}\
td{padding:.1rem .8rem .1rem 0;vertical-align:top}td details{border:0}td td{font-size:.95em}.who{color:#666}h2{margin-top:2rem}";

/// The page.
pub fn page(openapi: &Value) -> String {
    let info = &openapi["info"];
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{0}</title><style>{STYLE}</style><h1>{0} <small>{1}</small></h1><p>{2}</p>\
         <p>For programs: <a href=\"/openapi.json\">openapi.json</a> (OpenAPI 3.1). The same calls are there over gRPC on \
         this port, with reflection. Errors: <a href=\"#errors\">reasons</a>.</p>",
        text(&info["title"]),
        text(&info["version"]),
        text(&info["description"])
    );
    for tag in openapi["tags"].as_array().into_iter().flatten() {
        html += &format!("<h2>{}</h2><p>{}</p>", text(&tag["name"]), text(&tag["description"]));
        for (path, verb, operation) in operations(openapi) {
            if operation["tags"][0] == tag["name"] {
                html += &show(openapi, path, verb, operation);
            }
        }
    }
    html += "<h2 id=\"errors\">Errors</h2><p>";
    let reasons = openapi["components"]["schemas"]["Reason"]["description"].as_str().unwrap_or_default();
    for line in reasons.lines() {
        match line.strip_prefix("- `").and_then(|line| line.split_once('`')) {
            Some((name, rest)) => {
                html += &format!("<div id=\"{0}\"><code>{0}</code>{1}</div>", escape(name), escape(rest))
            }
            None => html += &escape(line),
        }
    }
    html + "</p></html>\n"
}

fn operations(openapi: &Value) -> impl Iterator<Item = (&String, &String, &Value)> {
    let paths = openapi["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, verbs)| {
        verbs.as_object().into_iter().flatten().map(move |(verb, operation)| (path, verb, operation))
    })
}

fn show(openapi: &Value, path: &str, verb: &str, operation: &Value) -> String {
    let mut html = format!(
        "<details id=\"{}\"><summary><b>{}</b><code>{}</code> <span class=\"who\">{}</span></summary><p>{}</p>",
        text(&operation["operationId"]),
        verb.to_uppercase(),
        escape(path),
        text(&operation["summary"]),
        text(&operation["description"]).replace("\n\n", "</p><p>"),
    );
    let parameters: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
    if !parameters.is_empty() {
        html += "<table>";
        for parameter in parameters {
            let required = if parameter["required"] == true { ", <b>required</b>" } else { "" };
            let place = format!("{}{required}", text(&parameter["in"]));
            html += &row(openapi, &parameter["name"], &place, &parameter["schema"], &parameter["description"]);
        }
        html += "</table>";
    }
    let body = &operation["requestBody"]["content"]["application/json"];
    if !body.is_null() {
        let fields = Fields { openapi, updates: matches!(verb, "patch" | "put") };
        let schema = resolved(openapi, &body["schema"]);
        html += &format!("<p>Body: {}</p>{}", text(&schema["description"]), fields.table(schema, 1));
        html += &format!("<p>Such as:</p>{}", examples(body));
    }
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let Some(content) = response["content"].as_object() else { continue };
        if content.contains_key("*/*") {
            html += &format!("<p>{status}: a document</p>");
            continue;
        }
        let shown = content.get("application/json").or(content.get("application/x-ndjson"));
        html += &format!("<p>{status}:</p>{}", shown.map(examples).unwrap_or_default());
    }
    html + &format!("<p>gRPC: <code>{}</code></p></details>", text(&operation["x-rpc"]).trim_start_matches('/'))
}

/// The fields of a body, as one sends them.
struct Fields<'d> {
    openapi: &'d Value,
    updates: bool,
}

impl Fields<'_> {
    /// A row for each field, and a table within for those of a message.
    fn table(&self, schema: &Value, depth: usize) -> String {
        let required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
        let sent = |field: &Value| field["readOnly"] != true && !(self.updates && field["x-immutable"] == true);
        let mut html = "<table>".to_owned();
        for (name, field) in properties(schema).filter(|(_, field)| sent(field)) {
            let needed = if required(name) { "<b>required</b>" } else { "" };
            html += &row(self.openapi, &name.as_str().into(), needed, field, &field["description"]);
            let of = [field, &field["items"], &field["additionalProperties"]];
            let inner = of.into_iter().find(|schema| schema["$ref"].is_string());
            let inner = inner.map(|schema| resolved(self.openapi, schema));
            if let Some(inner) = inner.filter(|inner| depth < DEPTH && properties(inner).next().is_some()) {
                html += &format!(
                    "<details><summary>Fields of <code>{}</code></summary><p>{}</p>{}</details>",
                    escape(name),
                    text(&inner["description"]),
                    self.table(inner, depth + 1)
                );
            }
        }
        html + "</table>"
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flat_map(Map::iter)
}

/// A parameter or a field: its name, whether it is required, its type, and what the contract says of it.
fn row(openapi: &Value, name: &Value, needed: &str, schema: &Value, about: &Value) -> String {
    // The type of an enum is the list of its values.
    let rules =
        schema["x-rule"].as_str().filter(|_| !schema["enum"].is_array()).map(|rule| match rule.strip_prefix("each ") {
            Some(rest) => format!(" <i>Each {}.</i>", escape(rest)),
            None => format!(" <i>It {}.</i>", escape(rule)),
        });
    let rules = rules.unwrap_or_default();
    let kind = kind(openapi, schema);
    format!("<tr><td><code>{}</code><td>{needed}<td>{kind}<td>{}{rules}", text(name), text(about))
}

/// The type of a value, in words.
fn kind(openapi: &Value, schema: &Value) -> String {
    let target = resolved(openapi, schema);
    let names = schema["enum"].as_array().filter(|_| schema["$ref"].is_string()).or(target["enum"].as_array());
    if let Some(names) = names {
        // The first value of an enum says that there is none.
        let names = names.iter().filter_map(Value::as_str).filter(|name| !name.ends_with("_UNSPECIFIED"));
        return names.map(|name| format!("<code>{}</code>", escape(name))).collect::<Vec<_>>().join(" or ");
    }
    match (target["type"].as_str(), target["format"].as_str()) {
        (Some("string"), Some("date-time")) => "time".to_owned(),
        (Some("string"), Some("int64" | "uint64")) | (Some("integer"), _) => "integer".to_owned(),
        (Some("string"), _) if target["contentEncoding"].is_string() => "base64".to_owned(),
        (Some("array"), _) => format!("list of {}", kind(openapi, &target["items"])),
        (Some("object"), _) if target["additionalProperties"].is_object() => {
            format!("map to {}", kind(openapi, &target["additionalProperties"]))
        }
        (Some(name), _) => escape(name),
        (None, _) => "any JSON".to_owned(),
    }
}

/// The schema that a reference means, or the schema itself.
fn resolved<'d>(openapi: &'d Value, schema: &'d Value) -> &'d Value {
    let target = schema["$ref"].as_str().and_then(|reference| openapi.pointer(reference.trim_start_matches('#')));
    target.unwrap_or(schema)
}

/// The example of a request or a reply, or one for each way to write it.
fn examples(content: &Value) -> String {
    let several = content["examples"].as_object().into_iter().flatten();
    let several = several.map(|(name, example)| (format!(" {}", escape(name)), &example["value"]));
    let one = content.get("example").map(|example| (String::new(), example));
    one.into_iter().chain(several).map(|(name, value)| format!("{name}<pre>{}</pre>", pretty(value))).collect()
}

fn pretty(value: &Value) -> String {
    escape(&serde_json::to_string_pretty(value).unwrap_or_default())
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
