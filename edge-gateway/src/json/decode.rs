//! JSON text to wire bytes, without a message in between. Goes on after a problem, so that a caller learns all at once.

use std::{borrow::Cow, collections::HashSet};

use super::{
    Problem, ProblemKind,
    lexer::{Lexer, Syntax, Token},
    no_such_field, scalar,
    table::{Field, Form, Shape, Tables, Type},
    times, wire,
};

/// Messages within messages; as many as prost decodes.
pub const MAX_DEPTH: usize = 100;
/// Problems told at once.
const MAX_PROBLEMS: usize = 20;

pub struct Decoder<'t, 'j> {
    pub tables: &'t Tables,
    pub lexer: Lexer<'j>,
    pub out: Vec<u8>,
    pub problems: Vec<Problem>,
    path: Vec<Step<'t>>,
    depth: usize,
}

/// A step on the way to the value being read.
enum Step<'t> {
    Field(&'t str),
    Index(usize),
    Key(String),
}

/// Which fields and oneofs of an object came already.
#[derive(Default)]
struct Seen {
    low: u64,
    high: HashSet<usize>,
}

impl Seen {
    /// False if it was there already.
    fn insert(&mut self, at: usize) -> bool {
        if at >= 64 {
            return self.high.insert(at);
        }
        let bit = 1 << at;
        let is_new = self.low & bit == 0;
        self.low |= bit;
        is_new
    }
}

impl<'t, 'j> Decoder<'t, 'j> {
    pub fn new(tables: &'t Tables, text: &'j str) -> Self {
        let out = Vec::with_capacity(text.len() / 2 + 16);
        Self { tables, lexer: Lexer::new(text), out, problems: Vec::new(), path: Vec::new(), depth: 0 }
    }

