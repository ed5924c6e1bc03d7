//! A REST request into the wire bytes of an RPC's request, and its reply back into JSON.

use http::{HeaderMap, header};
use kit::Error;
use uuid::Uuid;

use crate::{
    binding::{Binding, Body},
    etag,
    json::{Codec, Problem, ProblemKind, Reader, Type, put_bytes, put_tag},
    query,
};

/// The longest idempotency key.
const MAX_KEY: usize = 255;

/// What of a REST request becomes the RPC's request.
pub struct Parts<'r> {
    /// The values of the path's variables.
    pub variables: &'r [String],
    /// The raw query.
    pub query: &'r str,
    /// The headers.
    pub headers: &'r HeaderMap,
    /// The body.
    pub body: &'r [u8],
    /// Who is answerable for the call; idempotency keys belong to it.
    pub principal: &'r str,
}

/// The wire bytes of the RPC's request.
///
/// # Errors
/// `UNKNOWN_FIELD`, `INVALID_FIELD` or `MALFORMED_BODY`, with every problem that was found.
pub fn request(codec: &Codec, binding: &Binding, parts: &Parts<'_>) -> Result<Vec<u8>, Error> {
    let mut problems = Vec::new();
    let mut out = match read_body(codec, binding, parts.body) {
        Ok(bytes) => bytes,
        Err(mut found) => {
            problems.append(&mut found);
            Vec::new()
        }
    };
    match query::parse(parts.query) {
        Ok(pairs) => problems.append(&mut query::put_query(codec, binding, &pairs, &mut out)),
        Err(problem) => problems.push(problem),
    }
    problems.append(&mut query::put_variables(codec, binding, parts.variables, &mut out));
    if !problems.is_empty() {
        return Err(refuse(&problems));
    }
    put_mask(codec, binding, parts.body, &mut out)?;
    put_request_id(codec, binding, parts, &mut out)?;
    put_etag(codec, binding, parts.headers, &mut out)?;
    put_last_event(codec, binding, parts.headers, &mut out)?;
    Ok(out)
}

/// The JSON of the RPC's reply.
///
/// # Errors
/// If the reply is not what the contract says.
pub fn reply(codec: &Codec, binding: &Binding, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let json = match binding.response_body {
        Some(number) => codec.field_to_json(binding.output, number, bytes),
        None => codec.to_json(binding.output, bytes),
    };
    json.map_err(|error| Error::internal(format!("the reply of {}: {error}", binding.method.path)))
}

/// The content type and the bytes of a reply whose body is raw.
///
/// # Errors
/// If the reply is not what the contract says.
pub fn raw_reply<'b>(binding: &Binding, bytes: &'b [u8]) -> Result<(&'b str, &'b [u8]), Error> {
    const CONTENT_TYPE: u32 = 1;
    const DATA: u32 = 2;

    let body = match binding.response_body {
        Some(number) => last_text(bytes, number).unwrap_or_default(),
        None => bytes,
    };
    let kind = last_text(body, CONTENT_TYPE).filter(|kind| !kind.is_empty()).unwrap_or(b"application/octet-stream");
    let kind = std::str::from_utf8(kind)
        .map_err(|error| Error::internal(format!("the content type of {}: {error}", binding.method.path)))?;
    Ok((kind, last_text(body, DATA).unwrap_or_default()))
}

/// The etag of the resource that a reply shows.
pub fn etag<'b>(binding: &Binding, bytes: &'b [u8]) -> Option<&'b str> {
    let shown = match binding.response_body {
        Some(number) => last_text(bytes, number)?,
        None => bytes,
    };
    std::str::from_utf8(last_text(shown, binding.etag?)?).ok()
}

fn read_body(codec: &Codec, binding: &Binding, body: &[u8]) -> Result<Vec<u8>, Vec<Problem>> {
    let is_empty = body.iter().all(u8::is_ascii_whitespace);
    match binding.body {
        _ if is_empty => Ok(Vec::new()),
        Body::None => {
            let what = format!("{} takes no body", binding.method.name);
            Err(vec![Problem { kind: ProblemKind::Malformed, path: String::new(), what }])
        }
        Body::All => codec.to_wire(binding.input, body),
        Body::Field(position) => codec.field_to_wire(&codec.tables.messages[binding.input].fields[position], body),
    }
}

