//! Wire bytes to JSON for the messages that ProtoJSON writes in a form of their own.

use super::{
    encode::{Done, Encoder, Refused},
    print::put_string,
    table::{Form, Shape},
    times,
    wire::{self, Reader},
};

/// Writes a message of seconds and nanoseconds.
type Format = fn(i64, i32) -> Option<String>;

impl Encoder<'_> {
    /// A message whose shape is not [`Shape::Object`].
    pub fn known(&mut self, index: usize, bytes: &[u8]) -> Done {
        match self.tables.messages[index].shape {
            Shape::Object => Err(Refused::Malformed),
            Shape::Timestamp => self.seconds_and_nanos(bytes, times::format_timestamp),
            Shape::Duration => self.seconds_and_nanos(bytes, times::format_duration),
            Shape::FieldMask => self.field_mask(bytes),
            Shape::Wrapper => self.wrapper(index, bytes),
            Shape::Struct | Shape::List => self.only_field(index, bytes),
            Shape::Value => self.any_json(index, bytes),
            Shape::Any => self.any(bytes),
        }
    }

    fn seconds_and_nanos(&mut self, bytes: &[u8], format: Format) -> Done {
        let (mut seconds, mut nanos) = (0, 0);
        let mut reader = Reader::new(bytes);
        while let Some((number, wire_type)) = reader.tag()? {
            match (number, wire_type) {
                (1, wire::VARINT) => seconds = reader.varint()? as i64,
                (2, wire::VARINT) => nanos = reader.varint()? as i32,
                _ => reader.skip(number, wire_type)?,
            }
        }
        let text = format(seconds, nanos).ok_or(Refused::Malformed)?;
        put_string(&mut self.out, &text);
        Ok(())
    }

    fn field_mask(&mut self, bytes: &[u8]) -> Done {
        let mut paths = Vec::new();
        let mut reader = Reader::new(bytes);
        while let Some((number, wire_type)) = reader.tag()? {
            if (number, wire_type) == (1, wire::LEN) {
                let path = std::str::from_utf8(reader.bytes()?).map_err(|_| Refused::Malformed)?;
                paths.push(times::camel(path).ok_or(Refused::Malformed)?);
            } else {
                reader.skip(number, wire_type)?;
            }
        }
        put_string(&mut self.out, &paths.join(","));
        Ok(())
    }

    /// The last occurrence of the field with `number`.
    fn last<'w>(bytes: &'w [u8], numbers: &[u32]) -> Result<Option<(u32, u8, Reader<'w>)>, Refused> {
        let mut reader = Reader::new(bytes);
        let mut found = None;
        while let Some((number, wire_type)) = reader.tag()? {
            if numbers.contains(&number) {
                found = Some((number, wire_type, reader));
            }
            reader.skip(number, wire_type)?;
        }
        Ok(found)
    }

    fn wrapper(&mut self, index: usize, bytes: &[u8]) -> Done {
        let Some(field) = self.tables.messages[index].fields.first() else { return Err(Refused::Malformed) };
        match Self::last(bytes, &[1])? {
            Some((_, wire_type, mut reader)) => self.value(field.ty, wire_type, &mut reader),
            None => self.absent(field.ty),
        }
    }

    /// Struct and ListValue: written as their one field.
    fn only_field(&mut self, index: usize, bytes: &[u8]) -> Done {
        let Some(field) = self.tables.messages[index].fields.first() else { return Err(Refused::Malformed) };
        let mut reader = Reader::new(bytes);
        while let Some((number, wire_type)) = reader.tag()? {
            if number == field.number {
                return self.field(field, wire_type, &mut reader);
            }
            reader.skip(number, wire_type)?;
        }
        let empty: &[u8] = if matches!(field.form, Form::Map { .. }) { b"{}" } else { b"[]" };
        self.out.extend_from_slice(empty);
        Ok(())
    }

    fn any_json(&mut self, index: usize, bytes: &[u8]) -> Done {
        let table = &self.tables.messages[index];
        match Self::last(bytes, &[1, 2, 3, 4, 5, 6])? {
            Some((1, ..)) | None => {
                self.out.extend_from_slice(b"null");
                Ok(())
            }
            Some((number, wire_type, mut reader)) => {
                let field = table.position(number).map(|at| &table.fields[at]).ok_or(Refused::Malformed)?;
                if number == 2 && !f64::from_le_bytes({ reader }.fixed64()?).is_finite() {
                    return Err(Refused::Malformed);
                }
                self.value(field.ty, wire_type, &mut reader)
            }
        }
    }

    /// `Any`: the message with its `@type`; of a type that is not known here, its bytes.
    fn any(&mut self, bytes: &[u8]) -> Done {
        let url = match Self::last(bytes, &[1])? {
            Some((_, wire::LEN, mut reader)) => reader.bytes()?,
            _ => b"",
        };
        let url = std::str::from_utf8(url).map_err(|_| Refused::Malformed)?;
        let value = match Self::last(bytes, &[2])? {
            Some((_, wire::LEN, mut reader)) => reader.bytes()?,
            _ => b"",
        };
        if url.is_empty() {
            self.out.extend_from_slice(b"{}");
            return Ok(());
        }
        self.out.extend_from_slice(b"{\"@type\":");
        put_string(&mut self.out, url);
        let known = self.tables.message(url.rsplit('/').next().unwrap_or_default());
        match known.map(|index| (index, self.tables.messages[index].shape)) {
            Some((index, Shape::Object)) => {
                let comma = self.out.len();
                self.out.push(b',');
                self.fields(index, value)?;
                // The first field came without a comma of its own, or no field came at all.
                self.fix_comma(comma);
            }
            Some((index, _)) => {
                self.out.extend_from_slice(b",\"value\":");
                self.message(index, value)?;
            }
            None => {
                self.out.extend_from_slice(b",\"value\":");
                self.base64(value);
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    fn fix_comma(&mut self, comma: usize) {
        if self.out.len() == comma + 1 {
            self.out.pop();
        }
    }
}
