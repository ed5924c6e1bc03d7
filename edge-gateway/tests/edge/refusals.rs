//! Every error has a reason, a status, a sentence and a trace id, whoever raised it and however it is asked for.

use std::time::Duration;

use edge_gateway::Config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    support::{self, SOON, start},
    tokens,
};

#[tokio::test]
async fn an_error_of_a_service_keeps_its_meaning() {
    let edge = start(Config::default()).await;
    for (id, http, status, reason, domain, words) in [
        ("missing", 404, "NOT_FOUND", "RESOURCE_NOT_FOUND", "agora", "no such thing"),
        ("busy", 503, "UNAVAILABLE", "OVERLOADED", "agora", "Come back"),
        ("bare", 404, "NOT_FOUND", "NOT_FOUND", "test.v1.agora", "no thing"),
        ("boom", 500, "INTERNAL", "INTERNAL", "test.v1.agora", "trace id"),
        ("quota", 429, "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", "test.v1.agora", "too many"),
        ("gone", 503, "UNAVAILABLE", "DEPENDENCY_UNAVAILABLE", "test.v1.agora", ""),
    ] {
        let answer = edge.send(&format!("GET /v1/things/{id}"), &[]).await;
        assert_eq!((answer.status, answer.reason().as_str()), (http, reason), "{id}: {answer:?}");
        let error = &answer.json()["error"];
        assert_eq!((error["code"].as_u64(), error["status"].as_str()), (Some(http.into()), Some(status)), "{id}");
        assert!(error["message"].as_str().unwrap().contains(words), "{id}: {answer:?}");
        assert!(!answer.body.contains("hunter2"));
        let details = error["details"].as_array().unwrap();
        let info = details.iter().find(|detail| detail["reason"] == reason).unwrap();
        assert!(info["domain"].as_str().unwrap().ends_with(domain), "{id}: {answer:?}");
        assert!(details.iter().any(|detail| detail["requestId"].as_str().is_some_and(|id| id.len() == 32)), "{id}");

        let problem = edge.send(&format!("GET /v1/things/{id}"), &["accept: application/problem+json"]).await;
        assert_eq!(problem.header("content-type"), "application/problem+json");
        let object = problem.json();
        assert_eq!((problem.status, object["reason"].as_str()), (http, Some(reason)));
        assert_eq!(object["instance"], format!("/v1/things/{id}"));
        assert_eq!(object["traceId"].as_str().unwrap().len(), 32);
    }
}

#[tokio::test]
async fn a_refusal_says_what_could_be_sent_instead() {
    let edge = support::start_platform().await;
    let token = format!("authorization: Bearer {}", tokens::good(&["admin"]));
    let id = |prefix: &str| format!("{prefix}_{}", kit::id::EXAMPLE);
    let (order, product, variant) = (id("ord"), id("prd"), id("var"));
    let price = r#"{"amount":{"value":"1","unit":"USD"}}"#;
    let object = "The body must be a JSON object, such as `{}`.";
    for (line, header, status, reason, words) in [
        (
            format!("PATCH /api/v1/products/{product} {{\"name\":\"Mug\",\"kind\":\"KIND_ASSET\",\"variants\":[]}}"),
            "x: y",
            400,
            "INVALID_FIELD",
            "`kind` cannot be changed. What can be: `name`, `description`, `category`, `taxClass`.",
        ),
        (
            r#"POST /api/v1/products {"kind":"KIND_ASSET","name":"M","category":"c","variants":[{"sku":"AB"}]}"#
                .to_owned(),
            "x: y",
            400,
            "INVALID_FIELD",
            "kind must be one of `KIND_PHYSICAL_GOOD`, `KIND_DIGITAL_GOOD`",
        ),
        (
            format!("PUT /api/v1/variants/{variant}/prices {price}"),
            "if-match: *",
            400,
            "INVALID_FIELD",
            "`If-Match: *` is not enough here. Send the etag that was read, in its quotes. The etag of the variant's product",
        ),
        (
            format!("PUT /api/v1/variants/{variant}/prices {price}"),
            "if-match: v3",
            400,
            "INVALID_FIELD",
            "`If-Match` must be one etag, in its quotes.",
        ),
        ("POST /api/v1/users []".to_owned(), "x: y", 400, "MALFORMED_BODY", object),
        ("POST /api/v1/users null".to_owned(), "x: y", 400, "MALFORMED_BODY", object),
        (
            "POST /api/v1/users email=1".to_owned(),
            "x: y",
            400,
            "MALFORMED_BODY",
            "read: expected a value at line 1, column 1. It must be a JSON object, such as `{}`.",
        ),
        (
            "GET /api/v1/variants/x/prices?size=5".to_owned(),
            "x: y",
            400,
            "UNKNOWN_FIELD",
            "`size` is not a field here.",
        ),
        (
            "GET /api/v1/promotions?page_siez=5".to_owned(),
            "x: y",
            400,
            "UNKNOWN_FIELD",
            "`page_siez` is not a field here; did you mean `pageSize`? Known here: `pageSize`, `pageToken`.",
        ),
        (
            r#"POST /api/v1/users {"mail":"a@b.c"}"#.to_owned(),
            "x: y",
            400,
            "UNKNOWN_FIELD",
            "did you mean `email`? Known here: `email`, `password`, `displayName`.",
        ),
        (
            format!("GET /api/v1/orders/{order}:foo"),
            "x: y",
            404,
            "ROUTE_NOT_FOUND",
            "There is no verb `:foo` of /api/v1/orders/",
        ),
        (format!("POST /api/v1/orders/{order}:cancle {{}}"), "x: y", 404, "ROUTE_NOT_FOUND", "Did you mean `:cancel`?"),
        (format!("GET /api/v1/orders/{order}:cancel"), "x: y", 405, "METHOD_NOT_ALLOWED", "takes POST, and not GET"),
        (format!("POST /api/v1/orders/{order}:watch {{}}"), "x: y", 405, "METHOD_NOT_ALLOWED", "takes GET, HEAD, and"),
        ("GET /api/v1/products:find".to_owned(), "x: y", 404, "ROUTE_NOT_FOUND", "Known here: `:search`."),
        ("GET /api/v1/orders/nonsense:foo".to_owned(), "x: y", 400, "INVALID_ID", "must be an id such as"),
    ] {
        let answer = edge.send(&line, &[&token, header]).await;
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{line}: {answer:?}");
        let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(words), "{line}: {message}");
        assert!(!answer.body.contains("\"field\":\"\""), "{line}: {answer:?}");
    }
    let guarded = format!("PUT /api/v1/variants/{variant}/prices {price}");
    assert_eq!(edge.send(&guarded, &[&token, "if-match: \"v3\""]).await.status, 200);
}

