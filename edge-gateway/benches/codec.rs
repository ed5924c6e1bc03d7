//! How much less work the codec is than a dynamic message: `cargo bench -p edge-gateway --bench codec`.
//!
//! Both do the same in turns, in the same run, so that the ratio holds on a busy machine too; each figure is the best of
//! the rounds.

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use edge_gateway::json::Codec;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions, prost::Message};
use serde_json::json;

const ROUNDS: usize = 30;

fn main() {
    let pool = pool();
    let codec = Codec::new(&pool);
    let thing = json!({
        "id": "thing_01h455vb4pex5vsknk084sn02q", "name": "A thing with a name", "count": "1234567890123", "color": "COLOR_BLUE",
        "shelf": {"name": "rooms/3", "height": 7}, "createdAt": "2026-01-31T12:00:00.123456Z", "tags": ["red", "round", "new"],
    });
    let small = json!({"requestId": "0192f0c1-7f00-7000-8000-000000000001", "thing": thing, "note": "soon"});
    let large = json!({"asked": {"pageSize": 40}, "things": vec![thing; 40]});
    for (name, message, value) in
        [("small", "test.v1.CreateThingRequest", small), ("list of 40", "test.v1.ListThingsResponse", large)]
    {
        let descriptor = pool.get_message_by_name(message).expect("a message of the test contract");
        let index = codec.message(message).expect("the same message");
        let text = value.to_string();
        let wire = codec.to_wire(index, text.as_bytes()).expect("JSON that fits");
        let read = compare(
            || drop(black_box(codec.to_wire(index, black_box(text.as_bytes())))),
            || drop(black_box(dynamic_read(&descriptor, black_box(text.as_bytes())))),
        );
        let write = compare(
            || drop(black_box(codec.to_json(index, black_box(&wire)))),
            || drop(black_box(dynamic_write(&descriptor, black_box(&wire)))),
        );
        println!("{name} ({} bytes of JSON)", text.len());
        for (what, (ours, theirs)) in [("JSON to wire", read), ("wire to JSON", write)] {
            let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
            println!(
                "  {what}: {ours:>10.2?} with tables, {theirs:>10.2?} with a dynamic message: {ratio:.1} times less"
            );
        }
    }
}

/// The best time of one call of each, taken in turns.
fn compare(ours: impl Fn(), theirs: impl Fn()) -> (Duration, Duration) {
    let mut best = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        best = (best.0.min(time(&ours)), best.1.min(time(&theirs)));
    }
    best
}

fn time(work: &impl Fn()) -> Duration {
    const CALLS: u32 = 200;
    let started = Instant::now();
    for _ in 0..CALLS {
        work();
    }
    started.elapsed() / CALLS
}

fn dynamic_read(descriptor: &MessageDescriptor, json: &[u8]) -> Option<Vec<u8>> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let message = DynamicMessage::deserialize(descriptor.clone(), &mut deserializer).ok()?;
    Some(message.encode_to_vec())
}

fn dynamic_write(descriptor: &MessageDescriptor, wire: &[u8]) -> Option<Vec<u8>> {
    let message = DynamicMessage::decode(descriptor.clone(), wire).ok()?;
    let mut serializer = serde_json::Serializer::new(Vec::with_capacity(wire.len() * 3));
    let options = SerializeOptions::new().skip_default_fields(false);
    message.serialize_with_options(&mut serializer, &options).ok()?;
    Some(serializer.into_inner())
}

fn pool() -> DescriptorPool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let includes = ["tests/edge/proto", "../proto", "../third_party/proto"].map(|folder| root.join(folder));
    let mut compiler = protox::Compiler::new(includes).expect("folders of protos");
    compiler.include_imports(true).open_file("test/v1/thing.proto").expect("the test contract");
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).expect("its descriptors")
}
