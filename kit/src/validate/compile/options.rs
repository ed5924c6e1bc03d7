//! Reads the options of one field into rules.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind as Proto, Value as OptionValue};
use regex::Regex;

use crate::validate::{
    Unsupported,
    format::Format,
    rule::{Constant, Range, Rule, Scale, Unit},
};

/// Why a rule that we do not know is an error.
pub(super) const UNKNOWN: &str = "is not supported here, so it would not be enforced";

/// What the options of a field state.
#[derive(Default)]
pub(super) struct Stated {
    pub required: bool,
    pub min_count: u64,
    pub max_count: u64,
    pub unique: bool,
    pub skip_zero_list: bool,
    pub element: StatedElement,
    pub keys: StatedElement,
}

/// What the options state for a single value.
#[derive(Default)]
pub(super) struct StatedElement {
    pub ignored: bool,
    pub skip_zero: bool,
    pub rules: Vec<Rule>,
}

/// The extension with this full name, where the options carry it.
pub(super) fn extension(options: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    extension_value(options, name).and_then(|value| value.as_message().cloned())
}

fn extension_value(options: &DynamicMessage, name: &str) -> Option<OptionValue> {
    options.extensions().find(|(extension, _)| extension.full_name() == name).map(|(_, value)| value.clone())
}

/// Reads what the options of `field` state; what would not be enforced is added to `problems`.
pub(super) fn read(field: &FieldDescriptor, problems: &mut Vec<Unsupported>) -> Stated {
    let options = field.options();
    let mut reader = Reader { field, problems };
    let mut stated = Stated { max_count: u64::MAX, ..Stated::default() };
    if let Some(rules) = extension(&options, "buf.validate.field") {
        reader.field_rules(&rules, &mut stated);
    }
    if let Some(OptionValue::List(behaviors)) = extension_value(&options, "google.api.field_behavior") {
        // REQUIRED of google.api.FieldBehavior.
        stated.required |= behaviors.iter().any(|behavior| behavior.as_enum_number() == Some(2));
    }
    if let Some(prefix) = extension_value(&options, "agora.policy.v1.id").and_then(|id| id.as_str().map(str::to_owned))
    {
        match reader.value_kind() {
            Proto::String => stated.element.rules.push(Rule::Id(prefix)),
            _ => reader.problem("agora.policy.v1.id", "is for strings"),
        }
    }
    stated
}

struct Reader<'a> {
    field: &'a FieldDescriptor,
    problems: &'a mut Vec<Unsupported>,
}

