//! JSON schemas of messages and enums, with the rules that the contract holds them to.

use std::collections::BTreeMap;

use kit::{
    contract::{comment, option},
    validate,
};
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value as Reflected};
use serde_json::{Map, Value, json};

use crate::behavior::{self, IMMUTABLE, INPUT_ONLY, OUTPUT_ONLY};

/// The schemas that operations refer to.
#[derive(Default)]
pub struct Schemas {
    done: BTreeMap<String, Value>,
    waiting: Vec<MessageDescriptor>,
}

impl Schemas {
    /// All schemas that were referred to, and all that these refer to.
    pub fn finish(mut self) -> Map<String, Value> {
        while let Some(message) = self.waiting.pop() {
            if !self.done.contains_key(message.full_name()) {
                self.done.insert(message.full_name().to_owned(), Value::Null);
                let schema = self.object(&message, &[]);
                self.done.insert(message.full_name().to_owned(), schema);
            }
        }
        self.done.into_iter().collect()
    }

    /// The schema of a message, by reference.
    pub fn message(&mut self, message: &MessageDescriptor) -> Value {
        if let Some(known) = well_known(message.full_name()) {
            return known;
        }
        self.waiting.push(message.clone());
        json!({"$ref": format!("#/components/schemas/{}", message.full_name())})
    }

    /// The schema of a message without the fields named in `without`.
    pub fn object(&mut self, message: &MessageDescriptor, without: &[&str]) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in message.fields().filter(|field| !without.contains(&field.name())) {
            if validate::is_required(&field) {
                required.push(field.json_name().to_owned());
            }
            properties.insert(field.json_name().to_owned(), self.field(&field));
        }
        let mut schema = json!({"type": "object", "properties": properties});
        let mut description = comment(message.parent_file(), message.path());
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            let names: Vec<String> = oneof.fields().map(|field| format!("`{}`", field.json_name())).collect();
            description += &format!(" At most one of {} may be set.", names.join(", "));
        }
        put_text(&mut schema, "description", description.trim());
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        schema
    }

    /// The schema of a field, with its comment and rules.
    pub fn field(&mut self, field: &FieldDescriptor) -> Value {
        let rules = option(&field.options(), "buf.validate.field").and_then(|rules| rules.as_message().cloned());
        let mut schema = if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
            json!({"type": "object", "additionalProperties": self.kind(&entry.map_entry_value_field().kind())})
        } else if field.is_list() {
            let mut items = self.kind(&field.kind());
            let inner = rules.as_ref().and_then(|rules| inner(rules, "repeated"));
            if let Some(rules) = inner.as_ref().and_then(inner_rules) {
                put_rules(&mut items, &rules);
            }
            json!({"type": "array", "items": items})
        } else {
            self.kind(&field.kind())
        };
        if let Some(rules) = &rules {
            put_rules(&mut schema, rules);
        }
        if let Some(Reflected::String(prefix)) = option(&field.options(), "agora.policy.v1.id") {
            let target = if field.is_list() { &mut schema["items"] } else { &mut schema };
            target["pattern"] = format!("^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$").into();
            target["examples"] = json!([format!("{prefix}_{}", kit::id::EXAMPLE)]);
        }
        if let (Kind::Enum(values), false, Some(taken)) =
            (field.kind(), field.is_list(), rules.as_ref().and_then(taken))
        {
            let names = taken.iter().filter_map(|number| Some(values.get_value(*number)?.name().to_owned()));
            schema["enum"] = names.collect::<Vec<_>>().into();
        }
        let known = [(OUTPUT_ONLY, "readOnly"), (INPUT_ONLY, "writeOnly"), (IMMUTABLE, "x-immutable")];
        for (_, keyword) in known.iter().filter(|(behavior, _)| behavior::is(field, *behavior)) {
            schema[*keyword] = true.into();
        }
        put_text(&mut schema, "x-rule", &validate::words(field).join("; "));
        put_text(&mut schema, "description", &comment(field.parent_message().parent_file(), field.path()));
        schema
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Double => json!({"type": "number", "format": "double"}),
            Kind::Float => json!({"type": "number", "format": "float"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
            Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "format": "int64", "minimum": 0}),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({"type": "string", "format": "int64"}),
            Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "format": "uint64"}),
            Kind::Bool => json!({"type": "boolean"}),
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Kind::Enum(values) => self.enumeration(values),
            Kind::Message(message) => self.message(message),
        }
    }

    fn enumeration(&mut self, values: &EnumDescriptor) -> Value {
        if values.full_name() == "google.protobuf.NullValue" {
            return json!({"type": "null"});
        }
        let name = values.full_name().to_owned();
        self.done.entry(name.clone()).or_insert_with(|| {
            let names: Vec<String> = values.values().map(|value| value.name().to_owned()).collect();
            let mut description = comment(values.parent_file(), values.path());
            for value in values.values() {
                description += &format!("\n- `{}`: {}", value.name(), comment(values.parent_file(), value.path()));
            }
            json!({"type": "string", "enum": names, "description": description})
        });
        json!({"$ref": format!("#/components/schemas/{name}")})
    }
}

