//! Who sets a field, and when: `google.api.field_behavior` (AIP-203).

use kit::contract::option;
use prost_reflect::{FieldDescriptor, Value};

/// Set by the service alone.
pub const OUTPUT_ONLY: i32 = 3;
/// Set by the caller, and never shown.
pub const INPUT_ONLY: i32 = 4;
/// Set once, when the resource is made.
pub const IMMUTABLE: i32 = 5;

/// Whether the contract says this of the field.
pub fn is(field: &FieldDescriptor, behavior: i32) -> bool {
    match option(&field.options(), "google.api.field_behavior") {
        Some(Value::List(values)) => values.iter().any(|value| value.as_enum_number() == Some(behavior)),
        _ => false,
    }
}

/// Whether an update changes the field.
pub fn is_fixed(field: &FieldDescriptor) -> bool {
    is(field, OUTPUT_ONLY) || is(field, IMMUTABLE)
}
