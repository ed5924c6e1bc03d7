//! Reads the protobuf wire format without decoding it into anything: field numbers and raw values, borrowed.

/// How deeply groups may nest; what prost allows.
const GROUP_DEPTH: u32 = 100;

/// The bytes are no protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A value as it lies on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    /// A group, skipped.
    Group,
}

/// Walks over the fields of one message. Ends after the first malformed one.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn entry(&mut self) -> Result<(u32, Raw<'a>), Malformed> {
        let (number, wire_type) = self.key()?;
        let raw = match wire_type {
            3 => {
                self.skip_group(number)?;
                Raw::Group
            }
            _ => self.value(wire_type)?,
        };
        Ok((number, raw))
    }

    fn key(&mut self) -> Result<(u32, u8), Malformed> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let number = key >> 3;
        if number == 0 { Err(Malformed) } else { Ok((number, (key & 7) as u8)) }
    }

    fn value(&mut self, wire_type: u8) -> Result<Raw<'a>, Malformed> {
        Ok(match wire_type {
            0 => Raw::Varint(self.varint()?),
            1 => Raw::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
                self.rest = rest;
                Raw::Bytes(bytes)
            }
            5 => Raw::Fixed32(u32::from_le_bytes(self.fixed()?)),
            _ => return Err(Malformed),
        })
    }

    /// Skips to the end of the group that has just begun, and of every group within.
    fn skip_group(&mut self, number: u32) -> Result<(), Malformed> {
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            match self.key()? {
                (begun, 3) if open.len() < GROUP_DEPTH as usize => open.push(begun),
                (ended, 4) if ended == innermost => {
                    open.pop();
                }
                (_, wire_type) => {
                    self.value(wire_type)?;
                }
            }
        }
        Ok(())
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (index, &byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte has room for the 64th bit only.
            if index == 9 && byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(u32, Raw<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}

/// Walks over the elements of a packed field.
pub(super) struct Packed<'a> {
    reader: Reader<'a>,
    wire_type: u8,
}

impl<'a> Packed<'a> {
    /// `wire_type` is that of one element: 0, 1 or 5.
    pub fn new(bytes: &'a [u8], wire_type: u8) -> Self {
        Self { reader: Reader::new(bytes), wire_type }
    }
}

impl<'a> Iterator for Packed<'a> {
    type Item = Result<Raw<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.rest.is_empty() {
            return None;
        }
        let value = self.reader.value(self.wire_type);
        if value.is_err() {
            self.reader.rest = &[];
        }
        Some(value)
    }
}
