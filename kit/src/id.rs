//! TypeIDs: `ord_01h455vb4pex5vsknk084sn02q` is a prefix and a UUID in Crockford's base32, so that an id of the wrong
//! kind is seen in a log and refused before any query. Format: the TypeID specification 0.3.

use uuid::Uuid;

use crate::{clock::Timestamp, error::Error};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const SUFFIX_LENGTH: usize = 26;

/// What an id may look like after its prefix and `_`: that of the specification.
pub const EXAMPLE: &str = "01h455vb4pex5vsknk084sn02q";

/// The namespace of derived ids (a UUIDv4, drawn once).
const DERIVED: Uuid = Uuid::from_u128(0x5b1f_3c0e_7d4a_4c5d_9e61_2f7a_8c94_d3b7);

/// A new id: sorts by `now`, random otherwise.
pub fn new(prefix: &str, now: Timestamp) -> String {
    let micros = now.micros().max(0).unsigned_abs();
    let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1_000;
    let time = uuid::Timestamp::from_unix(uuid::NoContext, micros / 1_000_000, nanos);
    encode(prefix, Uuid::new_v7(time))
}

/// The id of a step of `parent`: the same for the same words, so that a repeat names the same thing.
pub fn derive(prefix: &str, parent: &str, step: &str) -> String {
    encode(prefix, derive_uuid(parent, step))
}

/// The UUIDv5 of a step of `parent`, as a `request_id` for the call that carries the step out.
pub fn derive_uuid(parent: &str, step: &str) -> Uuid {
    Uuid::new_v5(&DERIVED, format!("{parent}/{step}").as_bytes())
}

/// Refuses what is not a well-formed id with this prefix.
///
/// # Errors
/// `INVALID_ID`, with the prefix that was expected.
pub fn check(prefix: &str, id: &str) -> Result<(), Error> {
    if is_valid(prefix, id) {
        return Ok(());
    }
    let message = format!("`{}` is not an id of the form `{prefix}_…`.", excerpt(id));
    Err(Error::named("INVALID_ID", message).with("prefix", prefix))
}

/// Whether `id` is well formed and has this prefix.
pub fn is_valid(prefix: &str, id: &str) -> bool {
    let Some(suffix) = id.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) else {
        return false;
    };
    let bytes = suffix.as_bytes();
    // 26 digits of five bits are 130; the first may only use three of its five.
    bytes.len() == SUFFIX_LENGTH
        && matches!(bytes.first(), Some(b'0'..=b'7'))
        && bytes.iter().all(|byte| ALPHABET.contains(byte))
}

fn encode(prefix: &str, uuid: Uuid) -> String {
    let mut bits = uuid.as_u128();
    let mut suffix = [0; SUFFIX_LENGTH];
    for digit in suffix.iter_mut().rev() {
        *digit = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
    let mut id = String::with_capacity(prefix.len() + 1 + SUFFIX_LENGTH);
    id.push_str(prefix);
    id.push('_');
    id.extend(suffix.iter().map(|byte| char::from(*byte)));
    id
}

fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_specification_hold() {
        let uuid = Uuid::parse_str("01890a5d-ac96-774b-bcce-b302099a8057").unwrap();
        assert_eq!(encode("prefix", uuid), "prefix_01h455vb4pex5vsknk084sn02q");
        assert_eq!(encode("a", Uuid::nil()), "a_00000000000000000000000000");
        assert_eq!(encode("a", Uuid::max()), "a_7zzzzzzzzzzzzzzzzzzzzzzzzz");
    }

    #[test]
    fn what_is_not_an_id_of_the_kind_is_refused() {
        assert!(is_valid("ord", "ord_01h455vb4pex5vsknk084sn02q"));
        for wrong in [
            "",
            "ord_",
            "usr_01h455vb4pex5vsknk084sn02q",
            "ord01h455vb4pex5vsknk084sn02q",
            "ord_81h455vb4pex5vsknk084sn02q",
            "ord_01h455vb4pex5vsknk084sn02",
            "ord_01H455VB4PEX5VSKNK084SN02Q",
            "ord_01h455vb4pex5vsknk084sn02i",
            "ord_01h455vb4pex5vsknk084sn0é",
        ] {
            assert!(!is_valid("ord", wrong), "{wrong}");
        }
    }

    #[test]
    fn ids_sort_by_time_and_derived_ids_repeat() {
        let early = new("ord", Timestamp::from_seconds(1_700_000_000));
        let late = new("ord", Timestamp::from_seconds(1_700_000_001));
        assert!(early < late);
        assert_eq!(derive("txn", &early, "settle"), derive("txn", &early, "settle"));
        assert_ne!(derive("txn", &early, "settle"), derive("txn", &late, "settle"));
    }
}
