//! Walks the wire bytes of a message beside its compiled rules.

use std::{collections::HashSet, fmt::Write as _};

use super::{
    Kind, MAX_DEPTH, MAX_VIOLATIONS, Violation,
    compile::{Element, Field, Message, Shape, Type},
    rule::{Identity, Rule, Value, describe_count},
    wire::{Malformed, Packed, Raw, Reader},
};

/// Messages with more fields than this keep their state on the heap.
const STACK_FIELDS: usize = 24;

/// Checks `bytes` against the first message of the plan.
pub(super) fn check(plan: &[Message], bytes: &[u8]) -> Vec<Violation> {
    let mut walk = Walk { plan, found: Vec::new() };
    if !plan.is_empty() {
        walk.message(0, bytes, &Path::Root, 0);
    }
    walk.found
}

/// Where in the request we are: a list that lives on the stack.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
    Entry(&'a Path<'a>, Value<'a>),
}

impl Path<'_> {
    fn render(&self, out: &mut String) {
        let _ = match self {
            Path::Root => Ok(()),
            Path::Field(parent, name) => {
                parent.render(out);
                let dot = if out.is_empty() { "" } else { "." };
                write!(out, "{dot}{name}")
            }
            Path::Item(parent, index) => {
                parent.render(out);
                write!(out, "[{index}]")
            }
            Path::Entry(parent, key) => {
                parent.render(out);
                match key {
                    Value::Text(text) => write!(out, "[{:?}]", text.chars().take(40).collect::<String>()),
                    Value::Integer(number) => write!(out, "[{number}]"),
                    Value::Bool(flag) => write!(out, "[{flag}]"),
                    Value::Float(_) | Value::Bytes(_) => write!(out, "[]"),
                }
            }
        };
    }
}

/// What was seen of one field of a message.
#[derive(Clone, Copy, Default)]
struct Seen<'a> {
    /// How often the field, or an element of it, occurred.
    count: u64,
    /// The last value of a singular field.
    last: Option<Raw<'a>>,
}

struct Walk<'p> {
    plan: &'p [Message],
    found: Vec<Violation>,
}

impl<'p> Walk<'p> {
    fn report(&mut self, path: &Path<'_>, kind: Kind, description: impl Into<String>) {
        if self.found.len() < MAX_VIOLATIONS {
            let mut field = String::new();
            path.render(&mut field);
            self.found.push(Violation { field, description: description.into(), kind });
        }
    }

    fn malformed(&mut self, path: &Path<'_>) {
        self.report(path, Kind::Rule, "is not encoded as its type in the contract asks");
    }

    fn message(&mut self, index: usize, bytes: &[u8], path: &Path<'_>, depth: u32) {
        let message = &self.plan[index];
        if depth > MAX_DEPTH {
            return self.report(path, Kind::Rule, format!("must not nest deeper than {MAX_DEPTH} messages"));
        }
        let mut on_stack = [Seen::default(); STACK_FIELDS];
        let mut on_heap = Vec::new();
        let seen = if message.fields.len() <= STACK_FIELDS {
            &mut on_stack[..message.fields.len()]
        } else {
            on_heap.resize(message.fields.len(), Seen::default());
            &mut on_heap[..]
        };
        for entry in Reader::new(bytes) {
            if self.found.len() >= MAX_VIOLATIONS {
                return;
            }
            let Ok((number, raw)) = entry else {
                return self.malformed(path);
            };
            if let Some(at) = message.position(number) {
                self.occurrence(message, at, raw, seen, path, depth);
            }
        }
        for (at, field) in message.fields.iter().enumerate() {
            self.finish(field, seen[at], bytes, path, depth);
        }
        self.oneofs(message, seen, path);
    }

