//! Compiles the rules that the options of a message state.

use std::collections::HashMap;

use prost_reflect::{
    Cardinality, DynamicMessage, FieldDescriptor, Kind as Proto, MessageDescriptor, OneofDescriptor,
    Value as OptionValue,
};

use super::{
    Unsupported,
    rule::{Rule, Value, describe_count},
    wire::{Malformed, Raw},
};

mod options;

/// The rules of one message type.
#[derive(Debug)]
pub(super) struct Message {
    /// In the order of their numbers.
    pub fields: Vec<Field>,
    /// Oneofs, and sets of fields that `buf.validate.message.oneof` names.
    pub oneofs: Vec<Oneof>,
}

impl Message {
    /// Where in `fields` the field with this number is.
    pub fn position(&self, number: u32) -> Option<usize> {
        // Most messages number their fields 1, 2, 3, …
        let guess = (number as usize).wrapping_sub(1);
        if self.fields.get(guess).is_some_and(|field| field.number == number) {
            return Some(guess);
        }
        self.fields.binary_search_by_key(&number, |field| field.number).ok()
    }
}

/// Fields of which at most one may be set.
#[derive(Debug)]
pub(super) struct Oneof {
    pub members: Vec<usize>,
    pub required: bool,
}

/// The rules of one field.
#[derive(Debug)]
pub(super) struct Field {
    pub name: String,
    pub number: u32,
    pub shape: Shape,
    /// The oneof of the proto that it is a member of.
    pub oneof: Option<usize>,
    pub required: bool,
    /// Of a list or a map.
    pub min_count: u64,
    pub max_count: u64,
    pub unique: bool,
    /// Of a map.
    pub key: Option<Element>,
    /// The value; of a list each item, of a map each value.
    pub element: Element,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Singular {
        /// Whether a value that is not set differs from a zero.
        presence: bool,
    },
    List,
    Map,
}

/// The rules of a single value.
#[derive(Debug)]
pub(super) struct Element {
    pub kind: Type,
    /// A zero is not checked.
    pub skip_zero: bool,
    /// An empty list or map is not checked.
    pub skip_zero_list: bool,
    pub rules: Vec<Rule>,
}

/// How a value is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
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
    Float,
    Double,
    Text,
    Bytes,
    /// A message with this place in the plan.
    Message(usize),
    /// A `Timestamp` or `Duration`, with its place in the plan.
    Time(usize),
    /// A message or group that is not looked into.
    Opaque,
}

impl Type {
    pub fn is_message(self) -> bool {
        matches!(self, Type::Message(_) | Type::Time(_) | Type::Opaque)
    }

    /// The wire type of an element, where a list of them may be packed.
    pub fn packed_wire_type(self) -> Option<u8> {
        match self {
            Type::Text | Type::Bytes | Type::Message(_) | Type::Time(_) | Type::Opaque => None,
            Type::Fixed64 | Type::Sfixed64 | Type::Double => Some(1),
            Type::Fixed32 | Type::Sfixed32 | Type::Float => Some(5),
            _ => Some(0),
        }
    }

    /// The value of a field that is not set.
    pub fn zero(self) -> Value<'static> {
        match self {
            Type::Bool => Value::Bool(false),
            Type::Float | Type::Double => Value::Float(0.0),
            Type::Text => Value::Text(""),
            Type::Bytes | Type::Message(_) | Type::Opaque => Value::Bytes(&[]),
            _ => Value::Integer(0),
        }
    }

    /// Decodes a scalar as prost does.
    #[expect(clippy::cast_possible_truncation, reason = "the wire's 64 bits hold narrower types, cut by definition")]
    pub fn read(self, raw: Raw<'_>) -> Result<Value<'_>, Malformed> {
        let zigzag = |value: u64| (value >> 1).cast_signed() ^ -((value & 1).cast_signed());
        Ok(match (self, raw) {
            (Type::Bool, Raw::Varint(value)) => Value::Bool(value != 0),
            (Type::Int32, Raw::Varint(value)) => Value::Integer((value as i32).into()),
            (Type::Int64, Raw::Varint(value)) => Value::Integer(value.cast_signed().into()),
            (Type::Uint32, Raw::Varint(value)) => Value::Integer((value as u32).into()),
            (Type::Uint64, Raw::Varint(value)) => Value::Integer(value.into()),
            (Type::Sint32, Raw::Varint(value)) => Value::Integer(zigzag((value as u32).into()).into()),
            (Type::Sint64, Raw::Varint(value)) => Value::Integer(zigzag(value).into()),
            (Type::Fixed32, Raw::Fixed32(value)) => Value::Integer(value.into()),
            (Type::Fixed64, Raw::Fixed64(value)) => Value::Integer(value.into()),
            (Type::Sfixed32, Raw::Fixed32(value)) => Value::Integer(value.cast_signed().into()),
            (Type::Sfixed64, Raw::Fixed64(value)) => Value::Integer(value.cast_signed().into()),
            (Type::Float, Raw::Fixed32(value)) => Value::Float(f32::from_bits(value).into()),
            (Type::Double, Raw::Fixed64(value)) => Value::Float(f64::from_bits(value)),
            (Type::Text, Raw::Bytes(bytes)) => Value::Text(std::str::from_utf8(bytes).map_err(|_| Malformed)?),
            (Type::Bytes | Type::Message(_) | Type::Time(_) | Type::Opaque, Raw::Bytes(bytes)) => Value::Bytes(bytes),
            _ => return Err(Malformed),
        })
    }
}