#[tokio::test]
async fn an_unknown_detail_harms_no_other_and_debug_info_stays_inside() {
    let edge = start(Config::default()).await;
    let answer = edge.send("GET /v1/things/busy", &[]).await;
    let details = answer.json()["error"]["details"].as_array().unwrap().clone();
    let unknown = details.iter().find(|detail| detail["@type"] == "type.googleapis.com/none.Such").unwrap();
    assert_eq!(unknown["value"], "AQID");
    assert!(!answer.body.contains("DebugInfo"));
    assert_eq!(answer.header("retry-after"), "2");
    assert!(details.iter().any(|detail| detail["retryDelay"] == "1.500s"), "{answer:?}");
}

#[tokio::test]
async fn who_may_not_call_is_told_why() {
    let edge = start(Config::default()).await;
    let answer = edge.send("GET /v1/own", &[]).await;
    assert_eq!((answer.status, answer.reason().as_str()), (401, "TOKEN_MISSING"));
    assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"agora\"");
    assert!(answer.body.contains("test.v1.agora"), "the domain is that of the RPC: {}", answer.body);
    for header in ["authorization: Bearer nonsense", "authorization: Basic YTpi", "authorization: Bearer"] {
        for path in ["/v1/own", "/v1/keep", "/v1/things/x"] {
            let answer = edge.send(&format!("GET {path}"), &[header]).await;
            assert_eq!((answer.status, answer.reason().as_str()), (401, "TOKEN_INVALID"), "{path} {header}");
            assert!(answer.header("www-authenticate").contains("invalid_token"));
        }
    }
    let (headers, _) = edge.grpc("/test.v1.ThingService/ServeThing", &[], &[]).await;
    assert_eq!(headers["grpc-status"], "7");
    assert_eq!(edge.upstream.count(), 0);
}

#[tokio::test]
async fn a_token_opens_what_its_roles_may_call_and_travels_on() {
    let edge = start(Config::default()).await;
    let bearer = |token: String| format!("authorization: Bearer {token}");
    let (user, keeper) = (bearer(tokens::good(&[])), bearer(tokens::good(&["keeper"])));
    for (path, header, status, reason) in [
        ("/v1/own", &user, 200, ""),
        ("/v1/own", &keeper, 200, ""),
        ("/v1/keep", &user, 403, "ROLE_REQUIRED"),
        ("/v1/keep", &keeper, 200, ""),
        ("/v1/own", &bearer(tokens::expired()), 401, "TOKEN_EXPIRED"),
        ("/v1/own", &bearer(tokens::revoked()), 401, "TOKEN_REVOKED"),
        ("/v1/own", &bearer(tokens::forged()), 401, "TOKEN_INVALID"),
    ] {
        let answer = edge.send(&format!("GET {path}"), &[header]).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        if !reason.is_empty() {
            assert_eq!(answer.reason(), reason);
        }
    }
    edge.send("GET /v1/own", &[&keeper]).await;
    let sent = edge.upstream.last().headers["authorization"].to_str().unwrap().to_owned();
    assert_eq!(format!("authorization: {sent}"), keeper);
    let token = keeper.trim_start_matches("authorization: ");
    let (headers, _) = edge.grpc("/test.v1.ThingService/KeepThing", &[], &[("authorization", token)]).await;
    assert_eq!(headers["grpc-status"], "0");
    assert_eq!(edge.upstream.last().headers["authorization"], token);
    assert_eq!(edge.send("GET /v1/things/x", &[&user]).await.header("cache-control"), "private, max-age=60");
}

