//! Every example can be sent as it stands: it passes the translation and the rules that the edge holds requests to.

use std::{collections::BTreeSet, sync::Arc};

use edge_gateway::Config;
use kit::contract::Contract;
use serde_json::{Value, json};

use crate::{
    support::{self, Running, start_for},
    tokens,
    upstream::Upstream,
};

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The path of an operation, filled with the examples of its parameters.
fn path(path: &str, operation: &Value) -> String {
    let (mut path, mut query) = (path.to_owned(), Vec::new());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        match (parameter["in"].as_str().unwrap(), parameter["example"].is_null()) {
            ("path", _) => path = path.replace(&format!("{{{name}}}"), &text(&parameter["example"])),
            ("query", false) => match &parameter["example"] {
                Value::Array(items) => query.extend(items.iter().map(|item| format!("{name}={}", text(item)))),
                value => query.push(format!("{name}={}", text(value))),
            },
            _ => {}
        }
    }
    if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) }
}

/// The bodies that an operation shows.
fn bodies(operation: &Value) -> Vec<String> {
    let content = &operation["requestBody"]["content"]["application/json"];
    let several = content["examples"].as_object().into_iter().flatten().map(|(_, example)| &example["value"]);
    let bodies: Vec<String> = content.get("example").into_iter().chain(several).map(Value::to_string).collect();
    assert_eq!(bodies.is_empty(), operation["requestBody"].is_null(), "{operation}");
    if bodies.is_empty() { vec![String::new()] } else { bodies }
}

async fn serve(contract: Arc<Contract>) -> Running {
    let config = Config { rate_limited: false, ..Config::default() };
    start_for(contract, Upstream::new(), Upstream::of_nothing(), config).await
}

async fn sent_as_they_stand(edge: &Running) -> usize {
    let document = edge.send("GET /openapi.json", &[]).await.json();
    let token = format!("authorization: Bearer {}", tokens::good(&["admin", "support", "keeper"]));
    let mut sent = 0;
    for (template, verbs) in document["paths"].as_object().unwrap() {
        for (verb, operation) in verbs.as_object().unwrap() {
            // It never answers.
            if template == "/v1/slow" {
                continue;
            }
            for body in bodies(operation) {
                let line = format!("{} {} {body}", verb.to_uppercase(), path(template, operation));
                let answer = edge.send(line.trim_end(), &[&token]).await;
                assert!((200..300).contains(&answer.status), "{line}: {answer:?}");
                sent += 1;
            }
        }
    }
    sent
}

#[tokio::test]
async fn every_example_of_the_platform_can_be_sent_as_it_stands() {
    let edge = support::start_platform().await;
    assert!(sent_as_they_stand(&edge).await > 100);
}

#[tokio::test]
async fn every_example_of_another_contract_can_be_sent_as_it_stands() {
    assert!(sent_as_they_stand(&serve(support::contract()).await).await > 10);
}

#[tokio::test]
async fn each_way_to_set_a_oneof_is_an_example_of_its_own() {
    let edge = support::start_platform().await;
    let document = edge.send("GET /openapi.json", &[]).await.json();
    let examples =
        &document["paths"]["/api/v1/orders"]["post"]["requestBody"]["content"]["application/json"]["examples"];
    let names: BTreeSet<&str> = examples.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["marketTrade", "quotedPurchase", "quotedTrade", "with items"]));
    let others = &examples["with items"]["value"];
    assert!(others["items"].is_array() && others["quotedTrade"].is_null(), "{others}");
    let docs = edge.send("GET /docs", &[]).await.body;
    assert!(docs.contains("quotedPurchase<pre>") && !docs.contains("&quot;quantity&quot;: &quot;0&quot;"));
}

#[tokio::test]
async fn an_example_says_what_the_service_takes_too() {
    let document = support::start_platform().await.send("GET /openapi.json", &[]).await.json();
    let body =
        |path: &str, verb: &str| document["paths"][path][verb]["requestBody"]["content"]["application/json"].clone();
    let product = body("/api/v1/products", "post")["example"].clone();
    assert_eq!((&product["kind"], &product["name"]), (&json!("KIND_PHYSICAL_GOOD"), &json!("Enamel mug")));
    let trade = body("/api/v1/orders", "post")["examples"]["marketTrade"]["value"]["marketTrade"].clone();
    assert_eq!(trade["quantity"], json!({"value": "0.05", "unit": "BTC"}));
    let price = body("/api/v1/variants/{variant_id}/prices", "put")["example"].clone();
    assert!(price["etag"].is_string() && price["startTime"].is_null(), "a moment would be in the past: {price}");
    let update = body("/api/v1/products/{id}", "patch")["example"].clone();
    let names: Vec<&str> = update.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["name", "description", "category", "taxClass"]);
}
