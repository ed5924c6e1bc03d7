//! Enforces `buf.validate`, `google.api.field_behavior = REQUIRED` and `agora.policy.v1.id` on the wire bytes of a
//! request. The rules are compiled once from the descriptors; a check then walks the bytes once, decodes nothing into
//! messages, and allocates only for what it has to report.
//!
//! The semantics are those of protovalidate: a field without presence is checked even at its zero value (unless
//! `ignore = IGNORE_IF_ZERO_VALUE`), any other only where it is set. A rule that is not supported is an error of the
//! compilation, so none is ever silently skipped.

mod compile;
mod format;
mod rule;
#[cfg(test)]
mod tests;
mod walk;
mod wire;

use std::{fmt, sync::Arc};

use prost_reflect::{FieldDescriptor, MessageDescriptor};

use crate::Error;

/// The most violations that one check reports.
const MAX_VIOLATIONS: usize = 32;
/// How deeply messages may nest; what prost allows.
const MAX_DEPTH: u32 = 100;

/// What a request of one message type must satisfy.
#[derive(Clone, Debug, Default)]
pub struct Validator {
    /// The rules of each message type that a request may contain; the request's own come first.
    plan: Arc<Vec<compile::Message>>,
}

impl Validator {
    /// Compiles the rules of a message and of everything it contains.
    ///
    /// # Errors
    /// Every rule that would not be enforced.
    pub fn compile(message: &MessageDescriptor) -> Result<Self, Vec<Unsupported>> {
        compile::compile(message).map(|plan| Self { plan: Arc::new(plan) })
    }

    /// Checks the encoded request. Takes any bytes; those that are no message of the type are a violation.
    ///
    /// # Errors
    /// Everything that is wrong with the request, up to 32 violations.
    pub fn check(&self, request: &[u8]) -> Result<(), Violations> {
        let found = walk::check(&self.plan, request);
        if found.is_empty() { Ok(()) } else { Err(Violations(found)) }
    }
}

/// What the contract demands of a field, in the words with which a value that breaks it is refused: `must have at most
/// 20 characters`. Whether it is required is not among them.
pub fn words(field: &FieldDescriptor) -> Vec<String> {
    compile::words(field)
}

/// Whether a request is refused without the field: the contract says so, or has a rule that nothing, zero or an empty
/// text breaks.
pub fn is_required(field: &FieldDescriptor) -> bool {
    compile::is_required(field)
}

/// A rule of the contract that would not be enforced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: the rule `{rule}` {problem}")]
pub struct Unsupported {
    /// The full name of the field, the oneof or the message that states the rule.
    pub field: String,
    /// The rule, as in `string.uri_ref`.
    pub rule: String,
    /// Why it would not be enforced.
    pub problem: String,
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field, as in `lines[2].quantity.value` or `labels["size"]`; empty for the request itself.
    pub field: String,
    /// What to do about it, as in `must have at most 20 characters`.
    pub description: String,
    /// Which reason it is refused with.
    pub kind: Kind,
}

/// Which reason a violation is refused with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `INVALID_FIELD`.
    Rule,
    /// `INVALID_ID`.
    Id,
}

/// Everything that is wrong with a request, at least one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// The violations: of the items of lists and maps first, as they come, then in the order of the fields.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.0.iter()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Violation { field, description, .. }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let subject = if field.is_empty() { "the request" } else { field };
            write!(f, "{separator}{subject} {description}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

/// `INVALID_ID` if ids are all that is wrong, else `INVALID_FIELD`, with every violation in the details.
impl From<Violations> for Error {
    fn from(violations: Violations) -> Self {
        let only_ids = violations.iter().all(|violation| violation.kind == Kind::Id);
        let reason = if only_ids { "INVALID_ID" } else { "INVALID_FIELD" };
        let mut error = Error::named(reason, format!("Correct the request: {violations}."));
        for violation in violations.0 {
            error = error.violation(violation.field, violation.description);
        }
        error
    }
}