    /// Takes note of a singular value; checks an element of a list or a map at once.
    fn occurrence<'a>(
        &mut self,
        message: &'p Message,
        at: usize,
        raw: Raw<'a>,
        seen: &mut [Seen<'a>],
        parent: &Path<'_>,
        depth: u32,
    ) {
        let field = &message.fields[at];
        let path = Path::Field(parent, &field.name);
        match field.shape {
            Shape::Singular { .. } => {
                // The last member of a oneof wins, and forgets what came before.
                if let Some(oneof) = field.oneof {
                    let others = message.oneofs[oneof].members.iter().filter(|other| **other != at);
                    others.for_each(|other| seen[*other] = Seen::default());
                }
                if !field.element.kind.is_message() && field.element.kind.read(raw).is_err() {
                    return self.malformed(&path);
                }
                seen[at].count += 1;
                seen[at].last = Some(raw);
            }
            Shape::List => {
                let mut item = |raw| {
                    let index = usize::try_from(seen[at].count).unwrap_or(usize::MAX);
                    seen[at].count += 1;
                    self.element(&field.element, raw, &Path::Item(&path, index), depth);
                };
                if elements(&field.element, raw, &mut item).is_err() {
                    self.malformed(&path);
                }
            }
            Shape::Map => {
                seen[at].count += 1;
                match raw {
                    Raw::Bytes(entry) => self.entry(field, entry, &path, depth),
                    _ => self.malformed(&path),
                }
            }
        }
    }

    fn entry(&mut self, field: &Field, entry: &[u8], path: &Path<'_>, depth: u32) {
        let Some(key_element) = &field.key else { return };
        let Ok((key, value)) = split_entry(entry) else {
            return self.malformed(path);
        };
        let key = match key {
            Some(raw) => key_element.kind.read(raw),
            None => Ok(key_element.kind.zero()),
        };
        let Ok(key) = key else {
            return self.malformed(path);
        };
        let path = Path::Entry(path, key);
        self.rules(key_element, &key, &path);
        match value {
            Some(raw) => self.element(&field.element, raw, &path, depth),
            None if field.element.kind.is_message() => {
                self.element(&field.element, Raw::Bytes(&[]), &path, depth);
            }
            None => self.rules(&field.element, &field.element.kind.zero(), &path),
        }
    }

    /// Checks what only the whole message tells: presence, counts, and the value that came last.
    fn finish(&mut self, field: &Field, seen: Seen<'_>, bytes: &[u8], parent: &Path<'_>, depth: u32) {
        let path = Path::Field(parent, &field.name);
        match field.shape {
            Shape::Singular { presence } => self.singular(field, presence, seen, bytes, &path, depth),
            Shape::List | Shape::Map => {
                if seen.count == 0 && field.required {
                    self.report(&path, Kind::Rule, "is required");
                } else if seen.count > 0 || !field.element.skip_zero_list {
                    self.counts(field, seen.count, bytes, &path);
                }
            }
        }
    }

    fn singular(&mut self, field: &Field, presence: bool, seen: Seen<'_>, bytes: &[u8], path: &Path<'_>, depth: u32) {
        let Some(raw) = seen.last else {
            return match (field.required, presence) {
                (true, _) => self.report(path, Kind::Rule, "is required"),
                (false, true) => {}
                (false, false) => self.rules(&field.element, &field.element.kind.zero(), path),
            };
        };
        if field.element.kind.is_message() && seen.count > 1 {
            // Several occurrences of a message merge, which is what concatenation means.
            match merged(field.number, bytes) {
                Ok(whole) => self.element(&field.element, Raw::Bytes(&whole), path, depth),
                Err(Malformed) => self.malformed(path),
            }
        } else if field.required && !presence && field.element.kind.read(raw).is_ok_and(|value| value.is_zero()) {
            self.report(path, Kind::Rule, "is required");
        } else {
            self.element(&field.element, raw, path, depth);
        }
    }

    fn counts(&mut self, field: &Field, count: u64, bytes: &[u8], path: &Path<'_>) {
        let map = field.key.is_some();
        let bounded = field.min_count > 0 || field.max_count < u64::MAX;
        let mut count = count;
        if field.unique || (map && bounded && count > 1) {
            let Ok(distinct) = distinct(field, bytes) else {
                return; // Reported when the element was met.
            };
            if field.unique && distinct < count {
                self.report(path, Kind::Rule, "must not hold the same item twice");
            }
            if map {
                count = distinct;
            }
        }
        if !(field.min_count..=field.max_count).contains(&count) {
            let noun = if map { ("entry", "entries") } else { ("item", "items") };
            let wanted = describe_count(noun, field.min_count, field.max_count);
            self.report(path, Kind::Rule, format!("must have {wanted}"));
        }
    }

