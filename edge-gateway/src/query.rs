//! Path variables and query parameters into the wire bytes of a request.
//!
//! `a.b=1` reaches into messages, a repeated field takes its key several times, `labels[key]=value` fills a map. Messages that
//! JSON writes as text (times, durations, masks, wrappers) are taken as that text.

use std::collections::HashSet;

use crate::{
    binding::{Binding, Body, Chain, chain},
    json::{Codec, Field, Form, Problem, ProblemKind, Type, begin, end, put_tag},
};

/// More parameters than this are refused.
const MAX_PARAMETERS: usize = 200;

/// The parts of a query, decoded: `+` is a space here.
pub fn parse(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let decode = |text: &str| {
        let malformed = || invalid("", "The query has a malformed percent escape".to_owned());
        crate::template::percent_decode(&text.replace('+', " "), false).ok_or_else(malformed)
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    if pairs.clone().count() > MAX_PARAMETERS {
        return Err(invalid("", format!("The query has more than {MAX_PARAMETERS} parameters")));
    }
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        })
        .collect()
}

/// Adds the values of path variables.
pub fn put_variables(codec: &Codec, binding: &Binding, values: &[String], out: &mut Vec<u8>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (chain, value) in binding.variables.iter().zip(values) {
        if let Err(what) = put(codec, chain, None, value, out) {
            problems.push(invalid(&name(codec, chain), what));
        }
    }
    problems
}

/// Adds the query's parameters.
pub fn put_query(codec: &Codec, binding: &Binding, pairs: &[(String, String)], out: &mut Vec<u8>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for (key, value) in pairs {
        if let Err(problem) = put_parameter(codec, binding, key, value, &mut seen, out) {
            problems.push(problem);
        }
    }
    problems
}

fn put_parameter(
    codec: &Codec,
    binding: &Binding,
    key: &str,
    value: &str,
    seen: &mut HashSet<Slot>,
    out: &mut Vec<u8>,
) -> Result<(), Problem> {
    let (path, map_key) = match key.split_once('[') {
        Some((path, rest)) if rest.ends_with(']') => (path, Some(&rest[..rest.len() - 1])),
        _ => (key, None),
    };
    if binding.body == Body::All {
        let what = "is a query parameter, and this RPC takes everything in its body".to_owned();
        return Err(unknown(key, what));
    }
    let chain = chain(codec, binding.input, path, &binding.elsewhere()).map_err(|what| unknown(key, what))?;
    if binding.variables.contains(&chain) {
        return Err(invalid(key, "comes from the path".to_owned()));
    }
    if binding.body == Body::Field(chain[0].1) {
        return Err(invalid(key, "comes from the body".to_owned()));
    }
    let field = leaf(codec, &chain).ok_or_else(|| unknown(key, "names no field".to_owned()))?;
    let slot = match field.oneof {
        Some(oneof) => Slot::Oneof(chain[..chain.len() - 1].to_vec(), oneof),
        None => Slot::Field(chain.clone(), map_key.map(str::to_owned)),
    };
    let repeats = matches!(field.form, Form::List { .. });
    if !seen.insert(slot) && !repeats {
        return Err(invalid(key, "is given twice, or next to a field that excludes it".to_owned()));
    }
    put(codec, &chain, map_key, value, out).map_err(|what| invalid(key, what))
}

/// What may be set once.
#[derive(PartialEq, Eq, Hash)]
enum Slot {
    Field(Chain, Option<String>),
    Oneof(Chain, usize),
}

fn leaf<'c>(codec: &'c Codec, chain: &Chain) -> Option<&'c Field> {
    let (message, position) = chain.last()?;
    Some(&codec.tables.messages[*message].fields[*position])
}

/// The JSON names of a path of fields.
fn name(codec: &Codec, chain: &Chain) -> String {
    let names = chain.iter().map(|(message, position)| &*codec.tables.messages[*message].fields[*position].json_name);
    names.collect::<Vec<_>>().join(".")
}

/// Writes one value under a path of fields. Parts of one message may come apart: the wire format merges them.
fn put(
    codec: &Codec,
    chain: &[(usize, usize)],
    key: Option<&str>,
    text: &str,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let Some(((message, position), rest)) = chain.split_first() else { return Ok(()) };
    let field = &codec.tables.messages[*message].fields[*position];
    if !rest.is_empty() {
        out.extend_from_slice(&field.tag);
        let start = begin(out);
        put(codec, rest, key, text, out)?;
        end(out, start);
        return Ok(());
    }
    match (field.form, key) {
        (Form::Map { key: key_type, value }, Some(key)) => {
            out.extend_from_slice(&field.tag);
            let start = begin(out);
            put_tag(out, 1, key_type.wire_type());
            put_value(codec, key_type, key, out).map_err(|what| format!("has a key that {what}"))?;
            put_tag(out, 2, value.wire_type());
            put_value(codec, value, text, out)?;
            end(out, start);
            Ok(())
        }
        (Form::Map { .. }, None) => Err(format!("is a map: write {}[key]=value", field.json_name)),
        (_, Some(_)) => Err("has brackets, but is no map".to_owned()),
        (Form::List { .. }, None) => {
            // Unpacked, whatever the field says: every reader takes both.
            put_tag(out, field.number, field.ty.wire_type());
            put_value(codec, field.ty, text, out)
        }
        _ => {
            out.extend_from_slice(&field.tag);
            put_value(codec, field.ty, text, out)
        }
    }
}

fn put_value(codec: &Codec, ty: Type, text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    let Type::Message(index) = ty else { return codec.put_text(ty, text, out) };
    let start = begin(out);
    codec.put_text_message(index, text, out)?;
    end(out, start);
    Ok(())
}

fn invalid(path: &str, what: String) -> Problem {
    Problem { kind: ProblemKind::Invalid, path: path.to_owned(), what }
}

fn unknown(path: &str, what: String) -> Problem {
    Problem { kind: ProblemKind::Unknown, path: path.chars().take(80).collect(), what }
}
