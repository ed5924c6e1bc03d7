//! Examples of messages that keep every rule of the contract: what is shown can be sent as it stands.

use kit::{
    contract::{comment, option},
    validate,
};
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value as Reflected};
use serde_json::{Map, Value, json};

use crate::behavior::{self, INPUT_ONLY, OUTPUT_ONLY};

/// Messages within messages, and items of a list: more than anyone reads.
const DEPTH: usize = 8;
const ITEMS: usize = 20;

/// What an example is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    Request,
    /// A request that changes a resource.
    Update,
    Reply,
}

/// Examples of a request without the fields named in `without`, by name: one for each way to set a oneof, or a single one
/// without a name.
pub fn requests(message: &MessageDescriptor, purpose: For, without: &[&str]) -> Vec<(String, Value)> {
    let writer = Writer { purpose };
    let mut oneofs = message.oneofs().filter(|oneof| !oneof.is_synthetic());
    let Some(choice) = oneofs.next() else {
        return vec![(String::new(), writer.message(message, without, &mut Vec::new()))];
    };
    let is_chosen = |field: &FieldDescriptor| field.containing_oneof().is_some_and(|oneof| oneof == choice);
    let mut examples = Vec::new();
    for member in choice.fields() {
        let needed =
            |field: &FieldDescriptor| field.name() == "request_id" || validate::is_required(field) || *field == member;
        let fields = message.fields().filter(|field| !without.contains(&field.name()) && needed(field));
        examples.push((member.json_name().to_owned(), writer.fields(fields, &mut above(message))));
    }
    let others: Vec<_> =
        message.fields().filter(|field| !without.contains(&field.name()) && !is_chosen(field)).collect();
    let more = others.iter().find(|field| field.name() != "request_id" && !validate::is_required(field));
    if let Some(more) = more.filter(|_| !is_oneof_required(&choice)) {
        let name = format!("with {}", more.json_name());
        examples.push((name, writer.fields(others.into_iter(), &mut above(message))));
    }
    examples
}

/// An example of a whole message.
pub fn message(message: &MessageDescriptor, purpose: For) -> Value {
    Writer { purpose }.message(message, &[], &mut Vec::new())
}

/// An example of the value of a field; null if there is none.
pub fn field(field: &FieldDescriptor, purpose: For) -> Value {
    Writer { purpose }.field(field, &mut Vec::new()).unwrap_or(Value::Null)
}

fn above(message: &MessageDescriptor) -> Vec<String> {
    vec![message.full_name().to_owned()]
}

fn is_oneof_required(oneof: &prost_reflect::OneofDescriptor) -> bool {
    let rules = option(&oneof.options(), "buf.validate.oneof");
    let required = rules.as_ref().and_then(Reflected::as_message).and_then(|rules| rules.get_field_by_name("required"));
    required.is_some_and(|required| required.as_bool() == Some(true))
}

struct Writer {
    purpose: For,
}

impl Writer {
    fn message(&self, message: &MessageDescriptor, without: &[&str], above: &mut Vec<String>) -> Value {
        above.push(message.full_name().to_owned());
        let fields = message.fields().filter(|field| !without.contains(&field.name()));
        let value = self.fields(fields, above);
        above.pop();
        value
    }

    fn fields(&self, fields: impl Iterator<Item = FieldDescriptor>, above: &mut Vec<String>) -> Value {
        let mut object = Map::new();
        let mut chosen: Vec<String> = Vec::new();
        for field in fields.filter(|field| self.shows(field)) {
            let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
            let oneof = oneof.map(|oneof| oneof.full_name().to_owned());
            // Of a oneof only the first.
            if oneof.as_ref().is_some_and(|oneof| chosen.contains(oneof)) {
                continue;
            }
            if let Some(value) = self.field(&field, above) {
                object.insert(field.json_name().to_owned(), value);
                chosen.extend(oneof);
            }
        }
        object.into()
    }

