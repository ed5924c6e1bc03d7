//! Wire bytes to JSON text, without a message in between.
//!
//! Takes the fields in the order of their numbers, as every protobuf library writes them, and puts in what is absent but
//! has a zero value on the way. Bytes in another order are refused with [`Refused::Order`]; the caller sorts them and tries again.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    print::{put_digits, put_string},
    table::{Field, Form, Shape, Tables, Type},
    wire::{self, Malformed, Reader},
};

const MAX_DEPTH: usize = 100;

/// Why wire bytes are not written as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Fields are out of order, or a singular field or oneof is there twice.
    Order,
    /// They are not such a message, or JSON has no form for what they say.
    Malformed,
}

impl From<Malformed> for Refused {
    fn from(_: Malformed) -> Self {
        Refused::Malformed
    }
}

pub type Done = Result<(), Refused>;

pub struct Encoder<'t> {
    pub tables: &'t Tables,
    pub out: Vec<u8>,
    pub depth: usize,
}

impl<'t> Encoder<'t> {
    pub fn message(&mut self, index: usize, bytes: &[u8]) -> Done {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Refused::Malformed);
        }
        if self.tables.messages[index].shape == Shape::Object {
            self.out.push(b'{');
            self.fields(index, bytes)?;
            self.out.push(b'}');
        } else {
            self.known(index, bytes)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// `"name":value` for every field that is present or has a zero value, separated by commas.
    pub fn fields(&mut self, index: usize, bytes: &[u8]) -> Done {
        let table = &self.tables.messages[index];
        let start = self.out.len();
        let mut oneofs = 0_u64;
        let mut next = 0;
        let mut reader = Reader::new(bytes);
        while let Some((number, wire_type)) = reader.tag()? {
            let position = match table.fields.get(next) {
                Some(field) if field.number == number => Some(next),
                _ => table.position(number),
            };
            let Some(position) = position else {
                reader.skip(number, wire_type)?;
                continue;
            };
            if position < next {
                return Err(Refused::Order);
            }
            for absent in &table.fields[next..position] {
                self.zero(absent, start);
            }
            next = position + 1;
            let field = &table.fields[position];
            if let Some(oneof) = field.oneof {
                // Beyond the 64th oneof, a second value is not noticed: no message has that many.
                let bit = 1_u64.checked_shl(u32::try_from(oneof).unwrap_or(u32::MAX)).unwrap_or(0);
                if oneofs & bit != 0 {
                    return Err(Refused::Order);
                }
                oneofs |= bit;
            }
            self.key(field, start);
            self.field(field, wire_type, &mut reader)?;
        }
        for absent in &table.fields[next..] {
            self.zero(absent, start);
        }
        Ok(())
    }

    /// The value of one field, or `null`.
    pub fn one_field(&mut self, index: usize, wanted: u32, bytes: &[u8]) -> Done {
        let table = &self.tables.messages[index];
        let field = table.position(wanted).map(|at| &table.fields[at]).ok_or(Refused::Malformed)?;
        let mut found = false;
        let mut reader = Reader::new(bytes);
        while let Some((number, wire_type)) = reader.tag()? {
            if number != wanted {
                reader.skip(number, wire_type)?;
            } else if found {
                return Err(Refused::Order);
            } else {
                found = true;
                self.field(field, wire_type, &mut reader)?;
            }
        }
        match field.form {
            _ if found => {}
            Form::List { .. } => self.out.extend_from_slice(b"[]"),
            Form::Map { .. } => self.out.extend_from_slice(b"{}"),
            Form::Implicit => self.absent(field.ty)?,
            Form::Explicit => self.out.extend_from_slice(b"null"),
        }
        Ok(())
    }

    fn key(&mut self, field: &Field, start: usize) {
        if self.out.len() > start {
            self.out.push(b',');
        }
        self.out.extend_from_slice(&field.key);
    }

    /// Writes an absent field, if absence is a value.
    fn zero(&mut self, field: &Field, start: usize) {
        let value: &[u8] = match (field.form, field.ty) {
            (Form::Explicit, _) => return,
            (Form::List { .. }, _) => b"[]",
            (Form::Map { .. }, _) => b"{}",
            (Form::Implicit, Type::Bool) => b"false",
            (Form::Implicit, Type::String | Type::Bytes) => b"\"\"",
            (Form::Implicit, Type::Int64 | Type::Uint64 | Type::Sint64 | Type::Fixed64 | Type::Sfixed64) => b"\"0\"",
            (Form::Implicit, Type::Enum(values)) => {
                self.key(field, start);
                return self.enum_value(values, 0);
            }
            (Form::Implicit, _) => b"0",
        };
        self.key(field, start);
        self.out.extend_from_slice(value);
    }

    pub fn field(&mut self, field: &Field, wire_type: u8, reader: &mut Reader<'_>) -> Done {
        match field.form {
            Form::Implicit | Form::Explicit => self.value(field.ty, wire_type, reader),
            Form::List { .. } => {
                self.out.push(b'[');
                let start = self.out.len();
                self.run(field, wire_type, reader, |this, wire_type, reader| {
                    this.elements(field.ty, wire_type, reader, start)
                })?;
                self.out.push(b']');
                Ok(())
            }
            Form::Map { key, value } => {
                self.out.push(b'{');
                let start = self.out.len();
                self.run(field, wire_type, reader, |this, wire_type, reader| {
                    if wire_type != wire::LEN {
                        return Err(Refused::Malformed);
                    }
                    if this.out.len() > start {
                        this.out.push(b',');
                    }
                    this.entry(key, value, reader.bytes()?)
                })?;
                self.out.push(b'}');
                Ok(())
            }
        }
    }

    /// Calls `each` for this and every directly following occurrence of the field.
    fn run(
        &mut self,
        field: &Field,
        mut wire_type: u8,
        reader: &mut Reader<'_>,
        mut each: impl FnMut(&mut Self, u8, &mut Reader<'_>) -> Done,
    ) -> Done {
        loop {
            each(self, wire_type, reader)?;
            let mut ahead = *reader;
            match ahead.tag()? {
                Some((number, again)) if number == field.number => wire_type = again,
                _ => return Ok(()),
            }
            *reader = ahead;
        }
    }

    /// One element of a list, or a packed run of them.
    fn elements(&mut self, ty: Type, wire_type: u8, reader: &mut Reader<'_>, start: usize) -> Done {
        let own = ty.wire_type();
        if wire_type == own {
            if self.out.len() > start {
                self.out.push(b',');
            }
            return self.value(ty, wire_type, reader);
        }
        if wire_type != wire::LEN {
            return Err(Refused::Malformed);
        }
        let mut packed = Reader::new(reader.bytes()?);
        while !packed.is_empty() {
            if self.out.len() > start {
                self.out.push(b',');
            }
            self.value(ty, own, &mut packed)?;
        }
        Ok(())
    }

    fn entry(&mut self, key: Type, value: Type, bytes: &[u8]) -> Done {
        let mut reader = Reader::new(bytes);
        let (mut key_at, mut value_at) = (None, None);
        while let Some((number, wire_type)) = reader.tag()? {
            match number {
                1 => key_at = Some((wire_type, reader)),
                2 => value_at = Some((wire_type, reader)),
                _ => {}
            }
            reader.skip(number, wire_type)?;
        }
        let start = self.out.len();
        match key_at {
            Some((wire_type, mut reader)) => self.value(key, wire_type, &mut reader)?,
            None => self.absent(key)?,
        }
        if self.out.get(start) != Some(&b'"') {
            self.out.insert(start, b'"');
            self.out.push(b'"');
        }
        self.out.push(b':');
        match value_at {
            Some((wire_type, mut reader)) => self.value(value, wire_type, &mut reader),
            None => self.absent(value),
        }
    }

    /// The value of a map entry or wrapper that says none.
    pub fn absent(&mut self, ty: Type) -> Done {
        const ZERO: [u8; 8] = [0; 8];
        self.value(ty, ty.wire_type(), &mut Reader::new(&ZERO))
    }

    pub fn value(&mut self, ty: Type, wire_type: u8, reader: &mut Reader<'_>) -> Done {
        if wire_type != ty.wire_type() {
            return Err(Refused::Malformed);
        }
        match ty {
            Type::Double => self.float(f64::from_le_bytes(reader.fixed64()?)),
            Type::Float => self.float32(f32::from_le_bytes(reader.fixed32()?)),
            Type::Int32 => self.int(reader.varint()? as i32 as i64),
            Type::Uint32 => self.int(i64::from(reader.varint()? as u32)),
            Type::Sint32 => self.int(i64::from(unzigzag(reader.varint()?) as i32)),
            Type::Fixed32 => self.int(i64::from(u32::from_le_bytes(reader.fixed32()?))),
            Type::Sfixed32 => self.int(i64::from(i32::from_le_bytes(reader.fixed32()?))),
            Type::Int64 => self.quoted(reader.varint()? as i64),
            Type::Uint64 => self.quoted_unsigned(reader.varint()?),
            Type::Sint64 => self.quoted(unzigzag(reader.varint()?)),
            Type::Fixed64 => self.quoted_unsigned(u64::from_le_bytes(reader.fixed64()?)),
            Type::Sfixed64 => self.quoted(i64::from_le_bytes(reader.fixed64()?)),
            Type::Bool => self.out.extend_from_slice(if reader.varint()? == 0 { b"false" } else { b"true" }),
            Type::String => {
                let text = std::str::from_utf8(reader.bytes()?).map_err(|_| Refused::Malformed)?;
                put_string(&mut self.out, text);
            }
            Type::Bytes => self.base64(reader.bytes()?),
            Type::Enum(values) => self.enum_value(values, reader.varint()? as i32),
            Type::Message(index) => self.message(index, reader.bytes()?)?,
        }
        Ok(())
    }

    fn int(&mut self, value: i64) {
        if value < 0 {
            self.out.push(b'-');
        }
        put_digits(&mut self.out, value.unsigned_abs());
    }

    fn quoted(&mut self, value: i64) {
        self.out.push(b'"');
        self.int(value);
        self.out.push(b'"');
    }

    fn quoted_unsigned(&mut self, value: u64) {
        self.out.push(b'"');
        put_digits(&mut self.out, value);
        self.out.push(b'"');
    }

    fn float(&mut self, value: f64) {
        if value.is_finite() {
            self.out.extend_from_slice(serde_json::Value::from(value).to_string().as_bytes());
        } else {
            self.not_finite(value);
        }
    }

    fn float32(&mut self, value: f32) {
        if value.is_finite() {
            // Not by way of f64, which would show digits that the value does not have.
            self.out.extend_from_slice(serde_json::to_string(&value).unwrap_or_default().as_bytes());
        } else {
            self.not_finite(value.into());
        }
    }

    fn not_finite(&mut self, value: f64) {
        let name: &[u8] = match value {
            _ if value.is_nan() => b"\"NaN\"",
            _ if value > 0.0 => b"\"Infinity\"",
            _ => b"\"-Infinity\"",
        };
        self.out.extend_from_slice(name);
    }

    pub fn base64(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        self.out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
        self.out.push(b'"');
    }

    fn enum_value(&mut self, values: usize, number: i32) {
        let table = &self.tables.enums[values];
        match table.by_number.get(&number) {
            Some(_) if table.is_null => self.out.extend_from_slice(b"null"),
            Some(name) => {
                self.out.push(b'"');
                self.out.extend_from_slice(name.as_bytes());
                self.out.push(b'"');
            }
            None => self.int(number.into()),
        }
    }
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