impl Reader<'_> {
    fn problem(&mut self, rule: &str, problem: &str) {
        let field = self.field.full_name().to_owned();
        self.problems.push(Unsupported { field, rule: rule.to_owned(), problem: problem.to_owned() });
    }

    /// The kind of a single value: of an item, or of a value of a map.
    fn value_kind(&self) -> Proto {
        match self.field.kind() {
            Proto::Message(entry) if self.field.is_map() => entry.map_entry_value_field().kind(),
            kind => kind,
        }
    }

    fn field_rules(&mut self, rules: &DynamicMessage, stated: &mut Stated) {
        self.refuse_foreign(rules, "");
        let composite = self.field.is_list() || self.field.is_map();
        let mut always_ignored = false;
        for (rule, value) in rules.fields() {
            match (rule.name(), value) {
                ("required", value) => stated.required |= value.as_bool().unwrap_or(false),
                ("ignore", value) => match value.as_enum_number() {
                    Some(0) => {}
                    Some(1) if composite => stated.skip_zero_list = true,
                    Some(1) => stated.element.skip_zero = true,
                    Some(3) => always_ignored = true,
                    _ => self.problem("ignore", UNKNOWN),
                },
                ("repeated", OptionValue::Message(rules)) if self.field.is_list() => self.list_rules(rules, stated),
                ("map", OptionValue::Message(rules)) if self.field.is_map() => self.map_rules(rules, stated),
                (name, OptionValue::Message(rules)) if !composite => {
                    stated.element.rules = self.value_rules(&self.field.kind(), name, rules);
                }
                (name, _) => self.problem(name, UNKNOWN),
            }
        }
        if always_ignored {
            let element = StatedElement { ignored: true, ..StatedElement::default() };
            *stated = Stated { max_count: u64::MAX, element, ..Stated::default() };
        }
    }

    fn list_rules(&mut self, rules: &DynamicMessage, stated: &mut Stated) {
        self.refuse_foreign(rules, "repeated.");
        for (rule, value) in rules.fields() {
            match (rule.name(), value) {
                ("min_items", value) => stated.min_count = value.as_u64().unwrap_or(0),
                ("max_items", value) => stated.max_count = value.as_u64().unwrap_or(u64::MAX),
                ("unique", OptionValue::Bool(true)) if matches!(self.field.kind(), Proto::Message(_)) => {
                    self.problem("repeated.unique", "is for scalars and enums");
                }
                ("unique", value) => stated.unique = value.as_bool().unwrap_or(false),
                ("items", OptionValue::Message(rules)) => {
                    stated.element = self.element_rules(&self.field.kind(), "repeated.items.", rules);
                }
                (name, _) => self.problem(&format!("repeated.{name}"), UNKNOWN),
            }
        }
    }

    fn map_rules(&mut self, rules: &DynamicMessage, stated: &mut Stated) {
        self.refuse_foreign(rules, "map.");
        let Proto::Message(entry) = self.field.kind() else { return };
        for (rule, value) in rules.fields() {
            match (rule.name(), value) {
                ("min_pairs", value) => stated.min_count = value.as_u64().unwrap_or(0),
                ("max_pairs", value) => stated.max_count = value.as_u64().unwrap_or(u64::MAX),
                ("keys", OptionValue::Message(rules)) => {
                    stated.keys = self.element_rules(&entry.map_entry_key_field().kind(), "map.keys.", rules);
                }
                ("values", OptionValue::Message(rules)) => {
                    stated.element = self.element_rules(&entry.map_entry_value_field().kind(), "map.values.", rules);
                }
                (name, _) => self.problem(&format!("map.{name}"), UNKNOWN),
            }
        }
    }

    /// The `FieldRules` of an item, a key or a value. Such an element is always set, so that `required` says nothing.
    fn element_rules(&mut self, kind: &Proto, within: &str, rules: &DynamicMessage) -> StatedElement {
        self.refuse_foreign(rules, within);
        let mut element = StatedElement::default();
        for (rule, value) in rules.fields() {
            match (rule.name(), value) {
                ("required", _) => {
                    self.problem(&format!("{within}required"), "has no effect: an element is always set")
                }
                ("ignore", value) => match value.as_enum_number() {
                    Some(0) => {}
                    Some(1) => element.skip_zero = true,
                    Some(3) => element.ignored = true,
                    _ => self.problem(&format!("{within}ignore"), UNKNOWN),
                },
                (name, OptionValue::Message(rules)) => element.rules = self.value_rules(kind, name, rules),
                (name, _) => self.problem(&format!("{within}{name}"), UNKNOWN),
            }
        }
        if element.ignored {
            element.rules.clear();
        }
        element
    }

    /// The rules of one type, such as `buf.validate.StringRules`.
    fn value_rules(&mut self, kind: &Proto, type_name: &str, rules: &DynamicMessage) -> Vec<Rule> {
        if rules_of(kind) != Some(type_name) {
            self.problem(type_name, "does not fit the type of the field");
            return Vec::new();
        }
        self.refuse_foreign(rules, &format!("{type_name}."));
        let mut compiled = Vec::new();
        let mut bounds = Bounds::new(kind);
        let mut examples = Vec::new();
        for (rule, value) in rules.fields() {
            let name = rule.name();
            if name == "example" {
                examples = value.as_list().and_then(|list| constants(list).ok()).unwrap_or_default();
                continue;
            }
            if bounds.take(name, value) {
                continue;
            }
            match value_rule(kind, name, value) {
                Ok(found) => compiled.extend(found),
                Err(problem) => self.problem(&format!("{type_name}.{name}"), &problem),
            }
        }
        bounds.finish(&mut compiled);
        if examples.iter().any(|example| compiled.iter().any(|rule| !rule.holds(&example.value()))) {
            self.problem(&format!("{type_name}.example"), "breaks another rule of the field");
        }
        if let Some(Constant::Text(text)) = examples.into_iter().next() {
            for rule in &mut compiled {
                if let Rule::Pattern { example, .. } = rule {
                    *example = Some(text.clone());
                }
            }
        }
        compiled
    }

    /// Rules of a newer `buf.validate`, and predefined rules, are extensions or unknown fields of the message.
    fn refuse_foreign(&mut self, rules: &DynamicMessage, within: &str) {
        let extensions: Vec<_> = rules.extensions().map(|(extension, _)| extension.full_name().to_owned()).collect();
        for extension in extensions {
            self.problem(&format!("{within}({extension})"), UNKNOWN);
        }
        for unknown in rules.unknown_fields() {
            self.problem(&format!("{within}{}", unknown.number()), UNKNOWN);
        }
    }
}

