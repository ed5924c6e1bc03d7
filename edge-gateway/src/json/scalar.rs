//! Values that are neither messages nor containers: from JSON, and from the text of a path, query or map key.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    lexer::Token,
    nearest,
    table::{Enum, Tables, Type},
    wire::put_varint,
};

/// Padding may be there or not; letters of the URL-safe alphabet are replaced before.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Why a value is refused, as the rest of a sentence after the field's name.
pub type Refused = String;

/// Writes a JSON value of type `ty`, without a tag.
pub fn put(tables: &Tables, ty: Type, token: &Token<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
    match (ty, token) {
        (Type::Bool, Token::Bool(value)) => out.push(u8::from(*value)),
        (Type::Enum(_), Token::Number(text)) => {
            put_varint(out, integer(text, i32::MIN.into(), i32::MAX.into())? as i64 as u64);
        }
        (Type::Enum(index), Token::Null) if tables.enums[index].is_null => out.push(0),
        (Type::String | Type::Bytes | Type::Enum(_), Token::Text(text)) => return put_text(tables, ty, text, out),
        (Type::Bool | Type::String | Type::Bytes | Type::Enum(_), _) => return Err(expected(ty)),
        (_, Token::Number(text)) => return put_text(tables, ty, text, out),
        (_, Token::Text(text)) if !text.starts_with('+') => return put_text(tables, ty, text, out),
        _ => return Err(expected(ty)),
    }
    Ok(())
}

/// Writes the value that `text` stands for, without a tag.
pub fn put_text(tables: &Tables, ty: Type, text: &str, out: &mut Vec<u8>) -> Result<(), Refused> {
    let (i32_range, u32_range) = ((i32::MIN.into(), i32::MAX.into()), (0, u32::MAX.into()));
    let (i64_range, u64_range) = ((i64::MIN.into(), i64::MAX.into()), (0, u64::MAX.into()));
    let int = |(low, high)| integer(text, low, high);
    match ty {
        Type::Double => out.extend_from_slice(&double(text)?.to_le_bytes()),
        Type::Float => out.extend_from_slice(&float(text)?.to_le_bytes()),
        Type::Int32 => put_varint(out, int(i32_range)? as u64),
        Type::Int64 => put_varint(out, int(i64_range)? as u64),
        Type::Uint32 => put_varint(out, int(u32_range)? as u64),
        Type::Uint64 => put_varint(out, int(u64_range)? as u64),
        Type::Sint32 => put_varint(out, zigzag(int(i32_range)?)),
        Type::Sint64 => put_varint(out, zigzag(int(i64_range)?)),
        Type::Fixed32 => out.extend_from_slice(&(int(u32_range)? as u32).to_le_bytes()),
        Type::Fixed64 => out.extend_from_slice(&(int(u64_range)? as u64).to_le_bytes()),
        Type::Sfixed32 => out.extend_from_slice(&(int(i32_range)? as i32).to_le_bytes()),
        Type::Sfixed64 => out.extend_from_slice(&(int(i64_range)? as i64).to_le_bytes()),
        Type::Bool => match text {
            "true" => out.push(1),
            "false" => out.push(0),
            _ => return Err(expected(ty)),
        },
        Type::String => put_length(out, text.as_bytes()),
        Type::Bytes => put_length(out, &bytes(text)?),
        Type::Enum(index) => put_varint(out, enum_number(&tables.enums[index], text)? as i64 as u64),
        Type::Message(_) => return Err(expected(ty)),
    }
    Ok(())
}

