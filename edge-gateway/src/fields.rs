//! What a refusal says of fields, in the names of a REST caller. The contract says `thing.unit_price`; the caller sent
//! `thing.unitPrice`, or `unitPrice` alone where the body is the field `thing`, or put it into the path or the query.

use prost::Message;
use tonic::Status;
use tonic_types::pb;

use crate::{
    binding::{Binding, Body, Chain},
    json::{Codec, Form, Shape, Type},
};

/// What stands in a sentence for the body as a whole.
const WHOLE: &str = "the body";

/// A place in a request.
struct Place {
    /// As the caller wrote it; empty for the body as a whole.
    text: String,
    /// The messages in which names of fields that are told of it may be.
    near: Vec<usize>,
}

/// A refusal with its violations where the caller finds them. Others stay as they are, and so does what names no field.
pub fn as_sent(codec: &Codec, binding: &Binding, status: Status) -> Status {
    let Ok(mut whole) = pb::Status::decode(status.details()) else { return status };
    let Some(detail) = whole.details.iter_mut().find(|detail| detail.type_url.ends_with("/google.rpc.BadRequest"))
    else {
        return status;
    };
    let Ok(mut request) = pb::BadRequest::decode(detail.value.as_slice()) else { return status };
    let mut message = status.message().to_owned();
    let mut renamed = Vec::new();
    for violation in &mut request.field_violations {
        let place = place(codec, binding, &violation.field);
        let description = in_json(codec, &place.near, &violation.description);
        if description != violation.description {
            message = message.replace(&violation.description, &description);
            violation.description = description;
        }
        if place.text != violation.field {
            renamed.push((std::mem::replace(&mut violation.field, place.text.clone()), place.text));
        }
    }
    detail.value = request.encode_to_vec();
    // The longest first: `thing.name` before `thing`.
    renamed.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
    for (from, to) in &renamed {
        message = replaced(&message, from, if to.is_empty() { WHOLE } else { to });
    }
    for detail in whole.details.iter_mut().filter(|detail| detail.type_url.ends_with("/google.rpc.ErrorInfo")) {
        let Ok(mut info) = pb::ErrorInfo::decode(detail.value.as_slice()) else { continue };
        if let Some(field) = info.metadata.get_mut("field") {
            *field = place(codec, binding, field).text;
            detail.value = info.encode_to_vec();
        }
    }
    whole.message.clone_from(&message);
    Status::with_details_and_metadata(status.code(), message, whole.encode_to_vec().into(), status.metadata().clone())
}

/// Where a path of the contract is in the request of its caller.
fn place(codec: &Codec, binding: &Binding, path: &str) -> Place {
    let mut place = Place { text: String::new(), near: vec![binding.input] };
    let mut chain = Chain::new();
    let mut at = Some(binding.input);
    // Where what follows the first name begins.
    let mut inner = None;
    for part in parts(path) {
        if part.starts_with('[') {
            place.text += part;
            continue;
        }
        let known = at.and_then(|message| Some((message, *codec.tables.messages[message].names.get(part)?)));
        if !place.text.is_empty() {
            inner = inner.or(Some(place.text.len() + 1));
            place.text.push('.');
        }
        let Some((message, position)) = known else {
            place.text += part;
            at = None;
            continue;
        };
        let field = &codec.tables.messages[message].fields[position];
        place.text += &field.json_name;
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
            place.near.push(next);
            at = Some(next);
        }
    }
    let is_body = matches!(binding.body, Body::Field(position) if chain.first() == Some(&(binding.input, position)));
    if is_body && !binding.variables.contains(&chain) {
        place.text = inner.map_or_else(String::new, |inner| place.text[inner..].to_owned());
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

/// A sentence with the JSON names of fields of these messages, such as those of a oneof.
fn in_json(codec: &Codec, messages: &[usize], text: &str) -> String {
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