/// The name in `buf.validate.FieldRules` of the rules for a type.
fn rules_of(kind: &Proto) -> Option<&'static str> {
    Some(match kind {
        Proto::Double => "double",
        Proto::Float => "float",
        Proto::Int32 => "int32",
        Proto::Int64 => "int64",
        Proto::Uint32 => "uint32",
        Proto::Uint64 => "uint64",
        Proto::Sint32 => "sint32",
        Proto::Sint64 => "sint64",
        Proto::Fixed32 => "fixed32",
        Proto::Fixed64 => "fixed64",
        Proto::Sfixed32 => "sfixed32",
        Proto::Sfixed64 => "sfixed64",
        Proto::Bool => "bool",
        Proto::String => "string",
        Proto::Bytes => "bytes",
        Proto::Enum(_) => "enum",
        Proto::Message(message) => match message.full_name() {
            "google.protobuf.Timestamp" => "timestamp",
            "google.protobuf.Duration" => "duration",
            _ => return None,
        },
    })
}

/// A rule that stands for itself.
fn value_rule(kind: &Proto, name: &str, value: &OptionValue) -> Result<Option<Rule>, String> {
    let text = *kind == Proto::String;
    let rule = match (name, value) {
        ("const", value) => Rule::Const(constant(value).ok_or(UNKNOWN)?),
        ("in", OptionValue::List(values)) => Rule::In(named(kind, constants(values)?)),
        ("not_in", OptionValue::List(values)) => Rule::NotIn(named(kind, constants(values)?)),
        ("prefix", value) => Rule::Prefix(constant(value).ok_or(UNKNOWN)?),
        ("suffix", value) => Rule::Suffix(constant(value).ok_or(UNKNOWN)?),
        ("contains", value) => Rule::Contains(constant(value).ok_or(UNKNOWN)?),
        ("not_contains", value) => Rule::NotContains(constant(value).ok_or(UNKNOWN)?),
        ("pattern", OptionValue::String(pattern)) if text => {
            let regex = Regex::new(pattern).map_err(|error| format!("is no regular expression: {error}"))?;
            Rule::Pattern { regex, example: None }
        }
        ("finite" | "defined_only", OptionValue::Bool(false)) => return Ok(None),
        ("finite", OptionValue::Bool(true)) => Rule::Finite,
        ("defined_only", OptionValue::Bool(true)) => match kind {
            Proto::Enum(enumeration) => {
                let mut numbers: Vec<_> = enumeration.values().map(|value| i128::from(value.number())).collect();
                numbers.sort_unstable();
                Rule::Defined(numbers)
            }
            _ => return Err(UNKNOWN.into()),
        },
        (name, OptionValue::Bool(on)) if text => match (Format::of_rule(name), on) {
            (Some(format), true) => Rule::Format(format),
            (Some(_), false) => return Ok(None),
            (None, _) => return Err(UNKNOWN.into()),
        },
        _ => return Err(UNKNOWN.into()),
    };
    Ok(Some(rule))
}

/// The values of an enum with their names; others as they are.
fn named(kind: &Proto, values: Vec<Constant>) -> Vec<Constant> {
    let Proto::Enum(enumeration) = kind else { return values };
    let name = |number: i128| enumeration.get_value(i32::try_from(number).ok()?).map(|value| value.name().to_owned());
    let named = values.into_iter().map(|value| match value {
        Constant::Integer(number) => name(number).map_or(value, |name| Constant::Named(number, name)),
        value => value,
    });
    named.collect()
}

fn constants(values: &[OptionValue]) -> Result<Vec<Constant>, String> {
    values.iter().map(|value| constant(value).ok_or_else(|| UNKNOWN.to_owned())).collect()
}

