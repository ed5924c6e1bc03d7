//! Streams over HTTP, and gRPC as it comes.

use std::time::Duration;

use edge_gateway::Config;
use prost_reflect::DynamicMessage;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{self, Running, SOON, start};

#[tokio::test]
async fn a_stream_is_told_as_events_with_ids() {
    let edge = start(Config::default()).await;
    let answer = edge.send("GET /v1/things/three:watch", &[]).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("x-accel-buffering"), "no");
    assert_eq!(
        answer.body,
        "id: 1\ndata: {\"sequence\":\"1\"}\n\nid: 2\ndata: {\"sequence\":\"2\"}\n\nid: 3\ndata: {\"sequence\":\"3\"}\n\n"
    );
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_event() {
    let edge = start(Config::default()).await;
    let answer = edge.send("GET /v1/things/three:watch", &["last-event-id: 41"]).await;
    assert!(answer.body.starts_with("id: 42\n"), "{}", answer.body);
    let answer = edge.send("GET /v1/things/three:watch?after_sequence=7", &["last-event-id: 41"]).await;
    assert!(answer.body.starts_with("id: 8\n"), "what the request says itself counts: {}", answer.body);
    let answer = edge.send("GET /v1/things/three:watch", &["last-event-id: x"]).await;
    assert_eq!(answer.reason(), "INVALID_FIELD");
}

#[tokio::test]
async fn a_stream_is_told_as_lines_to_who_asks_for_them() {
    let edge = start(Config::default()).await;
    let answer = edge.send("GET /v1/things/three:watch", &["accept: application/x-ndjson"]).await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    assert_eq!(answer.body, "{\"sequence\":\"1\"}\n{\"sequence\":\"2\"}\n{\"sequence\":\"3\"}\n");
}

#[tokio::test]
async fn an_error_in_the_middle_is_the_last_event() {
    let edge = start(Config::default()).await;
    let answer = edge.send("GET /v1/things/fail:watch", &[]).await;
    let (first, last) = answer.body.split_once("\n\n").unwrap();
    assert!(first.starts_with("id: 1\n"));
    let data = last.strip_prefix("event: error\ndata: ").unwrap();
    let error: serde_json::Value = serde_json::from_str(data.trim()).unwrap();
    assert_eq!(error["error"]["code"], 503);
    assert_eq!(error["error"]["details"][0]["reason"], "OVERLOADED");
}

/// Opens a stream and reads until `words` have come.
async fn open(edge: &Running, words: &str) -> TcpStream {
    let mut stream = TcpStream::connect(edge.address).await.unwrap();
    stream.write_all(b"GET /v1/things/quiet:watch HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut text = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&text).contains(words) {
            assert_ne!(stream.read_buf(&mut text).await.unwrap(), 0);
        }
    };
    tokio::time::timeout(SOON, read).await.expect(words);
    stream
}

#[tokio::test]
async fn a_quiet_stream_is_kept_alive_with_comments() {
    let edge = start(Config { heartbeat: Duration::from_millis(10), ..Config::default() }).await;
    open(&edge, ": still here\n\n").await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_call() {
    let edge = start(Config::default()).await;
    let stream = open(&edge, "id: 1").await;
    assert_eq!(*edge.upstream.streams.borrow(), 1);
    drop(stream);
    let mut streams = edge.upstream.streams.subscribe();
    tokio::time::timeout(SOON, streams.wait_for(|open| *open == 0)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_ends_streams_and_then_the_edge() {
    let edge = start(Config::default()).await;
    let mut stream = open(&edge, "id: 1").await;
    edge.drain.start();
    let mut rest = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "the body has its proper end");
    tokio::time::timeout(SOON, edge.served).await.unwrap().unwrap();
    assert!(TcpStream::connect(edge.address).await.is_err());
}

#[tokio::test]
async fn grpc_passes_the_same_door_on_the_same_port() {
    let edge = start(Config::default()).await;
    // id = "x"
    let (headers, body) = edge.grpc("/test.v1.ThingService/GetThing", b"\x0a\x01x", &[("x-agora-user", "admin")]).await;
    assert_eq!(headers["grpc-status"], "0");
    let reply = support::contract().pool().get_message_by_name("test.v1.GetThingResponse").unwrap();
    let reply = DynamicMessage::decode(reply, &body[5..]).unwrap();
    assert_eq!(support::json(&reply), serde_json::json!({"thing": {"id": "x"}}));
    assert!(!edge.upstream.last().headers.contains_key("x-agora-user"));
    for (path, message, code) in [
        ("/test.v1.ThingService/GetThing", b"\x0a\x07missing".as_slice(), "5"),
        ("/test.v1.ThingService/GetThing", b"\xff", "3"),
        ("/test.v1.ThingService/CreateThing", b"", "3"),
        ("/test.v1.ThingService/OwnThing", b"", "16"),
        ("/test.v1.ThingService/SlowThing", b"", "4"),
        ("/test.v1.ThingService/None", b"", "12"),
        ("/none.Such/None", b"", "12"),
    ] {
        let (headers, _) = edge.grpc(path, message, &[]).await;
        assert_eq!(headers["grpc-status"], code, "{path} {message:?}: {headers:?}");
        assert!(headers.contains_key("grpc-status-details-bin"), "{path}: {headers:?}");
    }
}

#[tokio::test]
async fn a_stream_of_grpc_comes_through_whole() {
    let edge = start(Config::default()).await;
    let (headers, body) = edge.grpc("/test.v1.ThingService/WatchThing", b"\x0a\x05three", &[]).await;
    assert_eq!(headers["grpc-status"], "0");
    assert_eq!(&body[..], b"\0\0\0\0\x02\x08\x01\0\0\0\0\x02\x08\x02\0\0\0\0\x02\x08\x03");
}

#[tokio::test]
async fn health_and_reflection_speak_for_every_service() {
    let edge = start(Config::default()).await;
    let (_, body) = edge.grpc("/grpc.health.v1.Health/Check", b"\x0a\x14test.v1.ThingService", &[]).await;
    assert_eq!(&body[5..], b"\x08\x01", "SERVING");
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let (headers, body) = edge.grpc(&path, b"\x3a\x00", &[]).await;
        assert_eq!(headers["grpc-status"], "0");
        let listed = String::from_utf8_lossy(&body).into_owned();
        assert!(listed.contains("test.v1.ThingService") && listed.contains("grpc.health.v1.Health"), "{listed}");
        // file_containing_symbol
        let (_, body) = edge.grpc(&path, b"\x22\x14test.v1.ThingService", &[]).await;
        assert!(String::from_utf8_lossy(&body).contains("test/v1/thing.proto"));
        let (_, body) = edge.grpc(&path, b"\x22\x14google.rpc.ErrorInfo", &[]).await;
        assert!(String::from_utf8_lossy(&body).contains("error_details.proto"));
    }
}
