//! The codec against prost-reflect's own JSON, on random messages, and against what ProtoJSON says.

use edge_gateway::json::{Codec, ProblemKind};
use prost_reflect::{
    Cardinality, DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    SerializeOptions, Value, prost::Message,
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::support;

const NAME: &str = "test.v1.Everything";

fn random(rng: &mut StdRng, descriptor: &MessageDescriptor, depth: u32) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    match descriptor.full_name() {
        "google.protobuf.Timestamp" => {
            message.set_field_by_name("seconds", Value::I64(rng.random_range(-62_135_596_800..=253_402_300_799)));
            message.set_field_by_name("nanos", Value::I32(nanos(rng)));
            return message;
        }
        "google.protobuf.Duration" => {
            let sign = if rng.random() { 1 } else { -1 };
            message.set_field_by_name("seconds", Value::I64(sign * rng.random_range(0..=315_575_999_999_i64)));
            message.set_field_by_name("nanos", Value::I32(sign as i32 * nanos(rng)));
            return message;
        }
        "google.protobuf.FieldMask" => {
            let paths = ["a", "foo_bar", "foo_bar.baz_qux"].map(|path| Value::String(path.into()));
            message.set_field_by_name("paths", Value::List(paths[..rng.random_range(0..=3)].to_vec()));
            return message;
        }
        // prost-reflect writes these as null when they are not finite.
        "google.protobuf.DoubleValue" => {
            message.set_field_by_name("value", Value::F64(f64::from(rng.random::<i32>()) / 8.0));
            return message;
        }
        "google.protobuf.FloatValue" => {
            message.set_field_by_name("value", Value::F32(f32::from(rng.random::<i16>()) / 8.0));
            return message;
        }
        "google.protobuf.Any" => {
            let inner = descriptor.parent_pool().get_message_by_name("test.v1.Shelf").unwrap();
            let inner = random(rng, &inner, 0).encode_to_vec();
            message.set_field_by_name("type_url", Value::String("type.googleapis.com/test.v1.Shelf".into()));
            message.set_field_by_name("value", Value::Bytes(inner.into()));
            return message;
        }
        _ => {}
    }
    let is_value = descriptor.full_name() == "google.protobuf.Value";
    let fields: Vec<FieldDescriptor> = descriptor.fields().collect();
    if is_value {
        let choices: Vec<_> = fields.iter().filter(|f| depth > 0 || f.as_scalar()).collect();
        let field = choices.choose(rng).unwrap();
        let mut value = random_value(rng, &field.kind(), depth);
        if let Value::F64(number) = &mut value
            && !number.is_finite()
        {
            *number = 1.5;
        }
        message.set_field(field, value);
        return message;
    }
    for field in fields {
        let is_message = matches!(field.kind(), Kind::Message(_));
        if rng.random_range(0..3) == 0 || (is_message && depth == 0) {
            continue;
        }
        let value = if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
            let entries = (0..rng.random_range(0..4)).map(|_| {
                let key = random_value(rng, &entry.map_entry_key_field().kind(), 0);
                let value = random_value(rng, &entry.map_entry_value_field().kind(), depth - 1);
                (map_key(key), value)
            });
            Value::Map(entries.collect())
        } else if field.cardinality() == Cardinality::Repeated {
            Value::List(
                (0..rng.random_range(0..4))
                    .map(|_| random_value(rng, &field.kind(), depth.saturating_sub(1)))
                    .collect(),
            )
        } else {
            random_value(rng, &field.kind(), depth.saturating_sub(1))
        };
        message.set_field(&field, value);
    }
    message
}

fn map_key(value: Value) -> MapKey {
    match value {
        Value::Bool(key) => MapKey::Bool(key),
        Value::I32(key) => MapKey::I32(key),
        Value::U64(key) => MapKey::U64(key),
        Value::String(key) => MapKey::String(key),
        other => panic!("{other:?} is no key here"),
    }
}

trait AsScalar {
    fn as_scalar(&self) -> bool;
}

impl AsScalar for FieldDescriptor {
    fn as_scalar(&self) -> bool {
        !matches!(self.kind(), Kind::Message(_))
    }
}

fn nanos(rng: &mut StdRng) -> i32 {
    *[0, 1, 1_000, 1_000_000, 999_999_999, 120_000_000].choose(rng).unwrap()
}

