//! The protobuf wire format, as far as the codec needs it.

pub const VARINT: u8 = 0;
pub const I64: u8 = 1;
pub const LEN: u8 = 2;
const GROUP_START: u8 = 3;
const GROUP_END: u8 = 4;
pub const I32: u8 = 5;

/// The bytes are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

/// Writes a field of bytes.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, LEN);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Leaves room for a length; [`end`] fills it in.
pub fn begin(out: &mut Vec<u8>) -> usize {
    out.push(0);
    out.len()
}

/// Writes the length of what came since `start`, moving it if the length needs more than one byte.
pub fn end(out: &mut Vec<u8>, start: usize) {
    let length = out.len() - start;
    if length < 0x80 {
        out[start - 1] = length as u8;
        return;
    }
    let mut prefix = Vec::with_capacity(5);
    put_varint(&mut prefix, length as u64);
    let more = prefix.len() - 1;
    out.resize(out.len() + more, 0);
    out.copy_within(start..start + length, start + more);
    out[start - 1..start + more].copy_from_slice(&prefix);
}

/// Reads a message, field by field.
#[derive(Clone, Copy)]
pub struct Reader<'w> {
    bytes: &'w [u8],
}

impl<'w> Reader<'w> {
    pub fn new(bytes: &'w [u8]) -> Self {
        Self { bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next field's number and wire type; `None` at the end.
    pub fn tag(&mut self) -> Result<Option<(u32, u8)>, Malformed> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let (number, wire_type) = (tag >> 3, (tag & 7) as u8);
        if number == 0 { Err(Malformed) } else { Ok(Some((number, wire_type))) }
    }

    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (at, byte) in self.bytes.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.bytes = &self.bytes[at + 1..];
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    pub fn bytes(&mut self) -> Result<&'w [u8], Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(Malformed)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub fn fixed32(&mut self) -> Result<[u8; 4], Malformed> {
        let (taken, rest) = self.bytes.split_first_chunk::<4>().ok_or(Malformed)?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub fn fixed64(&mut self) -> Result<[u8; 8], Malformed> {
        let (taken, rest) = self.bytes.split_first_chunk::<8>().ok_or(Malformed)?;
        self.bytes = rest;
        Ok(*taken)
    }

    /// Skips the value of a field that is not known.
    pub fn skip(&mut self, number: u32, wire_type: u8) -> Result<(), Malformed> {
        let mut open = Vec::new();
        let mut next = (number, wire_type);
        loop {
            match next.1 {
                VARINT => drop(self.varint()?),
                I64 => drop(self.fixed64()?),
                LEN => drop(self.bytes()?),
                I32 => drop(self.fixed32()?),
                GROUP_START => open.push(next.0),
                GROUP_END if open.pop() == Some(next.0) => {}
                _ => return Err(Malformed),
            }
            if open.is_empty() {
                return Ok(());
            }
            next = self.tag()?.ok_or(Malformed)?;
        }
    }
}
