//! ProtoJSON and the protobuf wire format, translated into each other by tables made from the descriptors, without a
//! message object in between: several times less work than a dynamic message.
//!
//! Reading follows ProtoJSON strictly: unknown and duplicate names are refused, `null` is absence. Writing shows
//! every field that has a zero value, so that a caller sees `0`, `""` and `[]` instead of guessing.

mod decode;
mod encode;
mod known;
mod lexer;
mod mask;
mod nearest;
mod print;
mod scalar;
mod table;
mod times;
mod wire;

use prost_reflect::{DescriptorPool, DynamicMessage, prost::Message};

pub(crate) use nearest::{nearest, no_such_field};
pub(crate) use table::{Field, Form, Message as MessageTable, Shape, Tables, Type};
pub(crate) use wire::{Reader, begin, end, put_bytes, put_tag};

/// One thing that is wrong with what a caller sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What sort of thing.
    pub kind: ProblemKind,
    /// Where: `lines[2].quantity`; empty for the whole.
    pub path: String,
    /// What, as the rest of a sentence after the path.
    pub what: String,
}

/// What sort of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// There is no such field.
    Unknown,
    /// The field cannot hold that.
    Invalid,
    /// It is not JSON at all.
    Malformed,
}

/// Wire bytes that are not the message they should be, or that JSON has no form for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not a message that JSON can show")]
pub struct Unreadable;

/// The codec for all messages of a contract.
pub struct Codec {
    /// The tables, for who needs to know a message's fields.
    pub(crate) tables: Tables,
}

impl Codec {
    /// Lays out the tables.
    pub fn new(pool: &DescriptorPool) -> Codec {
        Codec { tables: Tables::new(pool) }
    }

    /// The index of the message with this full name.
    pub fn message(&self, name: &str) -> Option<usize> {
        self.tables.message(name)
    }

    /// The wire bytes of what JSON says of the message `index`.
    ///
    /// # Errors
    /// Every problem that was found, with the path to it.
    pub fn to_wire(&self, index: usize, json: &[u8]) -> Result<Vec<u8>, Vec<Problem>> {
        let text = utf8(json)?;
        let mut decoder = decode::Decoder::new(&self.tables, text);
        let read = decoder.message(index).and_then(|()| decoder.lexer.end());
        finish(text, read, decoder.problems, decoder.out)
    }

    /// The wire bytes of a field, tag and all, of which JSON is the value.
    ///
    /// # Errors
    /// Every problem that was found, with the path to it.
    pub(crate) fn field_to_wire(&self, field: &Field, json: &[u8]) -> Result<Vec<u8>, Vec<Problem>> {
        let text = utf8(json)?;
        let mut decoder = decode::Decoder::new(&self.tables, text);
        let read = decoder.whole_field(field).and_then(|()| decoder.lexer.end());
        finish(text, read, decoder.problems, decoder.out)
    }

    /// Writes the value of a scalar that `text` stands for, without a tag.
    ///
    /// # Errors
    /// What is wrong with it, as the rest of a sentence after the field's name.
    pub(crate) fn put_text(&self, ty: Type, text: &str, out: &mut Vec<u8>) -> Result<(), String> {
        scalar::put_text(&self.tables, ty, text, out)
    }

    /// Writes the fields of a message that JSON writes as text, or of a wrapper.
    ///
    /// # Errors
    /// What is wrong with the text, or that the message has no such form.
    pub(crate) fn put_text_message(&self, index: usize, text: &str, out: &mut Vec<u8>) -> Result<(), String> {
        let table = &self.tables.messages[index];
        let put = match table.shape {
            Shape::Timestamp => times::put_timestamp(text, out).then_some(()).ok_or(times::TIMESTAMP),
            Shape::Duration => times::put_duration(text, out).then_some(()).ok_or(times::DURATION),
            Shape::FieldMask => times::put_field_mask(text, out).then_some(()).ok_or(times::FIELD_MASK),
            Shape::Wrapper if !table.fields.is_empty() => {
                out.extend_from_slice(&table.fields[0].tag);
                return self.put_text(table.fields[0].ty, text, out);
            }
            _ => Err("is a message: it can only be sent in a body"),
        };
        put.map_err(str::to_owned)
    }

    /// The paths that a JSON object sets in the message `index`, as a field mask has them.
    pub fn mask(&self, index: usize, json: &[u8]) -> Vec<String> {
        std::str::from_utf8(json).map(|text| mask::paths(&self.tables, index, text)).unwrap_or_default()
    }

    /// The JSON of the message `index`.
    ///
    /// # Errors
    /// If the bytes are no such message.
    pub fn to_json(&self, index: usize, bytes: &[u8]) -> Result<Vec<u8>, Unreadable> {
        self.sorted_if_needed(index, bytes, |encoder, bytes| encoder.message(index, bytes))
    }

    /// The JSON of one field of the message `index`; `null` if it is unset.
    ///
    /// # Errors
    /// If the bytes are no such message.
    pub fn field_to_json(&self, index: usize, number: u32, bytes: &[u8]) -> Result<Vec<u8>, Unreadable> {
        self.sorted_if_needed(index, bytes, |encoder, bytes| encoder.one_field(index, number, bytes))
    }

    fn sorted_if_needed(
        &self,
        index: usize,
        bytes: &[u8],
        work: impl Fn(&mut encode::Encoder<'_>, &[u8]) -> Result<(), encode::Refused>,
    ) -> Result<Vec<u8>, Unreadable> {
        match self.encode(bytes, &work) {
            Err(encode::Refused::Order) => self.encode(&self.sort(index, bytes)?, &work).map_err(|_| Unreadable),
            other => other.map_err(|_| Unreadable),
        }
    }

    fn encode(
        &self,
        bytes: &[u8],
        work: impl Fn(&mut encode::Encoder<'_>, &[u8]) -> Result<(), encode::Refused>,
    ) -> Result<Vec<u8>, encode::Refused> {
        let out = Vec::with_capacity(bytes.len() * 3 + 64);
        let mut encoder = encode::Encoder { tables: &self.tables, out, depth: 0 };
        work(&mut encoder, bytes)?;
        Ok(encoder.out)
    }

    /// The same message with its fields in order and merged: the slow way, for bytes that no library writes.
    fn sort(&self, index: usize, bytes: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let descriptor = self.tables.messages[index].descriptor.clone();
        DynamicMessage::decode(descriptor, bytes).map(|message| message.encode_to_vec()).map_err(|_| Unreadable)
    }
}

fn utf8(json: &[u8]) -> Result<&str, Vec<Problem>> {
    std::str::from_utf8(json).map_err(|error| {
        let what = format!("The body is not UTF-8 after byte {}", error.valid_up_to());
        vec![Problem { kind: ProblemKind::Malformed, path: String::new(), what }]
    })
}

fn finish(
    text: &str,
    read: Result<(), lexer::Syntax>,
    mut problems: Vec<Problem>,
    out: Vec<u8>,
) -> Result<Vec<u8>, Vec<Problem>> {
    if let Err(syntax) = read {
        // What is no JSON at all is no object either: that is one thing to tell.
        let is_no_object = problems.iter().any(|problem| problem.path.is_empty());
        problems.retain(|problem| !problem.path.is_empty());
        let hint = if is_no_object { ". It must be a JSON object, such as `{}`" } else { "" };
        let before = text.get(..syntax.at).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let what =
            format!("The body is not JSON that can be read: {} at line {line}, column {column}{hint}", syntax.what);
        problems.insert(0, Problem { kind: ProblemKind::Malformed, path: String::new(), what });
    }
    if problems.is_empty() { Ok(out) } else { Err(problems) }
}
