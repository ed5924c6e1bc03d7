//! One rule on one value: whether the value breaks it, and what to tell the caller then.

use std::fmt::{self, Write as _};

use regex::Regex;

use super::format::Format;

/// A text longer than this is not compared with what would match.
const LONGEST_NEAR_MISS: usize = 64;

/// A value of the wire, decoded. Every integer type is an `i128`; timestamps and durations are nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// What makes two values the same, for sets.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum Identity<'a> {
    Number(i128),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    pub fn is_zero(&self) -> bool {
        match self {
            Value::Bool(value) => !value,
            Value::Integer(value) => *value == 0,
            Value::Float(value) => value.to_bits() == 0,
            Value::Text(_) | Value::Bytes(_) => self.bytes().is_empty(),
        }
    }

    pub fn identity(&self) -> Identity<'a> {
        match *self {
            Value::Bool(value) => Identity::Number(value.into()),
            Value::Integer(value) => Identity::Number(value),
            // Zero has two signs.
            Value::Float(value) => Identity::Number((value + 0.0).to_bits().into()),
            Value::Text(text) => Identity::Bytes(text.as_bytes()),
            Value::Bytes(bytes) => Identity::Bytes(bytes),
        }
    }

    fn bytes(&self) -> &'a [u8] {
        match *self {
            Value::Text(text) => text.as_bytes(),
            Value::Bytes(bytes) => bytes,
            _ => &[],
        }
    }
}

/// A value that stands in a rule.
#[derive(Clone, Debug)]
pub(super) enum Constant {
    Bool(bool),
    Integer(i128),
    /// A value of an enum, with its name.
    Named(i128, String),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Constant {
    /// As a value of the wire.
    pub fn value(&self) -> Value<'_> {
        match self {
            Constant::Bool(value) => Value::Bool(*value),
            Constant::Integer(value) | Constant::Named(value, _) => Value::Integer(*value),
            Constant::Float(value) => Value::Float(*value),
            Constant::Text(text) => Value::Text(text),
            Constant::Bytes(bytes) => Value::Bytes(bytes),
        }
    }

    fn equals(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Constant::Bool(a), Value::Bool(b)) => a == b,
            (Constant::Integer(a) | Constant::Named(a, _), Value::Integer(b)) => a == b,
            (Constant::Float(a), Value::Float(b)) => a == b,
            _ => matches!(value, Value::Text(_) | Value::Bytes(_)) && self.bytes() == value.bytes(),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Constant::Text(text) => text.as_bytes(),
            Constant::Bytes(bytes) => bytes,
            _ => &[],
        }
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Constant::Bool(value) => write!(f, "{value}"),
            Constant::Integer(value) => write!(f, "{value}"),
            Constant::Float(value) => write!(f, "{value}"),
            Constant::Text(value) | Constant::Named(_, value) => write!(f, "`{value}`"),
            Constant::Bytes(value) => write!(f, "`{}`", value.escape_ascii()),
        }
    }
}

/// What a bound of a [`Range`] counts in, for its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Scale {
    #[default]
    Plain,
    /// Nanoseconds, shown as seconds.
    Seconds,
}

/// A lower and an upper bound; where the upper lies below the lower, what lies between is what is refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range<T> {
    /// The bound, and whether it belongs to the range.
    pub lower: Option<(T, bool)>,
    pub upper: Option<(T, bool)>,
    pub scale: Scale,
}

impl<T> Default for Range<T> {
    fn default() -> Self {
        Self { lower: None, upper: None, scale: Scale::Plain }
    }
}

impl<T: PartialOrd + Copy> Range<T> {
    fn contains(&self, value: T) -> bool {
        let above = |(bound, inclusive): (T, bool)| value > bound || (inclusive && value == bound);
        let below = |(bound, inclusive): (T, bool)| value < bound || (inclusive && value == bound);
        match (self.lower, self.upper) {
            (Some(lower), Some(upper)) if upper.0 < lower.0 => above(lower) || below(upper),
            (lower, upper) => lower.is_none_or(above) && upper.is_none_or(below),
        }
    }

