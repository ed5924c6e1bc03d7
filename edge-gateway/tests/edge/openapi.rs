//! The document says what the routes do.

use std::collections::HashSet;

use edge_gateway::{Config, Edge};
use kit::contract::Contract;
use serde_json::Value;

use crate::{
    support::{self, start},
    tokens,
    upstream::Upstream,
};

async fn document() -> Value {
    start(Config::default()).await.send("GET /openapi.json", &[]).await.json()
}

fn walk(value: &Value, each: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            each(key, value);
            walk(value, each);
        }),
        Value::Array(values) => values.iter().for_each(|value| walk(value, each)),
        _ => {}
    }
}

#[tokio::test]
async fn every_reference_is_resolved_and_every_operation_id_is_its_own() {
    let document = document().await;
    let (mut ids, mut references) = (HashSet::new(), 0);
    walk(&document, &mut |key, value| match key {
        "operationId" => assert!(ids.insert(value.clone()), "{value}"),
        "$ref" => {
            references += 1;
            let pointer = value.as_str().unwrap().trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{value}");
        }
        _ => {}
    });
    assert_eq!(ids.len(), 13);
    assert!(references > 20);
}

#[tokio::test]
async fn an_operation_tells_its_parameters_body_and_policy() {
    let document = document().await;
    let list = &document["paths"]["/v1/things"]["get"];
    let names: Vec<&str> = list["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(
        names,
        [
            "pageSize",
            "colors",
            "shelf.name",
            "shelf.height",
            "shelf.roomName",
            "after",
            "within",
            "readMask",
            "labels",
            "byName",
            "byCount",
            "limit",
            "numbers",
            "cursor"
        ]
    );
    assert_eq!(list["parameters"][0]["schema"]["minimum"], 0);
    let create = &document["paths"]["/v1/things"]["post"];
    assert_eq!(create["parameters"][0]["name"], "Idempotency-Key");
    assert!(create["responses"]["201"].is_object());
    let nested = &document["paths"]["/v1/shelves/rooms/{shelf.name}/things/{id}"]["get"];
    assert_eq!(nested["operationId"], "ThingService_GetThing_2");
    // The same path as that of GET, so by the same name.
    let patch = &document["paths"]["/v1/things/{id}"]["patch"];
    assert_eq!(patch["parameters"][0]["name"], "id");
    let body = &patch["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["$ref"], "#/components/schemas/test.v1.Thing");
    let watch = &document["paths"]["/v1/things/{id}:watch"]["get"];
    assert!(watch["responses"]["200"]["content"]["text/event-stream"].is_object());
    assert_eq!(document["paths"]["/v1/own"]["get"]["security"][0]["bearer"], serde_json::json!([]));
    let thing = &document["components"]["schemas"]["test.v1.Thing"]["properties"];
    assert_eq!((&thing["count"]["type"], &thing["count"]["format"]), (&"string".into(), &"int64".into()));
    assert_eq!(thing["createdAt"]["readOnly"], true);
    assert_eq!(thing["name"]["description"], "What it is called.");
    let note = &document["components"]["schemas"]["test.v1.CreateThingRequest"]["properties"]["note"];
    assert_eq!(note["maxLength"], 10);
    let reasons = &document["components"]["schemas"]["Reason"]["examples"];
    assert!(reasons.as_array().unwrap().contains(&"TOKEN_EXPIRED".into()));
}

#[tokio::test]
async fn an_operation_tells_which_conditions_it_knows() {
    let document = document().await;
    let known = |path: &str, verb: &str| {
        let operation = &document["paths"][path][verb];
        let parameters = operation["parameters"].as_array().unwrap();
        let headers = parameters.iter().filter(|parameter| parameter["in"] == "header");
        let names: Vec<&str> = headers.filter_map(|parameter| parameter["name"].as_str()).collect();
        let statuses = ["304", "412"].into_iter().filter(|status| operation["responses"][status].is_object());
        (names, statuses.collect::<Vec<_>>(), operation["responses"]["200"]["headers"]["ETag"].is_object())
    };
    assert_eq!(known("/v1/things/{id}", "get"), (vec!["If-Match", "If-None-Match"], vec!["304", "412"], true));
    assert_eq!(known("/v1/things/{id}", "patch"), (vec!["If-Match"], vec!["412"], false));
    assert_eq!(known("/v1/things/{id}", "delete"), (vec!["If-Match"], vec!["412"], false));
    assert_eq!(known("/v1/things", "get"), (vec![], vec![], false));
}

/// Why an edge does not start in front of a service with these routes.
fn refusal(routes: &str) -> String {
    support::contract();
    let source = format!(
        "syntax = \"proto3\"; package bad.v1; import \"google/api/annotations.proto\";
         message M {{ string id = 1; repeated string ids = 2; M inner = 3; string name = 4; map<string, string> labels = 5; }}
         service Bad {{ {routes} }}"
    );
    let contract = support::compile(&source);
    let edge = Contract::parse(&contract).map_err(|error| error.to_string()).and_then(|contract| {
        let upstream = Upstream::new().link();
        Edge::new(contract.into(), upstream, tokens::verifier(), Config::default()).map_err(|error| error.to_string())
    });
    edge.err().unwrap_or_default()
}

#[test]
fn every_route_of_this_repository_can_be_served() {
    let contract = Contract::parse(&support::platform()).unwrap();
    let upstream = Upstream::new().link();
    assert!(contract.methods().any(|method| !method.http.is_empty()));
    Edge::new(contract.into(), upstream, tokens::verifier(), Config::default()).unwrap();
}

#[test]
fn an_edge_does_not_start_with_routes_that_cannot_work() {
    let route =
        |name: &str, rule: &str| format!("rpc {name}(M) returns (M) {{ option (google.api.http) = {{ {rule} }}; }}\n");
    for (rules, words) in [
        (vec!["get: \"/v1/{id}\""], ""),
        (vec!["get: \"/v1/{id}\"", "get: \"/v1/{name}\""], "means the same requests as /v1/{id}"),
        (vec!["get: \"/a/**\"", "get: \"/a\"", "get: \"/a/*/**\""], "leave it no request"),
        (vec!["get: \"/v1/{nope}\""], "`{nope}` is not a field here"),
        (vec!["get: \"/v1/{ids}\""], "repeated"),
        (vec!["get: \"/v1/{labels}\""], "repeated"),
        (vec!["get: \"/v1/{inner}\""], "is a message"),
        (vec!["get: \"/v1/{inner.id.x}\""], "no message"),
        (vec!["get: \"/v1/{id\""], "`}` is missing at character 8"),
        (vec!["get: \"/metrics\""], "itself"),
        (vec!["get: \"/v1\" body: \"*\""], "GET has none"),
        (vec!["post: \"/v1\" body: \"nope\""], "no field `nope`"),
        (vec!["post: \"/v1/{id}\" body: \"id\""], "in the path already"),
        (vec!["post: \"/v1\" body: \"*\" response_body: \"nope\""], "the reply has no field `nope`"),
    ] {
        let routes: String = rules.iter().enumerate().map(|(at, rule)| route(&format!("R{at}"), rule)).collect();
        let refusal = refusal(&routes);
        assert!(refusal.contains(words) && refusal.is_empty() == words.is_empty(), "{rules:?}: {refusal}");
    }
    let streaming = "rpc S(stream M) returns (M) { option (google.api.http) = { post: \"/s\" body: \"*\" }; }";
    assert!(refusal(streaming).contains("no REST form"));
}
