//! A REST caller is told of fields in the names that it knows, a gRPC caller in those of the contract.

use edge_gateway::Config;
use kit::contract::{self, Contract};
use prost_reflect::DynamicMessage;
use serde_json::Value;

use crate::support::{self, start};

fn violations(error: &Value) -> Vec<Value> {
    let details = error["error"]["details"].as_array().unwrap();
    let request = details.iter().find(|detail| detail["fieldViolations"].is_array()).unwrap();
    request["fieldViolations"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_rest_caller_is_told_where_in_its_own_request_something_is_wrong() {
    let edge = start(Config::default()).await;
    for (line, field) in [
        ("POST /v1/things {\"requestId\":\"1\",\"thing\":{\"shelf\":{\"roomName\":\"x\"}}}", "thing.shelf.roomName"),
        ("PATCH /v1/things/x {\"shelf\":{\"roomName\":\"x\"}}", "shelf.roomName"),
        ("GET /v1/things?shelf.room_name=x", "shelf.roomName"),
        ("GET /v1/things?page_size=-1", "pageSize"),
    ] {
        let error = edge.send(line, &[]).await.json();
        assert_eq!(violations(&error)[0]["field"], field, "{line}: {error}");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(&format!(": {field} must")) && !message.contains('_'), "{line}: {message}");
    }
    assert_eq!(edge.upstream.count(), 0);
}

#[tokio::test]
async fn what_a_service_says_of_fields_is_told_in_the_same_names() {
    let edge = start(Config::default()).await;
    let answer = edge.send("GET /v1/things/violated", &[]).await;
    let error = answer.json();
    assert_eq!(
        (answer.reason().as_str(), &violations(&error)[0]["field"]),
        ("INVALID_FIELD", &"shelf.roomName".into())
    );
    assert_eq!(error["error"]["message"], "Correct the request: shelf.roomName is wrong.");
    let info = &error["error"]["details"][0];
    assert_eq!(info["metadata"]["field"], "shelf.roomName", "{error}");
}

#[tokio::test]
async fn a_sentence_of_a_service_names_fields_of_the_request_as_its_caller_does() {
    let edge = start(Config::default()).await;
    let error = edge.send("GET /v1/things/named", &[]).await.json();
    // The request of this RPC has a room, and no token.
    assert_eq!(error["error"]["message"], "Say another `roomName`, and keep its page_token.");
}

#[tokio::test]
async fn a_grpc_caller_is_told_the_path_of_the_contract() {
    let edge = start(Config::default()).await;
    let line = "POST /v1/things {\"requestId\":\"1\",\"thing\":{\"shelf\":{\"roomName\":\"ATT\"}}}";
    edge.send(line, &[]).await;
    let mut sent = prost_reflect::prost::Message::encode_to_vec(&edge.upstream.last().message);
    let at = sent.windows(3).position(|part| part == b"ATT").unwrap();
    sent[at] = b'a';
    let (headers, _) = edge.grpc("/test.v1.ThingService/CreateThing", &sent, &[]).await;
    assert!(headers["grpc-message"].to_str().unwrap().contains("thing.shelf.room_name"), "{headers:?}");
}

/// Whether rules, or rules within them, state one with this name.
fn states(rules: &DynamicMessage, name: &str) -> bool {
    rules
        .fields()
        .any(|(rule, value)| rule.name() == name || value.as_message().is_some_and(|rules| states(rules, name)))
}

#[tokio::test]
async fn no_rule_is_told_as_a_regular_expression() {
    let edge = start(Config::default()).await;
    let error = edge.send("PATCH /v1/things/x {\"shelf\":{\"roomName\":\"x\"}}", &[]).await.json();
    assert_eq!(violations(&error)[0]["description"], "must be like `ATT`");
    let pool = Contract::parse(&support::platform()).unwrap().pool().clone();
    let messages = pool.all_messages().filter(|message| message.package_name().starts_with("agora."));
    for field in messages.flat_map(|message| message.fields().collect::<Vec<_>>()) {
        let rules = contract::option(&field.options(), "buf.validate.field");
        let says = |name| rules.as_ref().and_then(|rules| rules.as_message()).is_some_and(|rules| states(rules, name));
        assert!(!says("pattern") || says("example"), "{} has a pattern and no example", field.full_name());
    }
}
