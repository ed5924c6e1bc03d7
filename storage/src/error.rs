//! What a database refuses, as an error of the platform.

use kit::Error;

/// The reason of a violated CHECK, NOT NULL or foreign key inside a unit. It never leaves `Db::write`.
pub(crate) const VIOLATED: &str = "CONSTRAINT_VIOLATED";

/// The metadata key of the constraint's name.
const CONSTRAINT: &str = "constraint";

/// The name of the constraint that refused a statement, so that a store can say what it means:
/// `CONSTRAINT accounts_no_overdraft CHECK (…)` is `Some("accounts_no_overdraft")`. A violation that nobody names leaves
/// the unit as `INTERNAL`.
pub fn violated(error: &Error) -> Option<&str> {
    (error.reason() == VIOLATED).then(|| error.metadata(CONSTRAINT)).flatten()
}

pub(crate) fn violation(constraint: &str) -> Error {
    Error::named(VIOLATED, format!("The constraint {constraint} refuses this.")).with(CONSTRAINT, constraint)
}

/// Others were faster: the same unit may succeed when run again.
pub(crate) fn conflict() -> Error {
    let message = "Another request changed the same data at the same time. Repeat this one with the same request_id.";
    Error::named("SERIALIZATION_FAILURE", message).retry_after(std::time::Duration::from_millis(50))
}

/// The reason of a lock that others held for too long.
pub(crate) const LOCKED: &str = "LOCK_CONFLICT";

/// Others hold what this needs: the same unit may succeed when run again.
pub(crate) fn locked() -> Error {
    let message = "Other requests hold the same data for long. Repeat this one with the same request_id.";
    Error::named(LOCKED, message).retry_after(std::time::Duration::from_millis(100))
}

/// The database cannot be reached or cannot write: nothing is known to be wrong with the request.
pub(crate) fn unavailable(source: impl std::fmt::Display) -> Error {
    tracing::error!(error = %source, "the database cannot be used");
    let message = "The data cannot be reached at the moment. Repeat the request with the same request_id.";
    Error::named("DEPENDENCY_UNAVAILABLE", message).retry_after(std::time::Duration::from_secs(1))
}

pub(crate) fn overloaded() -> Error {
    let message = "Too many requests wait for the database. Repeat this one later, with the same request_id.";
    Error::named("OVERLOADED", message).retry_after(std::time::Duration::from_millis(500))
}

pub(crate) fn too_slow() -> Error {
    Error::named("DEADLINE_EXCEEDED", "This took too long and was undone. Repeat it with the same request_id.")
}

/// For a unit that has ended, whose commit is yet to be heard of.
pub(crate) fn unheard() -> Error {
    let message = "The database has not said in time whether this was saved. Repeat it with the same request_id.";
    Error::named("DEADLINE_EXCEEDED", message)
}

/// What a caller outside the unit gets to see of an error inside it.
pub(crate) fn outward(error: Error) -> Error {
    match violated(&error) {
        Some(constraint) => Error::internal(format!("the constraint {constraint} refused a statement")),
        None => error,
    }
}

/// A database that this program must not touch: said once, at start.
pub(crate) fn unusable(message: impl Into<String>) -> Error {
    Error::named("DATABASE_UNUSABLE", message)
}