fn random_value(rng: &mut StdRng, kind: &Kind, depth: u32) -> Value {
    let double =
        *[0.0, -0.0, 1.5, -1e300, 5e-324, 1e21, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].choose(rng).unwrap();
    let text =
        *["", "plain", "\"quoted\" \\ \n\r\t\u{1}\u{7f}", "žluťoučký 🐎", "a/b?c=d&e", "null"].choose(rng).unwrap();
    let long = *[0, 1, -1, i64::MAX, i64::MIN, 9_007_199_254_740_993].choose(rng).unwrap();
    match kind {
        Kind::Double => Value::F64(double),
        Kind::Float => Value::F32(if double.is_finite() { rng.random_range(-1e30_f32..1e30) } else { double as f32 }),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(*[0, 1, -1, i32::MAX, i32::MIN].choose(rng).unwrap()),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(long),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(*[0, 1, u32::MAX].choose(rng).unwrap()),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(long as u64),
        Kind::Bool => Value::Bool(rng.random()),
        Kind::String => Value::String(text.into()),
        Kind::Bytes => Value::Bytes((0..rng.random_range(0..9)).map(|_| rng.random::<u8>()).collect::<Vec<_>>().into()),
        Kind::Enum(values) if values.full_name() == "google.protobuf.NullValue" => Value::EnumNumber(0),
        Kind::Enum(_) => Value::EnumNumber(*[0, 1, 2, 77, -5].choose(rng).unwrap()),
        Kind::Message(inner) => Value::Message(random(rng, inner, depth)),
    }
}

fn theirs(message: &DynamicMessage) -> serde_json::Value {
    let options = SerializeOptions::new().skip_default_fields(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).unwrap()
}

/// Where two values differ. Theirs shows an f32 with the digits of an f64.
fn difference(ours: &serde_json::Value, theirs: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match (ours, theirs) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            let same = a == b || (b == f64::from(b as f32) && a as f32 == b as f32);
            (!same).then(|| format!(": {ours} {theirs}"))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(at, (a, b))| Some(format!("[{at}]{}", difference(a, b)?)))
        }
        (Value::Object(a), Value::Object(b)) if a.len() == b.len() => a.iter().find_map(|(key, a)| {
            let inner = b.get(key).map_or_else(|| Some(" is ours alone".to_owned()), |b| difference(a, b));
            Some(format!(".{key}{}", inner?))
        }),
        _ => (ours != theirs).then(|| format!(": {ours} {theirs}")),
    }
}

fn theirs_read(descriptor: &MessageDescriptor, json: &[u8]) -> Result<DynamicMessage, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let message = DynamicMessage::deserialize_with_options(descriptor.clone(), &mut deserializer, &options)?;
    deserializer.end()?;
    Ok(message)
}

#[test]
fn random_messages_are_written_and_read_as_prost_reflect_does() {
    let pool = support::contract().pool().clone();
    let codec = Codec::new(&pool);
    let descriptor = pool.get_message_by_name(NAME).unwrap();
    let index = codec.message(NAME).unwrap();
    let mut rng = StdRng::seed_from_u64(42);
    for round in 0..600 {
        let message = random(&mut rng, &descriptor, 3);
        let wire = message.encode_to_vec();
        let json = codec.to_json(index, &wire).unwrap_or_else(|_| panic!("round {round}: {message:?}"));
        let ours: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(difference(&ours, &theirs(&message)), None, "round {round}");
        // Back again: our bytes mean the same message, to us and to them.
        let back = codec.to_wire(index, &json).unwrap_or_else(|e| panic!("round {round}: {e:?}"));
        let again = DynamicMessage::decode(descriptor.clone(), back.as_slice()).unwrap();
        let by_them = theirs_read(&descriptor, &json).unwrap();
        assert_eq!(difference(&theirs(&again), &theirs(&by_them)), None, "round {round}");
    }
}