/// Compiles a message and everything that it contains; it is the first of the result.
pub(super) fn compile(message: &MessageDescriptor) -> Result<Vec<Message>, Vec<Unsupported>> {
    let mut compiler = Compiler { places: HashMap::new(), plan: Vec::new(), problems: Vec::new() };
    compiler.place(message);
    if compiler.problems.is_empty() { Ok(compiler.plan) } else { Err(compiler.problems) }
}

/// The rules of one field in words, each the rest of a sentence after its name.
pub(super) fn words(field: &FieldDescriptor) -> Vec<String> {
    // What is not supported is refused where the message is compiled.
    let stated = options::read(field, &mut Vec::new());
    let mut words = Vec::new();
    if stated.min_count > 0 || stated.max_count < u64::MAX {
        let noun = if field.is_map() { ("entry", "entries") } else { ("item", "items") };
        words.push(format!("must have {}", describe_count(noun, stated.min_count, stated.max_count)));
    }
    if stated.unique {
        words.push("must not hold the same item twice".to_owned());
    }
    let each = match () {
        () if field.is_map() => "each value ",
        () if field.is_list() => "each ",
        () => "",
    };
    // The values of an enum are listed with its type.
    let told = |rule: &&Rule| !matches!(rule, Rule::Defined(_));
    words.extend(stated.keys.rules.iter().filter(told).map(|rule| format!("each key {}", rule.describe())));
    words.extend(stated.element.rules.iter().filter(told).map(|rule| format!("{each}{}", rule.describe())));
    words
}

/// Whether a request is refused where the field is not set.
pub(super) fn is_required(field: &FieldDescriptor) -> bool {
    let stated = options::read(field, &mut Vec::new());
    let zero = match field.kind() {
        Proto::Bool => Type::Bool.zero(),
        Proto::Double | Proto::Float => Type::Double.zero(),
        Proto::String => Type::Text.zero(),
        Proto::Bytes => Type::Bytes.zero(),
        _ => Type::Int64.zero(),
    };
    let refuses_nothing = match field.is_list() || field.is_map() {
        true => stated.min_count > 0 && !stated.skip_zero_list,
        false if field.supports_presence() || stated.element.skip_zero => false,
        false => stated.element.rules.iter().any(|rule| !rule.holds(&zero)),
    };
    stated.required || refuses_nothing
}

struct Compiler {
    /// Where in the plan a message type is, by its full name; a type may contain itself.
    places: HashMap<String, usize>,
    plan: Vec<Message>,
    problems: Vec<Unsupported>,
}

impl Compiler {
    fn place(&mut self, message: &MessageDescriptor) -> usize {
        if let Some(place) = self.places.get(message.full_name()) {
            return *place;
        }
        let place = self.plan.len();
        self.places.insert(message.full_name().to_owned(), place);
        self.plan.push(Message { fields: Vec::new(), oneofs: Vec::new() });
        let mut descriptors: Vec<_> = message.fields().collect();
        descriptors.sort_by_key(FieldDescriptor::number);
        let mut fields: Vec<_> = descriptors.iter().map(|field| self.field(field)).collect();
        let oneofs = self.oneofs(message, &mut fields);
        self.plan[place] = Message { fields, oneofs };
        place
    }

    fn field(&mut self, descriptor: &FieldDescriptor) -> Field {
        let stated = options::read(descriptor, &mut self.problems);
        let (shape, key, kind) = match descriptor.kind() {
            Proto::Message(entry) if descriptor.is_map() => {
                let key = Element {
                    kind: self.kind(&entry.map_entry_key_field(), false),
                    skip_zero: stated.keys.skip_zero,
                    skip_zero_list: false,
                    rules: stated.keys.rules,
                };
                let kind = self.kind(&entry.map_entry_value_field(), stated.element.ignored);
                (Shape::Map, Some(key), kind)
            }
            _ => {
                let shape = match descriptor.cardinality() {
                    Cardinality::Repeated => Shape::List,
                    _ => Shape::Singular { presence: descriptor.supports_presence() },
                };
                (shape, None, self.kind(descriptor, stated.element.ignored))
            }
        };
        if kind == Type::Opaque && descriptor.is_group() && !stated.element.rules.is_empty() {
            self.problem(descriptor.full_name(), "group", "is on a group, which is not looked into");
        }
        Field {
            name: descriptor.name().to_owned(),
            number: descriptor.number(),
            shape,
            oneof: None,
            required: stated.required,
            min_count: stated.min_count,
            max_count: stated.max_count,
            unique: stated.unique,
            key,
            element: Element {
                kind,
                skip_zero: stated.element.skip_zero,
                skip_zero_list: stated.skip_zero_list,
                rules: stated.element.rules,
            },
        }
    }