    /// Whether the field is of use here. What a caller may leave out and cannot guess would have the example refused.
    fn shows(&self, field: &FieldDescriptor) -> bool {
        let is_choice = field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic());
        let is_id = || option(&field.options(), "agora.policy.v1.id").is_some();
        let is_time = field.kind().as_message().is_some_and(|kind| kind.full_name() == "google.protobuf.Timestamp");
        let is_guess = || !is_choice && (field.name() == "etag" || is_time || is_id());
        match self.purpose {
            For::Reply => !behavior::is(field, INPUT_ONLY),
            For::Update if behavior::is_fixed(field) => false,
            For::Update | For::Request => {
                !behavior::is(field, OUTPUT_ONLY) && (validate::is_required(field) || !is_guess())
            }
        }
    }

    /// None for what is better left out: a mask, and what contains itself.
    fn field(&self, field: &FieldDescriptor, above: &mut Vec<String>) -> Option<Value> {
        let rules = option(&field.options(), "buf.validate.field").and_then(|rules| rules.as_message().cloned());
        if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
            let rules = within(rules.as_ref(), "map");
            let key = self.value(&entry.map_entry_key_field(), within(rules.as_ref(), "keys").as_ref(), 0, above)?;
            let value =
                self.value(&entry.map_entry_value_field(), within(rules.as_ref(), "values").as_ref(), 0, above)?;
            let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
            return Some(json!({ key: value }));
        }
        if field.is_list() {
            let rules = within(rules.as_ref(), "repeated");
            let least = rules.as_ref().and_then(|rules| number(rules, "min_items")).unwrap_or(0);
            let items = within(rules.as_ref(), "items");
            let count = usize::try_from(least).unwrap_or(ITEMS).clamp(1, ITEMS);
            return (0..count).map(|at| self.value(field, items.as_ref(), at, above)).collect();
        }
        self.value(field, rules.as_ref(), 0, above)
    }

    /// A single value, the `at`th of a list.
    fn value(
        &self,
        field: &FieldDescriptor,
        rules: Option<&DynamicMessage>,
        at: usize,
        above: &mut Vec<String>,
    ) -> Option<Value> {
        if let Some(Reflected::String(prefix)) = option(&field.options(), "agora.policy.v1.id") {
            return Some(format!("{prefix}_{}", kit::id::EXAMPLE).into());
        }
        let rules = rules.and_then(typed);
        let stated = rules.as_ref().and_then(|rules| stated(rules, at));
        Some(match field.kind() {
            Kind::Message(message) => match told(field).and_then(|text| in_words(&message, &text)) {
                Some(value) => value,
                None => return self.inner(&message, above),
            },
            Kind::Enum(values) => enumeration(&values, stated.as_ref(), rules.as_ref()),
            kind => match stated.as_ref().and_then(|stated| scalar(stated, &kind)) {
                Some(value) => value,
                None => match told(field).filter(|text| at == 0 && may_be(&kind, rules.as_ref(), text)) {
                    Some(text) => text.into(),
                    None => invented(field, &kind, rules.as_ref(), at),
                },
            },
        })
    }

    fn inner(&self, message: &MessageDescriptor, above: &mut Vec<String>) -> Option<Value> {
        match message.full_name().strip_prefix("google.protobuf.") {
            Some("Timestamp") => Some("2026-01-31T12:00:00Z".into()),
            Some("Duration") => Some("1.500s".into()),
            Some("FieldMask" | "Any") => None,
            Some("Struct" | "Empty") => Some(json!({})),
            Some("ListValue") => Some(json!([])),
            Some("Value") => Some("text".into()),
            Some(name) if name.ends_with("Value") => {
                let value = message.get_field_by_name("value")?;
                Some(invented(&value, &value.kind(), None, 0))
            }
            _ if above.len() >= DEPTH || above.iter().any(|name| name == message.full_name()) => None,
            _ => Some(self.message(message, &[], above)),
        }
    }
}

/// What the rules give as a value: a constant, one of a set, an example.
fn stated(rules: &DynamicMessage, at: usize) -> Option<Reflected> {
    let set = |name: &str| rules.has_field_by_name(name).then(|| rules.get_field_by_name(name)).flatten();
    if let Some(constant) = set("const") {
        return Some(constant.into_owned());
    }
    ["example", "in"].into_iter().find_map(|name| {
        let values = set(name)?;
        let values = values.as_list()?;
        values.get(at).or(values.first()).cloned()
    })
}

