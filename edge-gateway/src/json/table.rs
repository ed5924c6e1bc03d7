//! What the codec knows of each message and enum, laid out once for reading and writing.

use std::collections::HashMap;

use prost_reflect::{Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use super::wire;
use crate::behavior;

/// All messages and enums of a contract.
pub struct Tables {
    pub messages: Vec<Message>,
    pub enums: Vec<Enum>,
    by_name: HashMap<String, usize>,
}

/// One message.
pub struct Message {
    pub descriptor: MessageDescriptor,
    pub shape: Shape,
    /// By ascending number.
    pub fields: Vec<Field>,
    /// JSON names and names as in the proto.
    pub names: HashMap<Box<str>, usize>,
}

/// How ProtoJSON writes a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Object,
    Timestamp,
    Duration,
    FieldMask,
    Wrapper,
    Struct,
    Value,
    List,
    Any,
}

/// One field.
pub struct Field {
    pub number: u32,
    /// As in the proto.
    pub name: Box<str>,
    pub json_name: Box<str>,
    /// `"jsonName":`
    pub key: Box<[u8]>,
    /// The wire tag of one value; of a packed list, its own.
    pub tag: Box<[u8]>,
    pub ty: Type,
    pub form: Form,
    /// The index of its oneof, if it is in a real one.
    pub oneof: Option<usize>,
    /// Whether the service alone sets it.
    pub output_only: bool,
    /// Whether no update changes it.
    pub immutable: bool,
}

/// How often a field occurs, and what its absence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Absence is the zero value.
    Implicit,
    /// Absence is seen.
    Explicit,
    List {
        packed: bool,
    },
    Map {
        key: Type,
        value: Type,
    },
}

/// The type of one value. `Enum` and `Message` hold an index into [`Tables`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    Enum(usize),
    Message(usize),
}

/// One enum.
pub struct Enum {
    pub by_number: HashMap<i32, Box<str>>,
    pub by_name: HashMap<Box<str>, i32>,
    /// `google.protobuf.NullValue`, which JSON writes as `null`.
    pub is_null: bool,
}

impl Type {
    /// The wire type of one value.
    pub fn wire_type(self) -> u8 {
        match self {
            Type::Double | Type::Fixed64 | Type::Sfixed64 => wire::I64,
            Type::Float | Type::Fixed32 | Type::Sfixed32 => wire::I32,
            Type::String | Type::Bytes | Type::Message(_) => wire::LEN,
            _ => wire::VARINT,
        }
    }
}

impl Message {
    /// The position of the field with this number.
    pub fn position(&self, number: u32) -> Option<usize> {
        self.fields.binary_search_by_key(&number, |field| field.number).ok()
    }

    /// The JSON names of what a caller may set.
    pub fn settable(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(|field| !field.output_only).map(|field| field.json_name.as_ref())
    }

    /// The field with this JSON name or name in the proto.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.names.get(name).map(|at| &self.fields[*at])
    }
}

impl Tables {
    pub fn new(pool: &DescriptorPool) -> Tables {
        let messages: Vec<MessageDescriptor> = pool.all_messages().collect();
        let enums: Vec<EnumDescriptor> = pool.all_enums().collect();
        let index = Index {
            messages: messages.iter().enumerate().map(|(i, m)| (m.full_name().to_owned(), i)).collect(),
            enums: enums.iter().enumerate().map(|(i, e)| (e.full_name().to_owned(), i)).collect(),
        };
        Tables {
            messages: messages.into_iter().map(|descriptor| index.message(descriptor)).collect(),
            enums: enums.iter().map(enum_table).collect(),
            by_name: index.messages,
        }
    }