    fn describe(&self, show: impl Fn(T) -> String) -> String {
        let lower = self.lower.map(|(bound, inclusive)| {
            format!("{} {}", if inclusive { "at least" } else { "greater than" }, show(bound))
        });
        let upper = self
            .upper
            .map(|(bound, inclusive)| format!("{} {}", if inclusive { "at most" } else { "less than" }, show(bound)));
        match (lower, upper) {
            (Some(lower), Some(upper)) => {
                let outside = self.upper.zip(self.lower).is_some_and(|(upper, lower)| upper.0 < lower.0);
                format!("must be {lower} {} {upper}", if outside { "or" } else { "and" })
            }
            (lower, upper) => format!("must be {}", lower.or(upper).unwrap_or_default()),
        }
    }
}

/// What a length counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Characters,
    Bytes,
}

/// One rule on one value.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    Const(Constant),
    In(Vec<Constant>),
    NotIn(Vec<Constant>),
    Integers(Range<i128>),
    Floats(Range<f64>),
    Finite,
    /// The numbers of an enum.
    Defined(Vec<i128>),
    Length {
        unit: Unit,
        min: u64,
        max: u64,
    },
    Pattern {
        regex: Regex,
        /// What the contract gives as an example.
        example: Option<String>,
    },
    Prefix(Constant),
    Suffix(Constant),
    Contains(Constant),
    NotContains(Constant),
    Format(Format),
    /// A TypeID with this prefix, or nothing.
    Id(String),
}

impl Rule {
    /// Whether the value satisfies the rule. The compiler sees to it that value and rule fit.
    pub fn holds(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Rule::Const(constant), _) => constant.equals(value),
            (Rule::In(set), _) => set.iter().any(|constant| constant.equals(value)),
            (Rule::NotIn(set), _) => !set.iter().any(|constant| constant.equals(value)),
            (Rule::Integers(range), Value::Integer(number)) => range.contains(*number),
            (Rule::Floats(range), Value::Float(number)) => range.contains(*number),
            (Rule::Finite, Value::Float(number)) => number.is_finite(),
            (Rule::Defined(numbers), Value::Integer(number)) => numbers.binary_search(number).is_ok(),
            (Rule::Length { unit: Unit::Characters, min, max }, Value::Text(text)) => {
                (*min..=*max).contains(&(text.chars().count() as u64))
            }
            (Rule::Length { min, max, .. }, _) => (*min..=*max).contains(&(value.bytes().len() as u64)),
            (Rule::Pattern { regex, .. }, Value::Text(text)) => regex.is_match(text),
            (Rule::Prefix(part), _) => value.bytes().starts_with(part.bytes()),
            (Rule::Suffix(part), _) => value.bytes().ends_with(part.bytes()),
            (Rule::Contains(part), _) => contains(value.bytes(), part.bytes()),
            (Rule::NotContains(part), _) => !contains(value.bytes(), part.bytes()),
            (Rule::Format(format), Value::Text(text)) => format.matches(text),
            (Rule::Id(prefix), Value::Text(text)) => text.is_empty() || crate::id::is_valid(prefix, text),
            _ => false,
        }
    }

    /// What to tell of a value that breaks the rule, in words that follow the name of the field.
    pub fn refuse(&self, value: &Value<'_>) -> String {
        match (self, value) {
            (Rule::Pattern { example: Some(example), .. }, Value::Text("")) => {
                format!("is required, such as `{example}`")
            }
            (Rule::Pattern { regex, .. }, Value::Text(text)) => {
                let most = most(regex, text).map(|most| format!(", with {most}")).unwrap_or_default();
                format!("{}{most}", self.describe())
            }
            _ => self.describe(),
        }
    }

    /// What the value must be, in words that follow the name of the field.
    pub fn describe(&self) -> String {
        match self {
            Rule::Const(constant) => format!("must be {constant}"),
            Rule::In(set) => format!("must be one of {}", join(set)),
            Rule::NotIn(set) => format!("must not be one of {}", join(set)),
            Rule::Integers(range) => range.describe(|bound| match range.scale {
                Scale::Plain => bound.to_string(),
                Scale::Seconds => seconds(bound),
            }),
            Rule::Floats(range) => range.describe(|bound| bound.to_string()),
            Rule::Finite => "must be a finite number".into(),
            Rule::Defined(_) => "must be one of the values that the contract defines".into(),
            Rule::Length { unit, min, max } => describe_length(*unit, *min, *max),
            Rule::Pattern { example: Some(example), regex } if regex.is_match("") => {
                format!("must be like `{example}`, or empty")
            }
            Rule::Pattern { example: Some(example), .. } => format!("must be like `{example}`"),
            Rule::Pattern { regex, .. } => format!("must match `{regex}`"),
            Rule::Prefix(part) => format!("must begin with {part}"),
            Rule::Suffix(part) => format!("must end with {part}"),
            Rule::Contains(part) => format!("must contain {part}"),
            Rule::NotContains(part) => format!("must not contain {part}"),
            Rule::Format(format) => format!("must be {}", format.describe()),
            Rule::Id(prefix) => format!("must be an id such as `{prefix}_{}`", crate::id::EXAMPLE),
        }
    }
}

