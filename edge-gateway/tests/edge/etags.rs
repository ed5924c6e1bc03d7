//! A lost update is refused by `If-Match`, and what a caller has already is not sent again.

use edge_gateway::Config;
use serde_json::json;

use crate::support::{self, start};

#[tokio::test]
async fn a_reply_that_shows_a_resource_with_an_etag_has_it_as_a_header() {
    let edge = start(Config::default()).await;
    let answer = edge.send("GET /v1/things/versioned", &[]).await;
    assert!(answer.header("etag").starts_with("\"v3~"), "{answer:?}");
    assert_eq!(answer.json()["etag"], "\"v3\"");
    for line in ["GET /v1/things/x", "GET /v1/things", "GET /v1/things/versioned/picture"] {
        assert_eq!(edge.send(line, &[]).await.header("etag"), "", "{line}");
    }
}

#[tokio::test]
async fn if_match_fills_the_etag_of_the_request() {
    let edge = start(Config::default()).await;
    let tag = edge.send("GET /v1/things/versioned", &[]).await.header("etag").to_owned();
    for (line, header, expected) in [
        ("DELETE /v1/things/x", "if-match: \"v3\"", json!({"id": "x", "etag": "\"v3\""})),
        ("DELETE /v1/things/x?etag=%22v3%22", "if-match: \"v3\"", json!({"id": "x", "etag": "\"v3\""})),
        ("DELETE /v1/things/x", &format!("if-match: {tag}"), json!({"id": "x", "etag": "\"v3\""})),
        ("DELETE /v1/things/x", "if-match: *", json!({"id": "x"})),
        (
            "PATCH /v1/things/x {\"name\":\"n\"}",
            &format!("if-match: {tag}"),
            json!({"thing": {"id": "x", "name": "n", "etag": "\"v3\""}, "updateMask": "name"}),
        ),
        (
            "PATCH /v1/things/x {\"etag\":\"\\\"v3\\\"\"}",
            "if-match: \"v3\"",
            json!({"thing": {"id": "x", "etag": "\"v3\""}, "updateMask": "etag"}),
        ),
    ] {
        let answer = edge.send(line, &[header]).await;
        assert_eq!(answer.status, 200, "{line} {header}: {answer:?}");
        assert_eq!(support::json(&edge.upstream.last().message), expected, "{line} {header}");
    }
}

#[tokio::test]
async fn an_if_match_that_cannot_be_kept_is_refused_before_the_service_is_called() {
    let edge = start(Config::default()).await;
    for (line, headers) in [
        ("DELETE /v1/things/x?etag=%22v2%22", &["if-match: \"v3\""][..]),
        ("PATCH /v1/things/x {\"etag\":\"\\\"v2\\\"\"}", &["if-match: \"v3\""]),
        ("DELETE /v1/things/x", &["if-match: v3"]),
        ("DELETE /v1/things/x", &["if-match: \"v2\", \"v3\""]),
        ("DELETE /v1/things/x", &["if-match: \"v2\"", "if-match: \"v3\""]),
        ("DELETE /v1/things/x", &["if-match:"]),
        ("PATCH /v1/things/x {\"name\":\"n\"}", &["if-match: ,"]),
        ("POST /v1/things {\"requestId\":\"1\"}", &["if-match:"]),
        ("GET /v1/things/versioned", &["if-match:"]),
        ("GET /v1/things/versioned", &["if-match: ,"]),
        ("GET /v1/things", &["if-match: ,"]),
        ("POST /v1/things {\"requestId\":\"1\"}", &["if-match: \"v3\""]),
    ] {
        let answer = edge.send(line, headers).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "INVALID_FIELD"), "{line}: {answer:?}");
        assert!(answer.body.contains("If-Match"), "{answer:?}");
    }
    assert_eq!(edge.upstream.count(), 0);
}

#[tokio::test]
async fn an_if_none_match_on_a_change_is_refused_before_the_service_is_called() {
    let edge = start(Config::default()).await;
    for (line, header, guarded) in [
        ("DELETE /v1/things/x", "if-none-match: \"v3\"", true),
        ("PATCH /v1/things/x {\"name\":\"n\"}", "if-none-match: *", true),
        ("POST /v1/things {\"requestId\":\"1\"}", "if-none-match: *", false),
    ] {
        let answer = edge.send(line, &[header]).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "INVALID_FIELD"), "{line}: {answer:?}");
        let text = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(text.contains("`If-None-Match`") && text.contains("Leave it out"), "{text}");
        assert_eq!(text.contains("`If-Match`"), guarded, "{line}: {text}");
    }
    assert_eq!(edge.upstream.count(), 0);
}

#[tokio::test]
async fn another_version_is_412_with_if_match_and_409_with_an_etag_in_the_request() {
    let edge = start(Config::default()).await;
    for (line, headers, status) in [
        ("DELETE /v1/things/x", &["if-match: \"v2\""][..], 412),
        ("DELETE /v1/things/x?etag=%22v2%22", &[], 409),
        ("DELETE /v1/things/x?etag=%22v2%22", &["if-match: *"], 409),
        ("DELETE /v1/things/x?etag=%22v2%22", &["if-match: \"v2\""], 412),
        ("PATCH /v1/things/x {}", &["if-match: \"v2\""], 412),
        ("GET /v1/things/versioned", &["if-match: \"v2\""], 412),
        ("GET /v1/things/versioned", &["if-match: \"v1\", \"v2\""], 412),
        ("GET /v1/things/versioned", &["if-match: \"v3\""], 200),
    ] {
        let answer = edge.send(line, headers).await;
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        if status != 200 {
            assert_eq!(
                (answer.reason().as_str(), &answer.json()["error"]["status"]),
                ("ETAG_MISMATCH", &json!("ABORTED"))
            );
            assert_eq!(answer.json()["error"]["code"], status);
        }
    }
}

#[tokio::test]
async fn what_the_caller_has_already_is_not_sent_again() {
    let edge = start(Config::default()).await;
    let tag = edge.send("GET /v1/things/versioned", &[]).await.header("etag").to_owned();
    for verb in ["GET", "HEAD"] {
        let known =
            edge.send(&format!("{verb} /v1/things/versioned"), &[&format!("if-none-match: \"x\", {tag}")]).await;
        assert_eq!((known.status, known.body.as_str(), known.header("etag")), (304, "", tag.as_str()));
        assert_eq!((known.header("content-type"), known.header("cache-control")), ("", "public, max-age=60"));
    }
    let other = edge.send("GET /v1/things/versioned", &["if-none-match: \"v2\""]).await;
    assert_eq!((other.status, &other.json()["id"]), (200, &json!("versioned")));
    // The version is the same, what is shown of it is not.
    let tag = edge.send("GET /v1/things/moving", &[]).await.header("etag").to_owned();
    assert_eq!(edge.send("GET /v1/things/moving", &[&format!("if-none-match: {tag}")]).await.status, 200);
}