#[test]
fn damaged_bytes_and_text_never_panic_and_are_read_as_prost_reflect_reads_them() {
    let pool = support::contract().pool().clone();
    let codec = Codec::new(&pool);
    let descriptor = pool.get_message_by_name(NAME).unwrap();
    let index = codec.message(NAME).unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    for _ in 0..1_000 {
        let mut wire = random(&mut rng, &descriptor, 2).encode_to_vec();
        let mut json = codec.to_json(index, &wire).unwrap();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..json.len());
            json[at] = *b"{}[]\",:0n-.eE\\u ".choose(&mut rng).unwrap();
            if !wire.is_empty() {
                let at = rng.random_range(0..wire.len());
                wire[at] = rng.random();
            }
        }
        if let Ok(text) = codec.to_json(index, &wire) {
            assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
        }
        if let (Ok(ours), Ok(theirs_message)) = (codec.to_wire(index, &json), theirs_read(&descriptor, &json)) {
            let ours = DynamicMessage::decode(descriptor.clone(), ours.as_slice()).unwrap();
            assert_eq!(
                difference(&theirs(&ours), &theirs(&theirs_message)),
                None,
                "{}",
                String::from_utf8_lossy(&json)
            );
        }
    }
}

#[test]
fn bytes_in_another_order_mean_the_same() {
    let codec = Codec::new(support::contract().pool());
    let index = codec.message("test.v1.Thing").unwrap();
    // count 5, id "a", count 7, shelf {name "x"}, tags "p", shelf {height 3}, tags "q", an unknown field 100.
    let wire = b"\x18\x05\x0a\x01a\x18\x07\x2a\x03\x0a\x01x\x3a\x01p\x2a\x02\x10\x03\x3a\x01q\xa0\x06\x01";
    assert_eq!(
        String::from_utf8(codec.to_json(index, wire).unwrap()).unwrap(),
        r#"{"id":"a","name":"","count":"7","color":"COLOR_UNSPECIFIED","shelf":{"name":"x","height":3},"tags":["p","q"]}"#
    );
}