#[tokio::test]
async fn a_caller_is_slowed_down_and_told_for_how_long() {
    let edge = start(Config::default()).await;
    let first = edge.send("GET /v1/rare", &[]).await;
    assert_eq!(first.header("ratelimit-policy"), "\"rpc\";q=2;w=60");
    assert_eq!(first.header("ratelimit"), "\"rpc\";r=1;t=30");
    assert_eq!(edge.send("GET /v1/rare", &[]).await.status, 200);
    let third = edge.send("GET /v1/rare", &[]).await;
    assert_eq!((third.status, third.reason().as_str()), (429, "RATE_LIMITED"));
    assert!((29..=30).contains(&third.header("retry-after").parse::<u64>().unwrap()));
    assert_eq!(edge.send("GET /v1/things/x", &[]).await.status, 200, "another RPC has its own allowance");
    let unlimited = start(Config { rate_limited: false, ..Config::default() }).await;
    for _ in 0..5 {
        assert_eq!(unlimited.send("GET /v1/rare", &[]).await.status, 200);
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_before_it_is_read() {
    let edge = start(Config { body_max: 1000, ..Config::default() }).await;
    let fits = format!("{{\"requestId\":\"{}\"}}", "x".repeat(900));
    assert_eq!(edge.send(&format!("POST /v1/things {fits}"), &[]).await.status, 201);
    // Stated: nothing of it is read.
    let head = "POST /v1/things HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 1001\r\n\r\n";
    let answer = edge.raw(head.as_bytes()).await;
    assert_eq!((answer.status, answer.reason().as_str()), (413, "BODY_TOO_LARGE"));
    // In chunks: no more than the limit is read.
    let mut chunked =
        "POST /v1/things HTTP/1.1\r\nhost: test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    for _ in 0..11 {
        chunked += &format!("64\r\n{}\r\n", "x".repeat(100));
    }
    let answer = edge.raw(chunked.as_bytes()).await;
    assert_eq!((answer.status, answer.reason().as_str()), (413, "BODY_TOO_LARGE"));
    let gzip = edge.send("POST /v1/things {}", &["content-encoding: gzip"]).await;
    assert_eq!(gzip.reason(), "MALFORMED_BODY");
    let (headers, _) = edge.grpc("/test.v1.ThingService/CreateThing", &[0; 1100], &[]).await;
    assert_eq!(headers["grpc-status"], "3");
}

#[tokio::test]
async fn a_call_ends_at_the_sooner_of_two_deadlines() {
    let edge = start(Config::default()).await;
    let answer = edge.send("GET /v1/slow", &[]).await;
    assert_eq!((answer.status, answer.reason().as_str()), (504, "DEADLINE_EXCEEDED"));
    let answer = edge.send("GET /v1/slow", &["grpc-timeout: 1m"]).await;
    assert_eq!(answer.reason(), "DEADLINE_EXCEEDED");
    assert_eq!(answer.json()["error"]["message"], "Time ran out. Repeat it.");
    edge.send("GET /v1/things/x", &["x-server-timeout: 0.2"]).await;
    let sent = edge.upstream.last().headers["grpc-timeout"].to_str().unwrap().to_owned();
    assert!(kit::timeout::parse(&sent).unwrap() <= Duration::from_millis(200), "{sent}");
    edge.send("GET /v1/things/x", &["grpc-timeout: 99H"]).await;
    let sent = edge.upstream.last().headers["grpc-timeout"].to_str().unwrap().to_owned();
    assert!(kit::timeout::parse(&sent).unwrap() <= Duration::from_secs(10), "{sent}");
    for wrong in ["grpc-timeout: 10", "grpc-timeout: 123456789S", "x-server-timeout: soon"] {
        assert_eq!(edge.send("GET /v1/things/x", &[wrong]).await.reason(), "INVALID_FIELD", "{wrong}");
    }
}

#[tokio::test]
async fn nonsense_on_the_wire_gets_an_answer_or_a_closed_connection() {
    let edge = start(Config::default()).await;
    for text in ["\r\n\r\n", "GET\r\n\r\n", "GET /v1/things HTTP/9.9\r\n\r\n", "\u{0}\u{1}\u{2}"] {
        let mut stream = TcpStream::connect(edge.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
    }
    let long = format!("GET /v1/things?x={} HTTP/1.1\r\nhost: test\r\n\r\n", "x".repeat(100_000));
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    let _ = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(edge.send("GET /v1/things/x", &[]).await.status, 200);
}