fn put_length(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn zigzag(value: i128) -> u64 {
    let value = value as i64;
    ((value << 1) ^ (value >> 63)) as u64
}

/// What a value of this type looks like, for a sentence.
pub fn expected(ty: Type) -> Refused {
    let what = match ty {
        Type::Double | Type::Float => "a number",
        Type::Bool => "true or false",
        Type::String => "a string",
        Type::Bytes => "a base64 string",
        Type::Enum(_) => "the name of an enum value",
        Type::Message(_) => "an object",
        Type::Int64 | Type::Uint64 | Type::Sint64 | Type::Fixed64 | Type::Sfixed64 => "an integer (best as a string)",
        _ => "an integer",
    };
    format!("must be {what}")
}

/// An enum value by name, or by number.
fn enum_number(values: &Enum, name: &str) -> Result<i32, Refused> {
    if let Some(number) = values.by_name.get(name) {
        return Ok(*number);
    }
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let hint = match nearest(name, values.by_name.keys().map(AsRef::as_ref)) {
        Some(known) => format!("; did you mean `{known}`?"),
        None => {
            let mut names: Vec<_> = values.by_number.iter().collect();
            names.sort();
            let names: Vec<&str> = names.iter().take(10).map(|(_, name)| name.as_ref()).collect();
            format!("; the values are {}", names.join(", "))
        }
    };
    Err(format!("`{}` is not a value of the enum{hint}", shorten(name)))
}

/// At most 40 characters of what a caller sent.
pub fn shorten(text: &str) -> String {
    if text.chars().count() <= 40 { text.to_owned() } else { text.chars().take(40).chain(['…']).collect() }
}

fn bytes(text: &str) -> Result<Vec<u8>, Refused> {
    let refused = |_| expected(Type::Bytes);
    if text.contains(['-', '_']) {
        return BASE64.decode(text.replace('-', "+").replace('_', "/")).map_err(refused);
    }
    BASE64.decode(text).map_err(refused)
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E'))
        && text.bytes().next().is_some_and(|b| b == b'-' || b.is_ascii_digit())
}

fn double(text: &str) -> Result<f64, Refused> {
    match text {
        "NaN" => return Ok(f64::NAN),
        "Infinity" => return Ok(f64::INFINITY),
        "-Infinity" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    let value = text.parse::<f64>().ok().filter(|_| is_number(text));
    let value = value.ok_or_else(|| expected(Type::Double))?;
    if value.is_finite() { Ok(value) } else { Err("is out of range".to_owned()) }
}

fn float(text: &str) -> Result<f32, Refused> {
    let value = double(text)?;
    let narrow = value as f32;
    if narrow.is_infinite() && value.is_finite() { Err("is out of range".to_owned()) } else { Ok(narrow) }
}

/// An integer between `low` and `high`; `1.0` and `1e3` are integers too.
pub fn integer(text: &str, low: i128, high: i128) -> Result<i128, Refused> {
    let malformed = || "must be an integer".to_owned();
    let value = match text.parse::<i128>() {
        Ok(value) if !text.starts_with('+') => value,
        _ if is_number(text) => scaled(text).ok_or_else(malformed)?,
        _ => return Err(malformed()),
    };
    if (low..=high).contains(&value) { Ok(value) } else { Err(format!("must be between {low} and {high}")) }
}

/// The integer that a decimal fraction with an exponent stands for, exactly.
fn scaled(text: &str) -> Option<i128> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let exponent = exponent.parse::<i32>().ok()?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let digits = format!("{whole}{fraction}").parse::<i128>().ok()?;
    if digits == 0 {
        return Some(0);
    }
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    if exponent >= 0 { digits.checked_mul(power) } else { (digits % power == 0).then(|| digits / power) }
}

#[cfg(test)]
mod tests {
    use super::integer;

    #[test]
    fn an_integer_may_be_written_as_a_decimal_that_has_no_fraction() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("1.0", Some(1)),
            ("1e3", Some(1000)),
            ("1.5e1", Some(15)),
            ("100e-2", Some(1)),
            ("9007199254740993", Some(9_007_199_254_740_993)),
            ("0e999999999", Some(0)),
            ("1.5", None),
            ("1e-1", None),
            ("1e99", None),
            ("", None),
            (" 1", None),
            ("+1", None),
            ("0x10", None),
            ("1e", None),
            ("--1", None),
            ("9223372036854775808", None),
        ] {
            assert_eq!(integer(text, i64::MIN.into(), i64::MAX.into()).ok(), expected, "{text:?}");
        }
    }
}
