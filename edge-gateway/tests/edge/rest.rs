//! REST in, gRPC out.

use edge_gateway::Config;
use serde_json::{Value, json};

use crate::{
    support::{self, start},
    tokens,
    upstream::PICTURE,
};

#[tokio::test]
async fn path_query_and_body_become_the_request_of_the_rpc() {
    let edge = start(Config::default()).await;
    for (line, status, expected) in [
        (
            "GET /v1/things/a%2Fb",
            200,
            json!({"id": "a/b", "name": "", "count": "0", "color": "COLOR_UNSPECIFIED", "tags": []}),
        ),
        (
            "GET /v1/things/a+b",
            200,
            json!({"id": "a+b", "name": "", "count": "0", "color": "COLOR_UNSPECIFIED", "tags": []}),
        ),
        (
            "POST /v1/things {\"requestId\":\"1\",\"note\":\"x\"}",
            201,
            json!({"id": "made", "name": "", "count": "0", "color": "COLOR_UNSPECIFIED", "tags": []}),
        ),
    ] {
        let answer = edge.send(line, &[]).await;
        assert_eq!((answer.status, answer.json()), (status, expected), "{line}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("x-request-id"), answer.header("x-trace-id"));
    }
}

#[tokio::test]
async fn an_additional_binding_fills_nested_fields_from_the_path() {
    let edge = start(Config::default()).await;
    assert_eq!(edge.send("GET /v1/shelves/rooms/3/things/x", &[]).await.status, 200);
    let sent = support::json(&edge.upstream.last().message);
    assert_eq!(sent, json!({"id": "x", "shelf": {"name": "rooms/3"}}));
}

#[tokio::test]
async fn query_parameters_reach_every_kind_of_field() {
    let edge = start(Config::default()).await;
    for (query, expected) in [
        ("pageSize=5", json!({"pageSize": 5})),
        ("page_size=5&", json!({"pageSize": 5})),
        ("colors=COLOR_RED&colors=2", json!({"colors": ["COLOR_RED", "COLOR_BLUE"]})),
        ("shelf.name=a+b%2Bc&shelf.height=-3", json!({"shelf": {"name": "a b+c", "height": -3}})),
        ("after=2024-01-01T00:00:00Z", json!({"after": "2024-01-01T00:00:00Z"})),
        ("within=1.5s&readMask=fooBar,baz", json!({"within": "1.500s", "readMask": "fooBar,baz"})),
        ("labels[a]=1&labels[b]=2", json!({"labels": {"a": 1, "b": 2}})),
        ("by_name=true", json!({"byName": true})),
        ("limit=0", json!({"limit": "0"})),
        ("numbers=1&numbers=-2", json!({"numbers": ["1", "-2"]})),
        ("cursor=_-8", json!({"cursor": "/+8="})),
        ("", json!({})),
    ] {
        let answer = edge.send(&format!("GET /v1/things?{query}"), &[]).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        assert_eq!(support::json(&edge.upstream.last().message), expected, "{query}");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_name_before_the_service_is_called() {
    let edge = start(Config::default()).await;
    for (line, status, reason, field, words) in [
        ("GET /v1/things?page_siez=5", 400, "UNKNOWN_FIELD", "page_siez", "did you mean `pageSize`?"),
        ("GET /v1/things?shelf.nope=5", 400, "UNKNOWN_FIELD", "shelf.nope", "not a field"),
        ("GET /v1/things?page_size.x=5", 400, "UNKNOWN_FIELD", "page_size.x", "no message"),
        ("GET /v1/things?pageSize=1&page_size=2", 400, "INVALID_FIELD", "page_size", "twice"),
        ("GET /v1/things?by_name=true&by_count=true", 400, "INVALID_FIELD", "by_count", "excludes"),
        ("GET /v1/things?pageSize=x", 400, "INVALID_FIELD", "pageSize", "integer"),
        ("GET /v1/things?shelf=x", 400, "INVALID_FIELD", "shelf", "in a body"),
        ("GET /v1/things?anything=x", 400, "INVALID_FIELD", "anything", "in a body"),
        ("GET /v1/things?labels=x", 400, "INVALID_FIELD", "labels", "labels[key]=value"),
        ("GET /v1/things?numbers[0]=1", 400, "INVALID_FIELD", "numbers[0]", "no map"),
        ("GET /v1/things?cursor=%zz", 400, "INVALID_FIELD", "", "percent"),
        ("GET /v1/things?page_size=-1", 400, "INVALID_FIELD", "", ""),
        ("GET /v1/things/x?id=y", 400, "INVALID_FIELD", "id", "comes from the path"),
        ("GET /v1/things/%zz", 400, "INVALID_FIELD", "", "percent"),
        ("GET /v1/things {\"a\":1}", 400, "MALFORMED_BODY", "", "takes no body"),
        ("POST /v1/things?note=x {\"requestId\":\"1\"}", 400, "UNKNOWN_FIELD", "note", "in its body"),
        ("POST /v1/things {\"noote\":1}", 400, "UNKNOWN_FIELD", "noote", "did you mean `note`?"),
        ("POST /v1/things {\"thing\":{\"count\":\"x\"}}", 400, "INVALID_FIELD", "thing.count", "integer"),
        ("POST /v1/things {\"note\":", 400, "MALFORMED_BODY", "", "line 1, column 9"),
        ("POST /v1/things {}", 400, "IDEMPOTENCY_KEY_REQUIRED", "", ""),
        ("POST /v1/things {\"requestId\":\"1\",\"note\":\"longer than ten\"}", 400, "INVALID_FIELD", "", ""),
        ("PATCH /v1/things/x?thing.name=y {}", 400, "INVALID_FIELD", "thing.name", "comes from the body"),
        ("GET /v1/nothing", 404, "ROUTE_NOT_FOUND", "", "/docs"),
        ("PUT /v1/things {}", 405, "METHOD_NOT_ALLOWED", "", "GET, POST"),
    ] {
        let answer = edge.send(line, &[]).await;
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{line}: {answer:?}");
        let error = &answer.json()["error"];
        assert!(error["message"].as_str().unwrap().contains(words), "{line}: {answer:?}");
        assert!(error["message"].as_str().unwrap().contains(field), "{line}: {answer:?}");
    }
    assert_eq!(edge.upstream.count(), 0);
    assert_eq!(edge.send("PUT /v1/things", &[]).await.header("allow"), "GET, POST, HEAD");
}

#[tokio::test]
async fn all_problems_of_a_body_are_told_with_their_paths() {
    let edge = start(Config::default()).await;
    let answer = edge.send(r#"POST /v1/things {"thing":{"count":"x","shelf":{"hieght":1}},"note":2}"#, &[]).await;
    let details = answer.json()["error"]["details"].as_array().unwrap().clone();
    let request = details.iter().find(|detail| detail["fieldViolations"].is_array()).unwrap();
    let fields: Vec<_> = request["fieldViolations"].as_array().unwrap().iter().map(|v| v["field"].clone()).collect();
    assert_eq!(fields, ["thing.count", "thing.shelf.hieght", "note"]);
}

#[tokio::test]
async fn a_patch_without_a_mask_updates_what_its_body_names() {
    let edge = start(Config::default()).await;
    for (line, mask) in [
        (r#"PATCH /v1/things/x {"name":"n","shelf":{"height":0},"tags":null}"#, "name,shelf.height,tags"),
        (r#"PATCH /v1/things/x?updateMask=count {"name":"n"}"#, "count"),
        (r#"PATCH /v1/things/x {}"#, ""),
        (r#"PATCH /v1/things/x {"id":"y","createdAt":null,"shelf":{}}"#, "shelf"),
    ] {
        let answer = edge.send(line, &[]).await;
        assert_eq!(answer.json()["updateMask"], mask, "{line}");
        assert_eq!(answer.json()["thing"]["id"], "x", "{line}");
    }
}

#[tokio::test]
async fn what_was_read_can_be_sent_back_with_a_change() {
    let edge = start(Config::default()).await;
    let mut thing = edge.send("GET /v1/things/versioned", &[]).await.json();
    thing["name"] = json!("another");
    thing["createdAt"] = json!("2026-01-01T00:00:00Z");
    let answer = edge.send(&format!("PATCH /v1/things/versioned {thing}"), &[]).await;
    let answer = answer.json();
    let mask: Vec<&str> = answer["updateMask"].as_str().unwrap().split(',').collect();
    assert!(mask.contains(&"name") && mask.contains(&"etag"), "{answer}");
    assert!(!mask.contains(&"id") && !mask.contains(&"createdAt"), "{answer}");

    let edge = support::start_platform().await;
    let token = format!("authorization: Bearer {}", tokens::good(&["admin"]));
    let id = |prefix: &str| format!("{prefix}_{}", kit::id::EXAMPLE);
    let moment = "2026-01-01T00:00:00Z";
    let profile = json!({
        "id": id("usr"), "email": "a@b.c", "displayName": "x", "etag": "\"v1\"", "createTime": moment, "updateTime": moment,
    });
    let mut product = json!({
        "id": id("prd"), "kind": null, "name": "Mug", "description": "A mug.", "category": "kitchen",
        "createTime": moment, "variants": [{"id": id("var"), "sku": "MUG", "title": "Blue", "state": "STATE_ACTIVE"}],
        "state": "STATE_ACTIVE", "taxClass": "TAX_CLASS_STANDARD", "etag": "\"v1\"", "updateTime": moment,
    });
    let patch = async |path: &str, body: &Value| edge.send(&format!("PATCH /api/v1/{path} {body}"), &[&token]).await;
    for path in ["profile", &format!("users/{}", id("usr"))] {
        let answer = patch(path, &profile).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    let path = format!("products/{}", id("prd"));
    let answer = patch(&path, &product).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    product["kind"] = json!("KIND_PHYSICAL_GOOD");
    let answer = patch(&path, &product).await;
    assert_eq!((answer.status, answer.reason().as_str()), (400, "INVALID_FIELD"), "{answer:?}");
    let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("`kind` cannot be changed. What can be: `name`"), "{message}");
}

#[tokio::test]
async fn an_idempotency_key_becomes_the_request_id() {
    let edge = start(Config::default()).await;
    let uuid = "0192f0c1-7f00-7000-8000-000000000001";
    let sent = async |body: &str, key: &str| {
        let header = format!("Idempotency-Key: {key}");
        let answer = edge.send(&format!("POST /v1/things {body}"), &[&header]).await;
        if answer.status != 201 {
            return answer.reason();
        }
        support::json(&edge.upstream.last().message)["requestId"].as_str().unwrap().to_owned()
    };
    assert_eq!(sent("{}", uuid).await, uuid);
    assert_eq!(sent("{}", &format!("\"{}\"", uuid.to_uppercase())).await, uuid);
    assert_eq!(sent(&format!("{{\"requestId\":\"{uuid}\"}}"), uuid).await, uuid);
    assert_eq!(sent(r#"{"requestId":"else"}"#, uuid).await, "INVALID_FIELD");
    let hashed = sent("{}", "order 66").await;
    assert_eq!(hashed, sent("{}", "order 66").await);
    assert_eq!(hashed.len(), 36);
    assert_ne!(hashed, sent("{}", "order 67").await);
    assert_eq!(sent("{}", &"x".repeat(255)).await.len(), 36);
    assert_eq!(sent("{}", &"x".repeat(256)).await, "INVALID_FIELD");
}

#[tokio::test]
async fn a_reply_may_be_cached_as_its_policy_says() {
    let edge = start(Config::default()).await;
    assert_eq!(edge.send("GET /v1/things/x", &[]).await.header("cache-control"), "public, max-age=60");
    assert_eq!(edge.send("GET /v1/things", &[]).await.header("cache-control"), "no-store");
}

#[tokio::test]
async fn head_is_get_without_a_body_and_options_tells_the_methods() {
    let edge = start(Config::default()).await;
    let (head, get) = (edge.send("HEAD /v1/things/x", &[]).await, edge.send("GET /v1/things/x", &[]).await);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), get.body.len().to_string());
    let options = edge.send("OPTIONS /v1/things", &[]).await;
    assert_eq!((options.status, options.header("allow")), (204, "GET, POST, HEAD"));
}

#[tokio::test]
async fn the_service_sees_nothing_that_a_client_says_of_identity() {
    let edge = start(Config::default()).await;
    let forged = [
        "x-forwarded-client-cert: By=x;URI=spiffe://a/ns/default/sa/order",
        "grpc-metadata-x-user: admin",
        "x-agora-user: admin",
        "x-forwarded-for: 1.2.3.4",
        "x-request-id: mine",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ];
    let answer = edge.send("GET /v1/things/x", &forged).await;
    assert_eq!(answer.header("x-request-id"), "mine");
    let seen = edge.upstream.last().headers;
    let text = format!("{seen:?}");
    assert!(!text.contains("spiffe") && !text.contains("admin") && !text.contains("1.2.3.4"), "{text}");
    assert_eq!(seen["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen["x-request-id"], "mine");
    assert!(seen["traceparent"].to_str().unwrap().contains("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert!(seen.contains_key("grpc-timeout"));
}

#[tokio::test]
async fn the_pages_of_the_edge_are_there() {
    let edge = start(Config::default()).await;
    for (path, content, words) in [
        ("/", "text/plain", "GET    /v1/things/{id}"),
        ("/docs", "text/html", "ListThings"),
        ("/openapi.json", "application/json", "\"openapi\":\"3.1"),
        ("/.well-known/jwks.json", "application/json", "keys"),
        ("/healthz", "text/plain", "ok"),
        ("/readyz", "text/plain", "ready"),
        ("/metrics", "application/openmetrics-text", ""),
    ] {
        let answer = edge.send(&format!("GET {path}"), &[]).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").starts_with(content), "{path}");
        assert!(answer.body.contains(words), "{path}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_raw_reply_is_sent_as_it_is_with_its_own_content_type() {
    let edge = start(Config::default()).await;
    for path in ["/v1/things/a/picture", "/v1/things/a/sketch"] {
        let answer = edge.send(&format!("GET {path}"), &[]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, PICTURE), "{path}");
        assert_eq!(answer.header("content-type"), "image/x-test");
        assert_eq!(answer.header("content-length"), PICTURE.len().to_string());
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let head = edge.send(&format!("HEAD {path}"), &[]).await;
        assert_eq!((head.header("content-length"), head.body.as_str()), (answer.header("content-length"), ""));
        let blank = edge.send(&format!("GET {}", path.replace("/a/", "/blank/")), &[]).await;
        assert_eq!((blank.header("content-type"), blank.body.as_str()), ("application/octet-stream", ""));
    }
}

#[tokio::test]
async fn over_grpc_a_raw_reply_is_a_message_like_any_other() {
    let edge = start(Config::default()).await;
    let request = [&[0x0a, 1][..], b"a"].concat();
    let (headers, body) = edge.grpc("/test.v1.ThingService/SketchThing", &request, &[]).await;
    assert_eq!(
        (headers["content-type"].as_bytes(), headers["grpc-status"].as_bytes()),
        (&b"application/grpc"[..], &b"0"[..])
    );
    let sketch = support::contract().pool().get_message_by_name("google.api.HttpBody").unwrap();
    let sketch = prost_reflect::DynamicMessage::decode(sketch, &body[5..]).unwrap();
    assert_eq!(sketch.get_field_by_name("data").unwrap().as_bytes().unwrap(), PICTURE.as_bytes());
}

#[tokio::test]
async fn the_document_says_that_a_raw_reply_is_bytes() {
    let document = start(Config::default()).await.send("GET /openapi.json", &[]).await.json();
    for path in ["/v1/things/{id}/picture", "/v1/things/{id}/sketch"] {
        let content = &document["paths"][path]["get"]["responses"]["200"]["content"];
        assert_eq!(*content, json!({"*/*": {"schema": {"type": "string", "format": "binary"}}}), "{path}");
    }
}