/// Every problem as one refusal.
fn refuse(problems: &[Problem]) -> Error {
    let all = |kind| problems.iter().all(|problem| problem.kind == kind);
    let reason = match () {
        () if problems.iter().any(|problem| problem.kind == ProblemKind::Malformed) => "MALFORMED_BODY",
        () if all(ProblemKind::Unknown) => "UNKNOWN_FIELD",
        () => "INVALID_FIELD",
    };
    let sentence = |problem: &Problem| match problem.path.as_str() {
        "" => format!("{}.", problem.what),
        path => format!("`{path}` {}.", problem.what),
    };
    let message = problems.iter().map(sentence).collect::<Vec<_>>().join(" ");
    let mut error = Error::named(reason, message);
    if let Some(first) = problems.first().filter(|problem| !problem.path.is_empty()) {
        error = error.with("field", &first.path);
    }
    problems.iter().fold(error, |error, problem| match problem.path.as_str() {
        "" => error,
        path => error.violation(path, &problem.what),
    })
}

/// A PATCH without a mask updates what its body names, if all of that can be.
fn put_mask(codec: &Codec, binding: &Binding, body: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let (Some(mask), Body::Field(position)) = (binding.mask, binding.body) else { return Ok(()) };
    let table = &codec.tables.messages[binding.input];
    let Type::Message(updated) = table.fields[position].ty else { return Ok(()) };
    let mask = &table.fields[mask];
    if last_text(out, mask.number).is_some() {
        return Ok(());
    }
    let mut paths = Vec::new();
    for path in binding.updates.mask(codec.mask(updated, body))? {
        put_bytes(&mut paths, 1, path.as_bytes());
    }
    put_bytes(out, mask.number, &paths);
    Ok(())
}

/// The bytes of the last occurrence of a length-delimited field.
fn last_text(bytes: &[u8], wanted: u32) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes);
    let mut found = None;
    while let Ok(Some((number, wire_type))) = reader.tag() {
        let mut value = reader;
        reader.skip(number, wire_type).ok()?;
        if number == wanted {
            found = value.bytes().ok();
        }
    }
    found
}

/// `Idempotency-Key` fills `request_id`, where the RPC has it.
fn put_request_id(codec: &Codec, binding: &Binding, parts: &Parts<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
    let table = &codec.tables.messages[binding.input];
    let Some(field) = table.field("request_id").filter(|field| field.ty == Type::String) else { return Ok(()) };
    let Some(header) = parts.headers.get("idempotency-key") else { return Ok(()) };
    let refuse = |what: &str| Err(Error::named("INVALID_FIELD", what).violation("Idempotency-Key", what));
    let Ok(key) = header.to_str() else { return refuse("`Idempotency-Key` must be visible ASCII.") };
    // The draft writes it as a quoted string, most clients without quotes.
    let key = key.strip_prefix('"').and_then(|key| key.strip_suffix('"')).unwrap_or(key);
    if key.is_empty() || key.len() > MAX_KEY {
        return refuse("`Idempotency-Key` must have 1 to 255 characters; a UUID is best.");
    }
    let id = request_id(key, parts.principal);
    match last_text(out, field.number) {
        Some(given) if !given.is_empty() && given != id.as_bytes() && given != key.as_bytes() => {
            refuse("`Idempotency-Key` and `requestId` say different things. Send one of them.")
        }
        _ => {
            put_bytes(out, field.number, id.as_bytes());
            Ok(())
        }
    }
}

/// A UUID is kept; any other key becomes one, in the namespace of who sent it.
fn request_id(key: &str, principal: &str) -> String {
    match Uuid::try_parse(key) {
        Ok(id) => id.to_string(),
        Err(_) => {
            let namespace = Uuid::new_v5(&Uuid::NAMESPACE_OID, principal.as_bytes());
            Uuid::new_v5(&namespace, key.as_bytes()).to_string()
        }
    }
}