#[test]
fn one_field_of_a_message_is_written_whatever_the_order_of_its_parts() {
    let codec = Codec::new(support::contract().pool());
    let index = codec.message("test.v1.Thing").unwrap();
    let wire = b"\x18\x05\x0a\x01a\x18\x07\x2a\x03\x0a\x01x\x3a\x01p\x2a\x02\x10\x03\x3a\x01q\xa0\x06\x01";
    for (number, expected) in [
        (1, r#""a""#),
        (2, r#""""#),
        (3, r#""7""#),
        (4, r#""COLOR_UNSPECIFIED""#),
        (5, r#"{"name":"x","height":3}"#),
        (6, "null"),
        (7, r#"["p","q"]"#),
    ] {
        assert_eq!(String::from_utf8(codec.field_to_json(index, number, wire).unwrap()).unwrap(), expected, "{number}");
    }
    assert!(codec.field_to_json(index, 1, b"\xff").is_err());
}

/// JSON, and either the JSON that comes back, or a problem's path and words.
type Row = (&'static str, Result<&'static str, (&'static str, &'static str)>);

fn check(rows: &[Row]) {
    let codec = Codec::new(support::contract().pool());
    let index = codec.message(NAME).unwrap();
    let bare = codec.to_json(index, &[]).unwrap();
    let bare: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&bare).unwrap();
    for (json, expected) in rows {
        match (codec.to_wire(index, json.as_bytes()), expected) {
            (Ok(wire), Ok(expected)) => {
                let back = codec.to_json(index, &wire).unwrap();
                let mut back: serde_json::Map<_, _> = serde_json::from_slice(&back).unwrap();
                let expected: serde_json::Map<_, _> = serde_json::from_str(expected).unwrap();
                back.retain(|key, value| bare.get(key) != Some(value) || expected.contains_key(key));
                assert_eq!(back, expected, "{json}");
            }
            (Err(problems), Err((path, what))) => {
                assert_eq!(problems[0].path, *path, "{json}: {problems:?}");
                assert!(problems[0].what.contains(what), "{json}: {problems:?}");
            }
            (got, _) => panic!("{json}: {got:?}"),
        }
    }
}

#[test]
fn values_are_read_as_proto_json_says() {
    check(&[
        (r#"{"anInt64":"9007199254740993"}"#, Ok(r#"{"anInt64":"9007199254740993"}"#)),
        (r#"{"anInt64":9007199254740993}"#, Ok(r#"{"anInt64":"9007199254740993"}"#)),
        (r#"{"an_int64":1e3}"#, Ok(r#"{"anInt64":"1000"}"#)),
        (r#"{"anInt32":"5"}"#, Ok(r#"{"anInt32":5}"#)),
        (r#"{"aColor":"COLOR_RED"}"#, Ok(r#"{"aColor":"COLOR_RED"}"#)),
        (r#"{"aColor":2}"#, Ok(r#"{"aColor":"COLOR_BLUE"}"#)),
        (r#"{"aColor":9}"#, Ok(r#"{"aColor":9}"#)),
        (r#"{"someBytes":"-_-_"}"#, Ok(r#"{"someBytes":"+/+/"}"#)),
        (r#"{"someBytes":"AQ"}"#, Ok(r#"{"someBytes":"AQ=="}"#)),
        (
            r#"{"aDouble":"NaN","doubles":["Infinity","-Infinity","1.5"]}"#,
            Ok(r#"{"aDouble":"NaN","doubles":["Infinity","-Infinity",1.5]}"#),
        ),
        (r#"{"anInt32":null,"nested":null,"ints":null,"choice":null}"#, Err(("choice", "not a field"))),
        (r#"{"anInt32":null,"nested":null,"ints":null,"texts":null}"#, Ok("{}")),
        (r#"{"chosenInt":null,"chosenString":"x"}"#, Ok(r#"{"chosenString":"x"}"#)),
        (r#"{"chosenInt":0}"#, Ok(r#"{"chosenInt":0}"#)),
        (r#"{"maybeInt":0,"maybeString":""}"#, Ok(r#"{"maybeInt":0,"maybeString":""}"#)),
        (r#"{"value":null}"#, Ok(r#"{"value":null}"#)),
        (r#"{"value":{"a":[1,true,null,"x",{}]}}"#, Ok(r#"{"value":{"a":[1.0,true,null,"x",{}]}}"#)),
        (r#"{"time":"2024-03-01T01:30:00.5+02:00"}"#, Ok(r#"{"time":"2024-02-29T23:30:00.500Z"}"#)),
        (r#"{"duration":"-1.5s"}"#, Ok(r#"{"duration":"-1.500s"}"#)),
        (r#"{"mask":"fooBar,baz"}"#, Ok(r#"{"mask":"fooBar,baz"}"#)),
        (
            r#"{"int64Value":"5","stringValue":"","boolValue":false}"#,
            Ok(r#"{"int64Value":"5","stringValue":"","boolValue":false}"#),
        ),
        (
            r#"{"any":{"name":"x","@type":"type.googleapis.com/test.v1.Shelf"}}"#,
            Ok(r#"{"any":{"@type":"type.googleapis.com/test.v1.Shelf","name":"x","height":0}}"#),
        ),
        (
            r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}}"#,
            Ok(r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}}"#),
        ),
        (
            r#"{"byNumber":{"-1":{"name":"x"}},"byBool":{"true":"COLOR_RED"}}"#,
            Ok(r#"{"byNumber":{"-1":{"name":"x","height":0}},"byBool":{"true":"COLOR_RED"}}"#),
        ),
        (
            r#"{"fieldName1":1,"OddName":2,"something-else":3}"#,
            Ok(r#"{"fieldName1":1,"OddName":2,"something-else":3}"#),
        ),
        ("{\"aString\":\"\\ud83d\\ude00\\u00e9\\n\"}", Ok("{\"aString\":\"😀é\\n\"}")),
        (" \n{ } ", Ok("{}")),
    ]);
}

#[test]
fn what_proto_json_does_not_allow_is_refused_with_its_path() {
    check(&[
        (r#"{"nested":{"shelves":[{},{"hieght":3}]}}"#, Err(("nested.shelves[1].hieght", "did you mean `height`?"))),
        (r#"{"anInt32":1,"an_int32":2}"#, Err(("anInt32", "twice"))),
        (r#"{"chosenInt":1,"chosenString":"x"}"#, Err(("chosenString", "only one may be set"))),
        (r#"{"ints":[1,null]}"#, Err(("ints[1]", "null"))),
        (r#"{"texts":{"a":null}}"#, Err(("texts.a", "null"))),
        (r#"{"texts":{"a":"1","a":"2"}}"#, Err(("texts.a", "twice"))),
        (r#"{"byNumber":{"x":{}}}"#, Err(("byNumber.x", "key"))),
        (r#"{"anInt32":2147483648}"#, Err(("anInt32", "between"))),
        (r#"{"anInt32":1.5}"#, Err(("anInt32", "integer"))),
        (r#"{"anInt32":" 1"}"#, Err(("anInt32", "integer"))),
        (r#"{"anInt32":true}"#, Err(("anInt32", "integer"))),
        (r#"{"aUint32":-1}"#, Err(("aUint32", "between"))),
        (r#"{"aBool":"true"}"#, Err(("aBool", "true or false"))),
        (r#"{"aString":1}"#, Err(("aString", "string"))),
        (r#"{"aFloat":1e39}"#, Err(("aFloat", "range"))),
        (r#"{"aDouble":1e400}"#, Err(("aDouble", "range"))),
        (r#"{"aColor":"COLOR_REED"}"#, Err(("aColor", "did you mean `COLOR_RED`?"))),
        (r#"{"aColor":"VIOLET"}"#, Err(("aColor", "COLOR_RED"))),
        (r#"{"someBytes":"!"}"#, Err(("someBytes", "base64"))),
        (r#"{"time":"yesterday"}"#, Err(("time", "RFC 3339"))),
        (r#"{"duration":"1h"}"#, Err(("duration", "seconds"))),
        (r#"{"nested":[]}"#, Err(("nested", "object"))),
        (r#"{"ints":1}"#, Err(("ints", "array"))),
        (r#"{"any":{"name":"x"}}"#, Err(("any", "@type"))),
        (r#"{"any":{"@type":"x/none.Such"}}"#, Err(("any", "not known"))),
        (r#"[]"#, Err(("", "object"))),
        ("", Err(("", "line 1, column 1"))),
        ("{", Err(("", "key"))),
        ("{\"anInt32\":\n01}", Err(("", "line 2, column 1"))),
        ("{\"aString\":\"\\ud800\"}", Err(("", "surrogate"))),
        ("{\"aString\":\"a\nb\"}", Err(("", "control character"))),
        ("{} {}", Err(("", "more follows"))),
        (r#"{"anInt32":1,}"#, Err(("", "key"))),
        (r#"{'anInt32':1}"#, Err(("", "key"))),
    ]);
}

#[test]
fn all_problems_are_told_at_once() {
    let codec = Codec::new(support::contract().pool());
    let json = br#"{"anInt32":"x","nope":1,"shelves":[{"height":"y"}],"aBool":1}"#;
    let problems = codec.to_wire(codec.message(NAME).unwrap(), json).unwrap_err();
    let told: Vec<_> = problems.iter().map(|problem| (problem.path.as_str(), problem.kind)).collect();
    assert_eq!(
        told,
        [
            ("anInt32", ProblemKind::Invalid),
            ("nope", ProblemKind::Unknown),
            ("shelves[0].height", ProblemKind::Invalid),
            ("aBool", ProblemKind::Invalid),
        ]
    );
}

#[test]
fn text_nested_very_deeply_is_refused() {
    let codec = Codec::new(support::contract().pool());
    let index = codec.message(NAME).unwrap();
    for (open, close) in [(r#"{"nested":"#, "}"), (r#"{"value":["#, "]}"), (r#"{"nope":["#, "]}")] {
        let json = open.repeat(50_000) + "{}" + &close.repeat(50_000);
        assert!(codec.to_wire(index, json.as_bytes()).is_err());
    }
    let lists = format!(r#"{{"value":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(codec.to_wire(index, lists.as_bytes()).is_err());
    let mut wire = Vec::new();
    for _ in 0..200 {
        let mut outer = vec![0x8a, 0x01];
        prost_reflect::prost::encoding::encode_varint(wire.len() as u64, &mut outer);
        outer.extend_from_slice(&wire);
        wire = outer;
    }
    assert!(codec.to_json(index, &wire).is_err());
}

#[test]
fn a_mask_names_the_leaves_that_are_set() {
    let codec = Codec::new(support::contract().pool());
    let index = codec.message(NAME).unwrap();
    let json = br#"{"anInt32":1,"nested":{"aString":"x","nested":{}},"ints":[1],"time":null,"value":{"a":1},"nope":2}"#;
    assert_eq!(codec.mask(index, json), ["an_int32", "nested.a_string", "nested.nested", "ints", "time", "value"]);
}
