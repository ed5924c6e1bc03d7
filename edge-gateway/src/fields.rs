//! What a refusal says of fields, in the names of a REST caller. The contract says `thing.unit_price`; the caller sent
//! `thing.unitPrice`, or `unitPrice` alone where the body is the field `thing`, or put it into the path or the query.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;
use tonic::Status;
use tonic_types::pb;

use crate::{
    binding::{Binding, Body, Chain},
    json::{Codec, Form, Shape, Type},
};

/// What stands in a sentence for the body as a whole.
const WHOLE: &str = "the body";

/// A refusal with its violations where the caller finds them, and with fields of the request in their JSON names. What
/// names no field stays as it is.
pub fn as_sent(codec: &Codec, binding: &Binding, status: Status) -> Status {
    let Ok(mut whole) = pb::Status::decode(status.details()) else { return status };
    let known = within(codec, binding.input);
    let mut message = status.message().to_owned();
    for detail in whole.details.iter_mut().filter(|detail| detail.type_url.ends_with("/google.rpc.BadRequest")) {
        let Ok(mut request) = pb::BadRequest::decode(detail.value.as_slice()) else { continue };
        let mut renamed = Vec::new();
        for violation in &mut request.field_violations {
            violation.description = in_json(codec, &known, &violation.description);
            let place = place(codec, binding, &violation.field);
            if place != violation.field {
                renamed.push((std::mem::replace(&mut violation.field, place.clone()), place));
            }
        }
        detail.value = request.encode_to_vec();
        // The longest first: `thing.name` before `thing`.
        renamed.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        for (from, to) in &renamed {
            message = replaced(&message, from, if to.is_empty() { WHOLE } else { to });
        }
    }
    message = in_json(codec, &known, &message);
    for detail in whole.details.iter_mut().filter(|detail| detail.type_url.ends_with("/google.rpc.ErrorInfo")) {
        let Ok(mut info) = pb::ErrorInfo::decode(detail.value.as_slice()) else { continue };
        if let Some(field) = info.metadata.get_mut("field") {
            *field = place(codec, binding, field);
            detail.value = info.encode_to_vec();
        }
    }
    whole.message.clone_from(&message);
    let details = if status.details().is_empty() { Bytes::new() } else { whole.encode_to_vec().into() };
    Status::with_details_and_metadata(status.code(), message, details, status.metadata().clone())
}

/// Where a path of the contract is in the request of its caller, as the caller wrote it; empty for the whole body.
fn place(codec: &Codec, binding: &Binding, path: &str) -> String {
    let mut place = String::new();
    let mut chain = Chain::new();
    let mut at = Some(binding.input);
    // Where what follows the first name begins.
    let mut inner = None;
    for part in parts(path) {
        if part.starts_with('[') {
            place += part;
            continue;
        }
        let known = at.and_then(|message| Some((message, *codec.tables.messages[message].names.get(part)?)));
        if !place.is_empty() {
            inner = inner.or(Some(place.len() + 1));
            place.push('.');
        }
        let Some((message, position)) = known else {
            place += part;
            at = None;
            continue;
        };
        let field = &codec.tables.messages[message].fields[position];
        place += &field.json_name;
        chain.push((message, position));
        let ty = match field.form {
            Form::Map { value, .. } => value,
            _ => field.ty,
        };
        at = None;
        if let Type::Message(next) = ty {
            // JSON writes the others as one value: what is within is of no use to the caller.
            if codec.tables.messages[next].shape != Shape::Object {
                break;
            }
            at = Some(next);
        }
    }
    let is_body = matches!(binding.body, Body::Field(position) if chain.first() == Some(&(binding.input, position)));
    if is_body && !binding.variables.contains(&chain) {
        place = inner.map_or_else(String::new, |inner| place[inner..].to_owned());
    }
    place
}

/// The names of a path, and each pair of brackets for itself: `lines[2].labels["a.b"]` is `lines`, `[2]`, `labels`,
/// `["a.b"]`.
fn parts(path: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, c) in path.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '.' | '[' => {
                parts.push(&path[start..at]);
                start = if c == '.' { at + 1 } else { at };
            }
            _ => {}
        }
    }
    parts.push(&path[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// The message and all that JSON objects within it may be.
fn within(codec: &Codec, message: usize) -> BTreeSet<usize> {
    let (mut found, mut waiting) = (BTreeSet::new(), vec![message]);
    while let Some(message) = waiting.pop() {
        if codec.tables.messages[message].shape != Shape::Object || !found.insert(message) {
            continue;
        }
        for field in &codec.tables.messages[message].fields {
            match (field.form, field.ty) {
                (Form::Map { value: Type::Message(inner), .. }, _) | (_, Type::Message(inner)) => waiting.push(inner),
                _ => {}
            }
        }
    }
    found
}

/// A sentence with the JSON names of fields of these messages.
fn in_json(codec: &Codec, messages: &BTreeSet<usize>, text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = text.to_owned();
    for word in text.split(|c| !is_word(c)).filter(|word| word.contains('_')) {
        let field = messages.iter().find_map(|message| codec.tables.messages[*message].field(word));
        if let Some(field) = field {
            out = replaced(&out, word, &field.json_name);
        }
    }
    out
}

/// A text in which a path stands as another, where it stands for itself.
fn replaced(text: &str, from: &str, to: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(from).filter(|_| !from.is_empty()) {
        let (before, after) = (&rest[..at], &rest[at + from.len()..]);
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let begins = !(before.ends_with(is_part) || before.ends_with('.'));
        let goes_on = after.strip_prefix('.').is_some_and(|after| after.starts_with(is_part));
        let ends = !(after.starts_with(is_part) || after.starts_with('[') || goes_on);
        out += before;
        out += if begins && ends { to } else { from };
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_falls_into_its_names_and_brackets() {
        for (path, expected) in [
            ("", &[][..]),
            ("id", &["id"]),
            ("lines[2].quantity.value", &["lines", "[2]", "quantity", "value"]),
            (r#"labels["a.b[\"]"].x"#, &["labels", r#"["a.b[\"]"]"#, "x"]),
        ] {
            assert_eq!(parts(path), expected, "{path}");
        }
    }

    #[test]
    fn a_path_is_replaced_where_it_stands_for_itself() {
        let text = "thing_id, my_thing_id, thing_id.x, thing_id[0] and `thing_id`. thing_id";
        let expected = "thingId, my_thing_id, thing_id.x, thing_id[0] and `thingId`. thingId";
        assert_eq!(replaced(text, "thing_id", "thingId"), expected);
    }
}