    /// The index of the message with this full name.
    pub fn message(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// How JSON writes values of this type, if it is a message.
    pub fn shape(&self, ty: Type) -> Option<Shape> {
        match ty {
            Type::Message(index) => Some(self.messages[index].shape),
            _ => None,
        }
    }

    /// Whether JSON `null` is a value of this type, and not the absence of one.
    pub fn has_null(&self, ty: Type) -> bool {
        match ty {
            Type::Message(index) => self.messages[index].shape == Shape::Value,
            Type::Enum(index) => self.enums[index].is_null,
            _ => false,
        }
    }
}

fn enum_table(descriptor: &EnumDescriptor) -> Enum {
    let mut table = Enum {
        by_number: HashMap::new(),
        by_name: HashMap::new(),
        is_null: descriptor.full_name() == "google.protobuf.NullValue",
    };
    for value in descriptor.values() {
        // With aliases, the first name is the one that is written.
        table.by_number.entry(value.number()).or_insert_with(|| value.name().into());
        table.by_name.insert(value.name().into(), value.number());
    }
    table
}

struct Index {
    messages: HashMap<String, usize>,
    enums: HashMap<String, usize>,
}

impl Index {
    fn message(&self, descriptor: MessageDescriptor) -> Message {
        let mut fields: Vec<Field> = descriptor.fields().filter_map(|field| self.field(&field)).collect();
        fields.sort_by_key(|field| field.number);
        let mut names = HashMap::new();
        for (at, field) in fields.iter().enumerate() {
            names.insert(field.name.clone(), at);
        }
        // Should one field's JSON name be another's own name, the JSON name wins.
        for (at, field) in fields.iter().enumerate() {
            names.insert(field.json_name.clone(), at);
        }
        Message { shape: shape(descriptor.full_name()), descriptor, fields, names }
    }

    /// `None` for a group, which JSON callers cannot send or see.
    fn field(&self, field: &FieldDescriptor) -> Option<Field> {
        if field.is_group() {
            return None;
        }
        let ty = self.ty(&field.kind());
        let form = match field.kind() {
            Kind::Message(entry) if field.is_map() => Form::Map {
                key: self.ty(&entry.map_entry_key_field().kind()),
                value: self.ty(&entry.map_entry_value_field().kind()),
            },
            _ if field.cardinality() == Cardinality::Repeated => Form::List { packed: field.is_packed() },
            _ if field.supports_presence() => Form::Explicit,
            _ => Form::Implicit,
        };
        let wire_type = if form == (Form::List { packed: true }) { wire::LEN } else { ty.wire_type() };
        let mut tag = Vec::new();
        wire::put_tag(&mut tag, field.number(), wire_type);
        Some(Field {
            number: field.number(),
            name: field.name().into(),
            json_name: field.json_name().into(),
            key: format!("{}:", serde_json::Value::from(field.json_name())).into_bytes().into(),
            tag: tag.into(),
            ty,
            form,
            output_only: behavior::is(field, behavior::OUTPUT_ONLY),
            immutable: behavior::is(field, behavior::IMMUTABLE),
            oneof: field.containing_oneof().filter(|oneof| !oneof.is_synthetic()).map(|oneof| {
                let name = oneof.full_name().to_owned();
                oneof.parent_message().oneofs().position(|other| other.full_name() == name).unwrap_or(0)
            }),
        })
    }

    fn ty(&self, kind: &Kind) -> Type {
        match kind {
            Kind::Double => Type::Double,
            Kind::Float => Type::Float,
            Kind::Int32 => Type::Int32,
            Kind::Int64 => Type::Int64,
            Kind::Uint32 => Type::Uint32,
            Kind::Uint64 => Type::Uint64,
            Kind::Sint32 => Type::Sint32,
            Kind::Sint64 => Type::Sint64,
            Kind::Fixed32 => Type::Fixed32,
            Kind::Fixed64 => Type::Fixed64,
            Kind::Sfixed32 => Type::Sfixed32,
            Kind::Sfixed64 => Type::Sfixed64,
            Kind::Bool => Type::Bool,
            Kind::String => Type::String,
            Kind::Bytes => Type::Bytes,
            // A pool holds every type that it refers to, so both are found.
            Kind::Message(message) => Type::Message(self.messages.get(message.full_name()).copied().unwrap_or(0)),
            Kind::Enum(values) => Type::Enum(self.enums.get(values.full_name()).copied().unwrap_or(0)),
        }
    }
}

fn shape(name: &str) -> Shape {
    let Some(name) = name.strip_prefix("google.protobuf.") else { return Shape::Object };
    match name {
        "Timestamp" => Shape::Timestamp,
        "Duration" => Shape::Duration,
        "FieldMask" => Shape::FieldMask,
        "Struct" => Shape::Struct,
        "Value" => Shape::Value,
        "ListValue" => Shape::List,
        "Any" => Shape::Any,
        "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value" | "BoolValue"
        | "StringValue" | "BytesValue" => Shape::Wrapper,
        _ => Shape::Object,
    }
}
