//! What a request must be like, for how long it may take, and to which trace it belongs.

use std::time::Duration;

use kit::{link::XFCC, server::MESSAGE_MAX, trace::TraceContext};
use tokio::time::Instant;
use tonic::Code;

use crate::house::{asked, field, frame, house, request, stated};

const ID: u32 = 1;
const NAME: u32 = 2;
const REQUEST_ID: u32 = 3;
const DATA: u32 = 4;

#[tokio::test]
async fn a_request_that_breaks_a_rule_never_reaches_the_handler() {
    let house = house();
    let thing = kit::id::new("thg", kit::Timestamp::from_seconds(1_800_000_000));
    let other = thing.replace("thg", "ord");
    let key = field(REQUEST_ID, b"k");
    let table = [
        ("a text is too long", "Open", field(NAME, b"longer"), "INVALID_FIELD"),
        ("an id names something else", "Open", field(ID, other.as_bytes()), "INVALID_ID"),
        ("an id is no id", "Open", field(ID, b"thg_1"), "INVALID_ID"),
        ("both are wrong", "Open", [field(ID, b"x"), field(NAME, b"longer")].concat(), "INVALID_FIELD"),
        ("the last value is wrong", "Open", [field(NAME, b"a"), field(NAME, b"longer")].concat(), "INVALID_FIELD"),
        ("the message is cut off", "Open", vec![0x12, 9, b'a'], "INVALID_FIELD"),
        ("a key is missing", "Save", Vec::new(), "IDEMPOTENCY_KEY_REQUIRED"),
        ("a key is empty", "Save", field(REQUEST_ID, b""), "IDEMPOTENCY_KEY_REQUIRED"),
        ("a key is taken back", "Save", [key.clone(), field(REQUEST_ID, b"")].concat(), "IDEMPOTENCY_KEY_REQUIRED"),
    ];
    for (sentence, rpc, message, reason) in table {
        let refusal = house.send(asked(rpc, &[], &message)).await.err().unwrap();
        assert_eq!(refusal.reason(), reason, "{sentence}");
        assert_eq!(refusal.0.code(), Code::InvalidArgument, "{sentence}");
        assert_eq!(refusal.domain().as_deref(), Some("thing.agora"), "{sentence}");
        assert_eq!(house.executions(), 0, "{sentence}");
    }
    house.send(asked("Open", &[], &[field(ID, thing.as_bytes()), field(NAME, b"short")].concat())).await.unwrap();
    house.send(asked("Save", &[], &key)).await.unwrap();
    house.send(asked("Save", &[], &[field(REQUEST_ID, b""), key].concat())).await.unwrap();
}

#[tokio::test]
async fn a_message_is_one_frame_of_a_bounded_size() {
    let house = house();
    let peer = stated("edge");
    let sent = |body: Vec<u8>| house.send(request("Open", &[(XFCC, &peer)], body));
    let full = |length: usize| frame(&field(DATA, &vec![7; length]));
    let overhead = full(MESSAGE_MAX).len() - frame(&[]).len() - MESSAGE_MAX;
    sent(full(MESSAGE_MAX - overhead)).await.unwrap();
    let refusal = sent(full(MESSAGE_MAX - overhead + 1)).await.err().unwrap();
    assert_eq!(refusal.reason(), "BODY_TOO_LARGE");
    assert_eq!(refusal.domain().as_deref(), Some("thing.agora"));
    let two = [frame(&[]), frame(&[])].concat();
    let compressed = vec![1, 0, 0, 0, 0];
    for wrong in [vec![], vec![0; 4], vec![0, 0, 0, 0, 1], vec![0, 0xff, 0xff, 0xff, 0xff], compressed, two] {
        assert_eq!(sent(wrong.clone()).await.err().unwrap().reason(), "MALFORMED_BODY", "{wrong:?}");
    }
    assert_eq!(house.executions(), 1);
}

#[tokio::test]
async fn an_rpc_that_no_contract_has_is_not_implemented() {
    let house = house();
    for rpc in ["Nothing", "Open/", "open", ""] {
        let refusal = house.send(asked(rpc, &[], &[])).await.err().unwrap();
        assert_eq!(refusal.0.code(), Code::Unimplemented, "{rpc}");
        assert_eq!(refusal.reason(), "ROUTE_NOT_FOUND", "{rpc}");
    }
    assert_eq!(house.executions(), 0);
}

#[tokio::test]
async fn a_caller_who_stops_waiting_is_told_so_and_the_handler_knows_when() {
    let house = house();
    let refusal = house.send(asked("Stuck", &[("grpc-timeout", "1m")], &[])).await.err().unwrap();
    assert_eq!((refusal.0.code(), refusal.reason().as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert_eq!(refusal.domain().as_deref(), Some("thing.agora"));
    assert_eq!(house.executions(), 1);
    for (sentence, timeout, seconds) in [
        ("the caller says how long", "9S", 9),
        ("nonsense counts as nothing said", "soon", 30),
        ("a year is no reason to panic", "8760H", 8760 * 3600),
    ] {
        let before = Instant::now();
        let call = house.send(asked("Open", &[("grpc-timeout", timeout)], &[])).await.unwrap();
        let limit = Duration::from_secs(seconds);
        let deadline = call.deadline.unwrap();
        assert!(deadline >= before + limit && deadline <= Instant::now() + limit, "{sentence}");
    }
    assert!(house.send(asked("Open", &[], &[])).await.unwrap().deadline.is_some());
    assert_eq!(house.send(asked("Watch", &[], &[])).await.unwrap().deadline, None);
    assert!(house.send(asked("Watch", &[("grpc-timeout", "9S")], &[])).await.unwrap().deadline.is_some());
}

#[tokio::test]
async fn a_call_belongs_to_the_trace_of_its_caller_or_begins_one() {
    let house = house();
    let parent = TraceContext::random();
    let call = house.send(asked("Open", &[("traceparent", &parent.to_header())], &[])).await.unwrap();
    assert_eq!(call.trace.trace_id, parent.trace_id);
    assert_ne!(call.trace.span_id, parent.span_id);
    let first = house.send(asked("Open", &[], &[])).await.unwrap().trace;
    let second = house.send(asked("Open", &[("traceparent", "00-nonsense")], &[])).await.unwrap().trace;
    assert!(first.trace_id != 0 && second.trace_id != 0 && first.trace_id != second.trace_id);
}