/// The numbers of the values of an enum that are taken, if only some are.
fn taken(rules: &DynamicMessage) -> Option<Vec<i32>> {
    let values = inner(rules, "enum").filter(|rules| rules.has_field_by_name("in"))?;
    let values = values.get_field_by_name("in")?;
    Some(values.as_list()?.iter().filter_map(Reflected::as_i32).collect())
}

fn inner(rules: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    rules.has_field_by_name(name).then(|| rules.get_field_by_name(name)?.as_message().cloned()).flatten()
}

fn inner_rules(repeated: &DynamicMessage) -> Option<DynamicMessage> {
    inner(repeated, "items")
}

/// Adds what JSON schema can say of `buf.validate` rules.
fn put_rules(schema: &mut Value, rules: &DynamicMessage) {
    const KEYWORDS: [(&str, &str); 15] = [
        ("min_len", "minLength"),
        ("max_len", "maxLength"),
        ("len", "minLength"),
        ("pattern", "pattern"),
        ("gte", "minimum"),
        ("gt", "exclusiveMinimum"),
        ("lte", "maximum"),
        ("lt", "exclusiveMaximum"),
        ("min_items", "minItems"),
        ("max_items", "maxItems"),
        ("unique", "uniqueItems"),
        ("min_pairs", "minProperties"),
        ("max_pairs", "maxProperties"),
        ("in", "enum"),
        ("example", "examples"),
    ];
    const FORMATS: [&str; 8] = ["uuid", "email", "uri", "hostname", "ipv4", "ipv6", "address", "ip"];
    for (_, value) in rules.fields().filter(|(field, _)| matches!(field.kind(), Kind::Message(_))) {
        let Some(typed) = value.as_message() else { continue };
        // An int64 is a string in JSON, of which a schema cannot give the range.
        let is_text = schema["type"] == "string";
        for (field, value) in typed.fields() {
            let name = field.name();
            if let Some((_, keyword)) = KEYWORDS.iter().find(|(rule, _)| *rule == name)
                && let Some(value) = plain(value)
                && !(is_text && keyword.ends_with("imum"))
                && !(name == "in" && schema.get("$ref").is_some())
            {
                schema[*keyword] = value;
            }
            if FORMATS.contains(&name) && value.as_bool() == Some(true) {
                schema["format"] = name.into();
            }
        }
    }
}

fn plain(value: &Reflected) -> Option<Value> {
    Some(match value {
        Reflected::Bool(value) => (*value).into(),
        Reflected::I32(value) => (*value).into(),
        Reflected::I64(value) => (*value).into(),
        Reflected::U32(value) => (*value).into(),
        Reflected::U64(value) => (*value).into(),
        Reflected::F32(value) => (*value).into(),
        Reflected::F64(value) => (*value).into(),
        Reflected::String(value) => value.clone().into(),
        Reflected::List(values) if !values.is_empty() => values.iter().filter_map(plain).collect::<Vec<_>>().into(),
        _ => return None,
    })
}

fn well_known(name: &str) -> Option<Value> {
    Some(match name.strip_prefix("google.protobuf.")? {
        "Timestamp" => json!({"type": "string", "format": "date-time"}),
        "Duration" => json!({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$", "examples": ["1.5s"]}),
        "FieldMask" => json!({"type": "string", "description": "Names of fields, separated by commas."}),
        "Struct" => json!({"type": "object", "additionalProperties": true}),
        "Value" => json!({}),
        "ListValue" => json!({"type": "array", "items": {}}),
        "Any" => json!({"type": "object", "properties": {"@type": {"type": "string"}}, "additionalProperties": true}),
        "Empty" => json!({"type": "object"}),
        "DoubleValue" | "FloatValue" => json!({"type": "number"}),
        "Int64Value" => json!({"type": "string", "format": "int64"}),
        "UInt64Value" => json!({"type": "string", "format": "uint64"}),
        "Int32Value" | "UInt32Value" => json!({"type": "integer"}),
        "BoolValue" => json!({"type": "boolean"}),
        "StringValue" => json!({"type": "string"}),
        "BytesValue" => json!({"type": "string", "contentEncoding": "base64"}),
        _ => return None,
    })
}

/// Adds a keyword, unless there is nothing to say.
pub fn put_text(schema: &mut Value, keyword: &str, text: &str) {
    if !text.is_empty() {
        schema[keyword] = text.into();
    }
}