/// `If-Match` fills the etag of the request. Most reads take none: there it is compared with the reply, if that shows a
/// resource with an etag. `If-None-Match` is for reads alone, and for their replies.
fn put_etag(codec: &Codec, binding: &Binding, headers: &HeaderMap, out: &mut Vec<u8>) -> Result<(), Error> {
    if !binding.reads() && headers.contains_key(header::IF_NONE_MATCH) {
        let hint =
            if binding.guard.is_some() { "Leave it out, or send `If-Match` to guard it." } else { "Leave it out." };
        let what = format!("`If-None-Match` is for reads, and this call changes something. {hint}");
        return Err(etag::refusal("If-None-Match", &what));
    }
    if !headers.contains_key(header::IF_MATCH) {
        return Ok(());
    }
    let refuse = |what: &str| Err(etag::refusal("If-Match", what));
    let Some(guard) = &binding.guard else {
        return match binding.reads() {
            true if etag::is_empty(headers, &header::IF_MATCH) => {
                refuse("`If-Match` names no etag. Name one, in its quotes, or leave it out.")
            }
            true => Ok(()),
            false => refuse("`If-Match` guards nothing here: this call takes no etag. Leave it out."),
        };
    };
    let wanted = etag::required(headers, binding.guard_about.is_none())?;
    let fields = guard.iter().map(|(message, position)| &codec.tables.messages[*message].fields[*position]);
    let numbers: Vec<u32> = fields.map(|field| field.number).collect();
    let given = text_at(out, &numbers).filter(|given| !given.is_empty());
    let Some(wanted) = wanted else {
        return match &binding.guard_about {
            Some(about) if given.is_none() => refuse(&format!(
                "`If-Match: *` is not enough here. Send the etag that was read, in its quotes. {about}"
            )),
            _ => Ok(()),
        };
    };
    match given {
        Some(given) if given != wanted.as_bytes() => {
            return refuse("`If-Match` and `etag` say different things. Send one of them.");
        }
        _ => {}
    }
    // Parts of one message may come apart: the wire format merges them.
    let whole = numbers.iter().rev().fold(wanted.into_bytes(), |inner, number| {
        let mut outer = Vec::new();
        put_bytes(&mut outer, *number, &inner);
        outer
    });
    out.extend_from_slice(&whole);
    Ok(())
}

/// The last text under a path of field numbers.
fn text_at(bytes: &[u8], numbers: &[u32]) -> Option<Vec<u8>> {
    let (number, rest) = numbers.split_first()?;
    if rest.is_empty() {
        return last_text(bytes, *number).map(<[u8]>::to_vec);
    }
    let mut reader = Reader::new(bytes);
    let mut merged = Vec::new();
    while let Ok(Some((found, wire_type))) = reader.tag() {
        let mut value = reader;
        reader.skip(found, wire_type).ok()?;
        if found == *number {
            merged.extend_from_slice(value.bytes().ok()?);
        }
    }
    text_at(&merged, rest)
}

/// A stream that was cut off goes on after `Last-Event-ID`, where the RPC has `after_sequence`.
fn put_last_event(codec: &Codec, binding: &Binding, headers: &HeaderMap, out: &mut Vec<u8>) -> Result<(), Error> {
    let table = &codec.tables.messages[binding.input];
    let field = table.field("after_sequence").filter(|_| binding.method.server_streaming);
    let (Some(field), Some(id)) = (field, headers.get("last-event-id")) else { return Ok(()) };
    let mut reader = Reader::new(out);
    while let Ok(Some((number, wire_type))) = reader.tag() {
        if number == field.number {
            return Ok(());
        }
        if reader.skip(number, wire_type).is_err() {
            break;
        }
    }
    put_tag(out, field.number, field.ty.wire_type());
    codec.put_text(field.ty, id.to_str().unwrap_or_default(), out).map_err(|what| {
        let message = format!("`Last-Event-ID` {what}.");
        Error::named("INVALID_FIELD", message).violation("Last-Event-ID", what)
    })
}