fn constant(value: &OptionValue) -> Option<Constant> {
    Some(match value {
        OptionValue::Bool(value) => Constant::Bool(*value),
        OptionValue::F32(value) => Constant::Float((*value).into()),
        OptionValue::F64(value) => Constant::Float(*value),
        OptionValue::String(value) => Constant::Text(value.clone()),
        OptionValue::Bytes(value) => Constant::Bytes(value.to_vec()),
        other => Constant::Integer(integer(other)?),
    })
}

/// An integer; of a `Timestamp` or a `Duration` the nanoseconds.
fn integer(value: &OptionValue) -> Option<i128> {
    Some(match value {
        OptionValue::I32(value) | OptionValue::EnumNumber(value) => (*value).into(),
        OptionValue::I64(value) => (*value).into(),
        OptionValue::U32(value) => (*value).into(),
        OptionValue::U64(value) => (*value).into(),
        OptionValue::Message(time) => {
            let seconds = time.get_field_by_name("seconds")?.as_i64()?;
            let nanos = time.get_field_by_name("nanos")?.as_i32()?;
            i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
        }
        _ => return None,
    })
}

/// Collects the rules that only together make one: bounds of a range and of a length.
struct Bounds {
    integers: Range<i128>,
    floats: Range<f64>,
    /// Of a string in characters, of bytes in bytes.
    length: Option<(u64, u64)>,
    /// Of a string in bytes.
    bytes: Option<(u64, u64)>,
    unit: Unit,
}

impl Bounds {
    fn new(kind: &Proto) -> Self {
        let mut integers = Range::default();
        if matches!(kind, Proto::Message(_)) {
            integers.scale = Scale::Seconds;
        }
        let unit = if *kind == Proto::String { Unit::Characters } else { Unit::Bytes };
        Self { integers, floats: Range::default(), length: None, bytes: None, unit }
    }

    /// Whether the rule is a bound, and was taken.
    fn take(&mut self, name: &str, value: &OptionValue) -> bool {
        let length = |bounds: &mut Option<(u64, u64)>, min: Option<u64>, max: Option<u64>| {
            let (low, high) = bounds.unwrap_or((0, u64::MAX));
            *bounds = Some((low.max(min.unwrap_or(0)), high.min(max.unwrap_or(u64::MAX))));
            true
        };
        match (name, value) {
            ("lt" | "lte" | "gt" | "gte", value) => self.bound(name, value),
            ("len", OptionValue::U64(exact)) => length(&mut self.length, Some(*exact), Some(*exact)),
            ("min_len", OptionValue::U64(min)) => length(&mut self.length, Some(*min), None),
            ("max_len", OptionValue::U64(max)) => length(&mut self.length, None, Some(*max)),
            ("len_bytes", OptionValue::U64(exact)) => length(&mut self.bytes, Some(*exact), Some(*exact)),
            ("min_bytes", OptionValue::U64(min)) => length(&mut self.bytes, Some(*min), None),
            ("max_bytes", OptionValue::U64(max)) => length(&mut self.bytes, None, Some(*max)),
            _ => false,
        }
    }

    fn bound(&mut self, name: &str, value: &OptionValue) -> bool {
        let inclusive = name.ends_with('e');
        let upper = name.starts_with('l');
        match constant(value) {
            Some(Constant::Integer(bound)) if upper => self.integers.upper = Some((bound, inclusive)),
            Some(Constant::Integer(bound)) => self.integers.lower = Some((bound, inclusive)),
            Some(Constant::Float(bound)) if upper => self.floats.upper = Some((bound, inclusive)),
            Some(Constant::Float(bound)) => self.floats.lower = Some((bound, inclusive)),
            _ => return false,
        }
        true
    }

    fn finish(self, rules: &mut Vec<Rule>) {
        if self.integers.lower.is_some() || self.integers.upper.is_some() {
            rules.push(Rule::Integers(self.integers));
        }
        if self.floats.lower.is_some() || self.floats.upper.is_some() {
            rules.push(Rule::Floats(self.floats));
        }
        rules.extend(self.length.map(|(min, max)| Rule::Length { unit: self.unit, min, max }));
        rules.extend(self.bytes.map(|(min, max)| Rule::Length { unit: Unit::Bytes, min, max }));
    }
}