    /// Writes the fields of one message, without tag and length.
    pub fn message(&mut self, index: usize) -> Result<(), Syntax> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.lexer.fail("nested too deeply");
        }
        let table = &self.tables.messages[index];
        match table.shape {
            Shape::Object => self.object(index, false)?,
            Shape::Timestamp => self.text_message(times::put_timestamp, times::TIMESTAMP)?,
            Shape::Duration => self.text_message(times::put_duration, times::DURATION)?,
            Shape::FieldMask => self.text_message(times::put_field_mask, times::FIELD_MASK)?,
            Shape::Wrapper => {
                if let Some(field) = table.fields.first() {
                    self.out.extend_from_slice(&field.tag);
                    self.value(field.ty)?;
                }
            }
            Shape::Struct | Shape::List => self.only_field(index)?,
            Shape::Value => self.any_json(index)?,
            Shape::Any => self.any()?,
        }
        self.depth -= 1;
        Ok(())
    }

    /// Writes one whole field, tag and all; `null` is its absence.
    pub fn whole_field(&mut self, field: &'t Field) -> Result<(), Syntax> {
        if self.lexer.peek() == b'n' && !self.takes_null(field) {
            self.lexer.token()?;
            return Ok(());
        }
        self.field(field)
    }

    fn takes_null(&self, field: &Field) -> bool {
        matches!(field.form, Form::Implicit | Form::Explicit) && self.tables.has_null(field.ty)
    }

    fn text_message(&mut self, put: fn(&str, &mut Vec<u8>) -> bool, expected: &str) -> Result<(), Syntax> {
        match self.scalar_token()? {
            Some(Token::Text(text)) if put(&text, &mut self.out) => {}
            _ => self.problem(expected),
        }
        Ok(())
    }

    /// A value that is no container; a container is skipped and gives `None`.
    fn scalar_token(&mut self) -> Result<Option<Token<'j>>, Syntax> {
        if matches!(self.lexer.peek(), b'{' | b'[') {
            self.lexer.skip(MAX_DEPTH)?;
            return Ok(None);
        }
        self.lexer.token().map(Some)
    }

    fn object(&mut self, index: usize, has_type: bool) -> Result<(), Syntax> {
        let expected = if self.path.is_empty() { "must be a JSON object, such as `{}`" } else { "must be an object" };
        if !self.open(b'{', expected)? {
            return Ok(());
        }
        let table = &self.tables.messages[index];
        let (mut fields, mut oneofs) = (Seen::default(), Seen::default());
        let mut first = true;
        while let Some(name) = self.lexer.key(first)? {
            first = false;
            if has_type && name == "@type" {
                self.lexer.skip(MAX_DEPTH)?;
                continue;
            }
            let Some(position) = table.names.get(name.as_ref()).copied() else {
                self.unknown(index, &name);
                self.lexer.skip(MAX_DEPTH)?;
                continue;
            };
            let field = &table.fields[position];
            self.path.push(Step::Field(&field.json_name));
            if !fields.insert(position) {
                self.problem("is given twice");
            }
            if self.lexer.peek() == b'n' && !self.takes_null(field) {
                self.lexer.token()?;
            } else {
                if field.oneof.is_some_and(|oneof| !oneofs.insert(oneof)) {
                    self.problem("is one of several fields of which only one may be set, and another is set too");
                }
                self.field(field)?;
            }
            self.path.pop();
        }
        Ok(())
    }

    /// Takes the opening bracket; anything else is a problem, and skipped.
    fn open(&mut self, bracket: u8, expected: &str) -> Result<bool, Syntax> {
        let opened = self.lexer.take(bracket);
        if !opened {
            self.problem(expected);
            self.lexer.skip(MAX_DEPTH)?;
        }
        Ok(opened)
    }

    fn field(&mut self, field: &'t Field) -> Result<(), Syntax> {
        match field.form {
            Form::Implicit | Form::Explicit => {
                self.out.extend_from_slice(&field.tag);
                self.value(field.ty)
            }
            Form::List { packed } => self.list(field, packed),
            Form::Map { key, value } => self.map(field, key, value),
        }
    }

    /// Writes one value, messages with their length.
    fn value(&mut self, ty: Type) -> Result<(), Syntax> {
        if let Type::Message(index) = ty {
            let start = wire::begin(&mut self.out);
            self.message(index)?;
            wire::end(&mut self.out, start);
            return Ok(());
        }
        match self.scalar_token()? {
            Some(token) => {
                if let Err(refused) = scalar::put(self.tables, ty, &token, &mut self.out) {
                    self.problem(&refused);
                }
            }
            None => self.problem(&scalar::expected(ty)),
        }
        Ok(())
    }

    /// An element of a list or map, which cannot be null.
    fn element(&mut self, ty: Type) -> Result<(), Syntax> {
        if self.lexer.peek() == b'n' && !self.tables.has_null(ty) {
            self.problem("must not be null");
            self.lexer.token()?;
            return Ok(());
        }
        self.value(ty)
    }

    fn list(&mut self, field: &'t Field, packed: bool) -> Result<(), Syntax> {
        if !self.open(b'[', "must be an array")? {
            return Ok(());
        }
        let before = self.out.len();
        let start = packed.then(|| {
            self.out.extend_from_slice(&field.tag);
            wire::begin(&mut self.out)
        });
        let mut count = 0;
        while self.lexer.element(count == 0)? {
            self.path.push(Step::Index(count));
            count += 1;
            if !packed {
                self.out.extend_from_slice(&field.tag);
            }
            self.element(field.ty)?;
            self.path.pop();
        }
        match start {
            Some(_) if count == 0 => self.out.truncate(before),
            Some(start) => wire::end(&mut self.out, start),
            None => {}
        }
        Ok(())
    }

    fn map(&mut self, field: &'t Field, key_type: Type, value_type: Type) -> Result<(), Syntax> {
        if !self.open(b'{', "must be an object")? {
            return Ok(());
        }
        let mut keys = HashSet::new();
        while let Some(key) = self.lexer.key(keys.is_empty())? {
            self.path.push(Step::Key(scalar::shorten(&key)));
            self.out.extend_from_slice(&field.tag);
            let start = wire::begin(&mut self.out);
            wire::put_tag(&mut self.out, 1, key_type.wire_type());
            if let Err(refused) = scalar::put_text(self.tables, key_type, &key, &mut self.out) {
                self.problem(&format!("has a key that {refused}"));
            }
            if !keys.insert(key) {
                self.problem("is given twice");
            }
            wire::put_tag(&mut self.out, 2, value_type.wire_type());
            self.element(value_type)?;
            wire::end(&mut self.out, start);
            self.path.pop();
        }
        Ok(())
    }

    /// Struct and ListValue: read as their one field.
    fn only_field(&mut self, index: usize) -> Result<(), Syntax> {
        match self.tables.messages[index].fields.first() {
            Some(field) => self.field(field),
            None => self.lexer.skip(MAX_DEPTH),
        }
    }

    /// `google.protobuf.Value`: any JSON at all.
    fn any_json(&mut self, index: usize) -> Result<(), Syntax> {
        let table = &self.tables.messages[index];
        let nested = match self.lexer.peek() {
            b'{' => table.field("structValue"),
            b'[' => table.field("listValue"),
            _ => None,
        };
        if let Some(field) = nested {
            return self.field(field);
        }
        match self.lexer.token()? {
            Token::Null => self.out.extend_from_slice(&[1 << 3, 0]),
            Token::Bool(value) => self.out.extend_from_slice(&[4 << 3, u8::from(value)]),
            Token::Text(text) => wire::put_bytes(&mut self.out, 3, text.as_bytes()),
            token @ Token::Number(_) => {
                wire::put_tag(&mut self.out, 2, wire::I64);
                if let Err(refused) = scalar::put(self.tables, Type::Double, &token, &mut self.out) {
                    self.problem(&refused);
                }
            }
        }
        Ok(())
    }

    /// `google.protobuf.Any`: the message named by `@type`, which may stand anywhere in the object.
    fn any(&mut self) -> Result<(), Syntax> {
        let Some(url) = self.find_type()? else {
            return self.lexer.skip(MAX_DEPTH);
        };
        let name = url.rsplit('/').next().unwrap_or_default();
        let Some(index) = self.tables.message(name) else {
            self.problem(&format!("has an `@type` that is not known here: `{}`", scalar::shorten(&url)));
            return self.lexer.skip(MAX_DEPTH);
        };
        wire::put_bytes(&mut self.out, 1, url.as_bytes());
        wire::put_tag(&mut self.out, 2, wire::LEN);
        let start = wire::begin(&mut self.out);
        if self.tables.messages[index].shape == Shape::Object {
            self.object(index, true)?;
        } else {
            self.any_value(index)?;
        }
        wire::end(&mut self.out, start);
        Ok(())
    }

    /// The special form `{"@type": ..., "value": ...}` of messages that are not written as objects.
    fn any_value(&mut self, index: usize) -> Result<(), Syntax> {
        self.lexer.take(b'{');
        let mut found = false;
        let mut first = true;
        while let Some(name) = self.lexer.key(first)? {
            first = false;
            match name.as_ref() {
                "value" if !found => {
                    found = true;
                    self.message(index)?;
                }
                "@type" => self.lexer.skip(MAX_DEPTH)?,
                _ => {
                    self.problem("may have only `@type` and one `value`");
                    self.lexer.skip(MAX_DEPTH)?;
                }
            }
        }
        if !found {
            self.problem("lacks `value`");
        }
        Ok(())
    }

    /// Looks ahead for `@type`; `None`, with the problem noted, if there is none. An empty object is an empty Any.
    fn find_type(&mut self) -> Result<Option<Cow<'j, str>>, Syntax> {
        let mut ahead = self.lexer.clone();
        if !ahead.take(b'{') {
            self.problem("must be an object with `@type`");
            return Ok(None);
        }
        let mut first = true;
        while let Some(name) = ahead.key(first)? {
            first = false;
            if name == "@type" {
                if let Token::Text(url) = ahead.token()? {
                    return Ok(Some(url));
                }
                break;
            }
            ahead.skip(MAX_DEPTH)?;
        }
        if !first {
            self.problem("must have a string `@type` that names its message");
        }
        Ok(None)
    }

    fn unknown(&mut self, index: usize, name: &str) {
        let what = no_such_field(name, self.tables.messages[index].settable());
        self.path.push(Step::Key(scalar::shorten(name)));
        self.add(ProblemKind::Unknown, what);
        self.path.pop();
    }

    fn problem(&mut self, what: &str) {
        if self.path.is_empty() {
            return self.add(ProblemKind::Malformed, format!("The body {what}"));
        }
        self.add(ProblemKind::Invalid, what.to_owned());
    }

    fn add(&mut self, kind: ProblemKind, what: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { kind, path: self.path_text(), what });
        }
    }

    fn path_text(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Index(at) => text.push_str(&format!("[{at}]")),
                Step::Field(name) => push_name(&mut text, name),
                Step::Key(name) => push_name(&mut text, name),
            }
        }
        text
    }
}

fn push_name(text: &mut String, name: &str) {
    if !text.is_empty() {
        text.push('.');
    }
    text.push_str(name);
}