    fn element(&mut self, element: &Element, raw: Raw<'_>, path: &Path<'_>, depth: u32) {
        match (element.kind, raw) {
            (Type::Opaque, Raw::Bytes(_) | Raw::Group) => {}
            (Type::Message(index), Raw::Bytes(bytes)) => self.message(index, bytes, path, depth + 1),
            (Type::Time(index), Raw::Bytes(bytes)) => {
                self.message(index, bytes, path, depth + 1);
                if let Ok(nanos) = nanos(bytes) {
                    self.rules(element, &Value::Integer(nanos), path);
                }
            }
            (kind, raw) => match kind.read(raw) {
                Ok(value) => self.rules(element, &value, path),
                Err(Malformed) => self.malformed(path),
            },
        }
    }

    fn rules(&mut self, element: &Element, value: &Value<'_>, path: &Path<'_>) {
        if element.skip_zero && value.is_zero() {
            return;
        }
        for rule in &element.rules {
            if !rule.holds(value) {
                let kind = if matches!(rule, Rule::Id(_)) { Kind::Id } else { Kind::Rule };
                self.report(path, kind, rule.refuse(value));
            }
        }
    }

    fn oneofs(&mut self, message: &Message, seen: &[Seen<'_>], path: &Path<'_>) {
        for oneof in &message.oneofs {
            let set = oneof.members.iter().filter(|at| is_set(&message.fields[**at], seen[**at])).count();
            if (oneof.required && set == 0) || set > 1 {
                let names: Vec<_> = oneof.members.iter().map(|at| &*message.fields[*at].name).collect();
                let wanted = if oneof.required { "must set exactly one of" } else { "must set at most one of" };
                self.report(path, Kind::Rule, format!("{wanted} {}", names.join(", ")));
            }
        }
    }
}

fn is_set(field: &Field, seen: Seen<'_>) -> bool {
    match field.shape {
        Shape::Singular { presence: false } => {
            seen.last.is_some_and(|raw| field.element.kind.read(raw).is_ok_and(|value| !value.is_zero()))
        }
        _ => seen.count > 0,
    }
}

/// Calls `each` with every element of one occurrence of a repeated field, packed or not.
fn elements<'a>(element: &Element, raw: Raw<'a>, each: &mut impl FnMut(Raw<'a>)) -> Result<(), Malformed> {
    match (element.kind.packed_wire_type(), raw) {
        (Some(wire_type), Raw::Bytes(bytes)) => {
            for value in Packed::new(bytes, wire_type) {
                each(value?);
            }
        }
        _ => each(raw),
    }
    Ok(())
}

fn split_entry(entry: &[u8]) -> Result<(Option<Raw<'_>>, Option<Raw<'_>>), Malformed> {
    let (mut key, mut value) = (None, None);
    for field in Reader::new(entry) {
        match field? {
            (1, raw) => key = Some(raw),
            (2, raw) => value = Some(raw),
            _ => {}
        }
    }
    Ok((key, value))
}

/// All occurrences of a message field, one after the other.
fn merged(number: u32, bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut whole = Vec::new();
    for entry in Reader::new(bytes) {
        match entry? {
            (found, Raw::Bytes(part)) if found == number => whole.extend_from_slice(part),
            (found, _) if found == number => return Err(Malformed),
            _ => {}
        }
    }
    Ok(whole)
}

/// How many different items a list, or different keys a map, holds.
fn distinct(field: &Field, bytes: &[u8]) -> Result<u64, Malformed> {
    let mut found: HashSet<Identity<'_>> = HashSet::new();
    let mut broken = false;
    for entry in Reader::new(bytes) {
        let (number, raw) = entry?;
        if number != field.number {
            continue;
        }
        match (&field.key, raw) {
            (Some(key), Raw::Bytes(entry)) => {
                let value = split_entry(entry)?.0.map_or(Ok(key.kind.zero()), |raw| key.kind.read(raw))?;
                found.insert(value.identity());
            }
            (Some(_), _) => return Err(Malformed),
            (None, raw) => elements(&field.element, raw, &mut |raw| match field.element.kind.read(raw) {
                Ok(value) => {
                    found.insert(value.identity());
                }
                Err(Malformed) => broken = true,
            })?,
        }
    }
    if broken { Err(Malformed) } else { Ok(found.len() as u64) }
}

/// The nanoseconds of an encoded `Timestamp` or `Duration`.
fn nanos(bytes: &[u8]) -> Result<i128, Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    for entry in Reader::new(bytes) {
        match entry? {
            (1, Raw::Varint(value)) => seconds = value.cast_signed(),
            (2, Raw::Varint(value)) => nanos = value.cast_signed() as i32,
            _ => {}
        }
    }
    Ok(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
}