/// The limit of digits that a number exceeds, if it would match with fewer of them in one place: `at most 8 digits after
/// `.``. Nothing of any other text.
fn most(regex: &Regex, text: &str) -> Option<String> {
    let number = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = number.split_once('.').map_or((number, None), |(whole, rest)| (whole, Some(rest)));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = is_digits(whole) && decimals.is_none_or(is_digits);
    if text.len() > LONGEST_NEAR_MISS || !is_number || regex.is_match(number) {
        return None;
    }
    let digits = |most: usize| describe_count(("digit", "digits"), 0, most as u64);
    if let Some(decimals) = decimals {
        let fits = |length: &usize| regex.is_match(&format!("{whole}.{}", &decimals[..*length]));
        if let Some(length) = (1..decimals.len()).rev().find(fits) {
            return Some(format!("{} after `.`", digits(length)));
        }
    }
    let rest = decimals.map(|decimals| format!(".{decimals}")).unwrap_or_default();
    let fits = |length: &usize| regex.is_match(&format!("{}{rest}", &whole[..*length]));
    // `0` alone fits where the zero before other digits is what is wrong.
    let length = (1..whole.len()).rev().find(fits).filter(|_| !whole.starts_with('0'))?;
    let takes_decimals = decimals.is_some() || regex.is_match(&format!("{}.1", &whole[..length]));
    Some(format!("{}{}", digits(length), if takes_decimals { " before `.`" } else { "" }))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

fn join(set: &[Constant]) -> String {
    let mut text = String::new();
    for (index, constant) in set.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        let _ = write!(text, "{separator}{constant}");
    }
    text
}

fn seconds(nanos: i128) -> String {
    let (whole, part) = (nanos / 1_000_000_000, (nanos % 1_000_000_000).unsigned_abs());
    let sign = if nanos < 0 && whole == 0 { "-" } else { "" };
    let text = format!("{sign}{whole}.{part:09}");
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// The words for a length between two bounds.
pub(super) fn describe_length(unit: Unit, min: u64, max: u64) -> String {
    let noun = match unit {
        Unit::Characters => ("character", "characters"),
        Unit::Bytes => ("byte", "bytes"),
    };
    format!("must have {}", describe_count(noun, min, max))
}

/// `at least 2 items`, `exactly 1 byte`, `between 1 and 5 characters`. The noun is given as one and as many.
pub(super) fn describe_count((one, many): (&str, &str), min: u64, max: u64) -> String {
    let noun = |count: u64| if count == 1 { one } else { many };
    match (min, max) {
        (0, _) => format!("at most {max} {}", noun(max)),
        (_, u64::MAX) => format!("at least {min} {}", noun(min)),
        _ if min == max => format!("exactly {min} {}", noun(min)),
        _ => format!("between {min} and {max} {}", noun(max)),
    }
}