    fn kind(&mut self, field: &FieldDescriptor, ignored: bool) -> Type {
        match field.kind() {
            Proto::Double => Type::Double,
            Proto::Float => Type::Float,
            Proto::Int32 | Proto::Enum(_) => Type::Int32,
            Proto::Int64 => Type::Int64,
            Proto::Uint32 => Type::Uint32,
            Proto::Uint64 => Type::Uint64,
            Proto::Sint32 => Type::Sint32,
            Proto::Sint64 => Type::Sint64,
            Proto::Fixed32 => Type::Fixed32,
            Proto::Fixed64 => Type::Fixed64,
            Proto::Sfixed32 => Type::Sfixed32,
            Proto::Sfixed64 => Type::Sfixed64,
            Proto::Bool => Type::Bool,
            Proto::String => Type::Text,
            Proto::Bytes => Type::Bytes,
            Proto::Message(_) if ignored => Type::Opaque,
            Proto::Message(message) if field.is_group() => {
                self.refuse_rules_within(&message);
                Type::Opaque
            }
            Proto::Message(message) => match message.full_name() {
                "google.protobuf.Timestamp" | "google.protobuf.Duration" => Type::Time(self.place(&message)),
                _ => Type::Message(self.place(&message)),
            },
        }
    }

    /// A group is skipped on the wire, so that rules within would be skipped with it.
    fn refuse_rules_within(&mut self, group: &MessageDescriptor) {
        match compile(group) {
            Ok(plan) if plan.iter().all(Message::is_free) => {}
            _ => self.problem(group.full_name(), "group", "is in a group, which is not looked into"),
        }
    }

    fn oneofs(&mut self, message: &MessageDescriptor, fields: &mut [Field]) -> Vec<Oneof> {
        let mut oneofs = Vec::new();
        let at = |number: u32, fields: &[Field]| fields.iter().position(|field| field.number == number);
        for descriptor in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            let members: Vec<_> = descriptor.fields().filter_map(|field| at(field.number(), fields)).collect();
            members.iter().for_each(|member| fields[*member].oneof = Some(oneofs.len()));
            let required = self.oneof_is_required(&descriptor);
            oneofs.push(Oneof { members, required });
        }
        let Some(rules) = options::extension(&message.options(), "buf.validate.message") else {
            return oneofs;
        };
        for (rule, value) in rules.fields() {
            match (rule.name(), value) {
                ("oneof", OptionValue::List(sets)) => {
                    for set in sets.iter().filter_map(OptionValue::as_message) {
                        oneofs.extend(self.named_oneof(message, set, fields));
                    }
                }
                (name, _) => self.problem(message.full_name(), name, options::UNKNOWN),
            }
        }
        oneofs
    }

    fn oneof_is_required(&mut self, oneof: &OneofDescriptor) -> bool {
        let Some(rules) = options::extension(&oneof.options(), "buf.validate.oneof") else {
            return false;
        };
        rules.get_field_by_name("required").and_then(|value| value.as_bool()).unwrap_or(false)
    }

    /// `option (buf.validate.message).oneof = { fields: [...] }`: its members are checked only where they are set.
    fn named_oneof(
        &mut self,
        message: &MessageDescriptor,
        set: &DynamicMessage,
        fields: &mut [Field],
    ) -> Option<Oneof> {
        let names = set.get_field_by_name("fields")?;
        let mut members = Vec::new();
        for name in names.as_list()?.iter().filter_map(OptionValue::as_str) {
            match fields.iter().position(|field| field.name == name) {
                Some(member) => {
                    fields[member].element.skip_zero |= matches!(fields[member].shape, Shape::Singular { .. });
                    fields[member].element.skip_zero_list = true;
                    members.push(member);
                }
                None => self.problem(message.full_name(), "oneof", &format!("names `{name}`, which is no field")),
            }
        }
        let required = set.get_field_by_name("required").and_then(|value| value.as_bool()).unwrap_or(false);
        Some(Oneof { members, required })
    }

    fn problem(&mut self, field: &str, rule: &str, problem: &str) {
        self.problems.push(Unsupported { field: field.to_owned(), rule: rule.to_owned(), problem: problem.to_owned() });
    }
}

impl Message {
    /// Whether no rule is stated.
    fn is_free(&self) -> bool {
        let free = |field: &Field| {
            let counted = field.min_count > 0 || field.max_count < u64::MAX || field.unique;
            let key_free = field.key.as_ref().is_none_or(|key| key.rules.is_empty());
            !field.required && !counted && key_free && field.element.rules.is_empty()
        };
        self.fields.iter().all(free) && self.oneofs.iter().all(|oneof| !oneof.required)
    }
}
