//! `/docs`: the OpenAPI document as one page of HTML, with nothing to load from anywhere.

use serde_json::Value;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
code,pre{font:14px/1.4 ui-monospace,monospace}pre{background:#f4f4f4;padding:.7rem;overflow-x:auto}\
summary{cursor:pointer;padding:.3rem 0}summary b{display:inline-block;min-width:4.5rem}details{border-bottom:1px solid #ddd}\
td{padding:.1rem .8rem .1rem 0;vertical-align:top}.who{color:#666}h2{margin-top:2rem}";

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
                html += &show(path, verb, operation);
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

fn show(path: &str, verb: &str, operation: &Value) -> String {
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
            let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
            html += &format!("<tr><td><code>{name}</code><td>{place}<td>{}", text(&parameter["description"]));
        }
        html += "</table>";
    }
    let body = &operation["requestBody"]["content"]["application/json"];
    if !body.is_null() {
        html += &format!("<p>Body:</p>{}", examples(body));
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