/// What the comment of a field gives as an example, "such as `Enamel mug`". One that is cut short is none.
fn told(field: &FieldDescriptor) -> Option<String> {
    let about = comment(field.parent_message().parent_file(), field.path());
    let (_, rest) = about.split_once("such as `")?;
    let (example, _) = rest.split_once('`')?;
    (!example.contains('…')).then(|| example.to_owned())
}

/// Whether the text keeps the rules of a field that has none but lengths.
fn may_be(kind: &Kind, rules: Option<&DynamicMessage>, text: &str) -> bool {
    let length = i128::try_from(text.chars().count()).unwrap_or(i128::MAX);
    let keeps = |rules: &DynamicMessage| {
        rules.fields().all(|(rule, _)| matches!(rule.name(), "min_len" | "max_len"))
            && number(rules, "min_len").is_none_or(|least| least <= length)
            && number(rules, "max_len").is_none_or(|most| length <= most)
    };
    *kind == Kind::String && rules.is_none_or(keeps)
}

/// A message of texts alone, from as many words: `0.05 BTC` is an amount.
fn in_words(message: &MessageDescriptor, text: &str) -> Option<Value> {
    let words: Vec<&str> = text.split(' ').collect();
    let fits = message.fields().all(|field| field.kind() == Kind::String && !field.is_list());
    let pairs = message.fields().zip(&words).map(|(field, word)| (field.json_name().to_owned(), Value::from(*word)));
    (fits && message.fields().len() == words.len()).then(|| Value::Object(pairs.collect()))
}

fn enumeration(values: &EnumDescriptor, stated: Option<&Reflected>, rules: Option<&DynamicMessage>) -> Value {
    let refused: Vec<i32> = rules
        .and_then(|rules| rules.get_field_by_name("not_in"))
        .and_then(|set| Some(set.as_list()?.iter().filter_map(number_of).collect()))
        .unwrap_or_default();
    let number = stated.and_then(number_of);
    let fits = |found: i32| number.map_or(found != 0 && !refused.contains(&found), |number| number == found);
    let value = values.values().find(|value| fits(value.number())).or_else(|| values.values().next());
    value.map_or(Value::Null, |value| value.name().into())
}

fn number_of(value: &Reflected) -> Option<i32> {
    value.as_enum_number().or_else(|| value.as_i32())
}

/// A value of the contract in JSON.
fn scalar(value: &Reflected, kind: &Kind) -> Option<Value> {
    Some(match value {
        Reflected::Bool(value) => (*value).into(),
        Reflected::String(value) => value.clone().into(),
        Reflected::F32(value) => (*value).into(),
        Reflected::F64(value) => (*value).into(),
        other => integer(integer_of(other)?, kind),
    })
}

fn integer_of(value: &Reflected) -> Option<i128> {
    match value {
        Reflected::I32(value) => Some((*value).into()),
        Reflected::I64(value) => Some((*value).into()),
        Reflected::U32(value) => Some((*value).into()),
        Reflected::U64(value) => Some((*value).into()),
        _ => None,
    }
}

/// An integer as ProtoJSON writes it: text, if it has 64 bits.
fn integer(value: i128, kind: &Kind) -> Value {
    match (kind, i64::try_from(value)) {
        (Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64, _) => value.to_string().into(),
        (_, Ok(value)) => value.into(),
        (_, Err(_)) => Value::Null,
    }
}

/// A value that keeps the bounds of its rules.
fn invented(field: &FieldDescriptor, kind: &Kind, rules: Option<&DynamicMessage>, at: usize) -> Value {
    match kind {
        Kind::Bool => true.into(),
        Kind::Double | Kind::Float => float(rules).into(),
        Kind::String => text(field, rules, at).into(),
        Kind::Bytes => {
            use base64::Engine;
            let length = rules.and_then(|rules| number(rules, "min_len").or(number(rules, "len"))).unwrap_or(1);
            let bytes = vec![b'a'; usize::try_from(length).unwrap_or(1)];
            base64::engine::general_purpose::STANDARD.encode(bytes).into()
        }
        Kind::Enum(_) | Kind::Message(_) => Value::Null,
        kind => {
            let bound = |name: &str| rules.and_then(|rules| number(rules, name));
            let least = bound("gte").or(bound("gt").map(|bound| bound + 1));
            let most = bound("lte").or(bound("lt").map(|bound| bound - 1));
            let next = i128::try_from(at).unwrap_or_default();
            let value = least.unwrap_or(1).max(1).max(least.unwrap_or(i128::MIN)) + next;
            // Where the bounds are the other way round, what lies between is what is refused.
            let value =
                most.filter(|most| least.is_none_or(|least| least <= *most)).map_or(value, |most| value.min(most));
            integer(value, kind)
        }
    }
}

fn float(rules: Option<&DynamicMessage>) -> f64 {
    let bound = |name: &str| {
        let rules = rules.filter(|rules| rules.has_field_by_name(name))?;
        let value = rules.get_field_by_name(name)?;
        value.as_f64().or_else(|| value.as_f32().map(f64::from))
    };
    let least = bound("gte").or(bound("gt").map(|bound| bound + 1.0));
    let most = bound("lte").or(bound("lt").map(|bound| bound - 1.0));
    most.map_or(1.5, |most| most.min(1.5)).max(least.unwrap_or(f64::MIN))
}

fn text(field: &FieldDescriptor, rules: Option<&DynamicMessage>, at: usize) -> String {
    if field.name() == "etag" {
        return "\"v1\"".to_owned();
    }
    let Some(rules) = rules else { return numbered("text", at) };
    let is = |name: &str| rules.get_field_by_name(name).is_some_and(|value| value.as_bool() == Some(true));
    let formats = [
        ("uuid", "0192f0c1-7f00-7000-8000-000000000001"),
        ("tuuid", "0192f0c17f0070008000000000000001"),
        ("ulid", "01ARZ3NDEKTSV4RRFFQ69G5FAV"),
        ("email", "ada@example.com"),
        ("uri", "https://example.com/"),
        ("uri_ref", "https://example.com/"),
        ("hostname", "example.com"),
        ("address", "example.com"),
        ("host_and_port", "example.com:443"),
        ("ip", "192.0.2.1"),
        ("ipv4", "192.0.2.1"),
        ("ipv6", "2001:db8::1"),
    ];
    if let Some((_, example)) = formats.into_iter().find(|(rule, _)| is(rule)) {
        return example.to_owned();
    }
    let part =
        |name: &str| rules.get_field_by_name(name).and_then(|part| Some(part.as_str()?.to_owned())).unwrap_or_default();
    let middle = if part("contains").is_empty() { numbered("text", at) } else { part("contains") };
    let bare = format!("{}{middle}{}", part("prefix"), part("suffix"));
    let count = |name: &str| number(rules, name).and_then(|count| usize::try_from(count).ok());
    let least = count("len").or(count("min_len")).or(count("min_bytes")).unwrap_or(0);
    let most = count("len").or(count("max_len")).or(count("max_bytes")).unwrap_or(usize::MAX);
    let filler = "text".chars().cycle().take(least.saturating_sub(bare.chars().count()));
    format!("{}{middle}{}{}", part("prefix"), filler.collect::<String>(), part("suffix")).chars().take(most).collect()
}

fn numbered(text: &str, at: usize) -> String {
    if at == 0 { text.to_owned() } else { format!("{text}{}", at + 1) }
}

/// The rules of the one type that a field has, such as `buf.validate.StringRules`.
fn typed(rules: &DynamicMessage) -> Option<DynamicMessage> {
    rules.fields().find_map(|(_, value)| value.as_message().cloned())
}

fn within(rules: Option<&DynamicMessage>, name: &str) -> Option<DynamicMessage> {
    let rules = rules.filter(|rules| rules.has_field_by_name(name))?;
    rules.get_field_by_name(name)?.as_message().cloned()
}

/// The integer that a rule states.
pub fn number(rules: &DynamicMessage, name: &str) -> Option<i128> {
    rules.has_field_by_name(name).then(|| integer_of(rules.get_field_by_name(name)?.as_ref())).flatten()
}
