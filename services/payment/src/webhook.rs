//! Signatures of callbacks: `t=<unix seconds>,v1=<HMAC-SHA256 of "<t>.<payload>", hex>`. Several `v1` may stand there, so
//! that a provider can change its secret.

use std::time::Duration;

use contracts::r#type::v1::Reason;
use hmac::{Hmac, Mac};
use kit::{Error, Timestamp, config::Secret};
use sha2::Sha256;

/// How far the time of a signature may be from ours.
const TOLERANCE: Duration = Duration::from_secs(300);

/// Signs a payload.
pub fn sign(secret: &Secret, now: Timestamp, payload: &str) -> String {
    let time = now.seconds().to_string();
    let tag = mac(secret, &time, payload).finalize().into_bytes();
    let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={time},v1={hex}")
}

/// Checks the signature of a payload.
///
/// # Errors
/// `SIGNATURE_INVALID` if the payload was not signed with our secret, `SIGNATURE_EXPIRED` if it was signed more than five
/// minutes ago, or will be.
pub fn check(secret: &Secret, now: Timestamp, payload: &str, signature: &str) -> Result<(), Error> {
    let parts = || signature.split(',').filter_map(|part| part.trim().split_once('='));
    let time = parts().find_map(|(name, value)| (name == "t").then_some(value)).unwrap_or_default();
    let tags = parts().filter(|(name, _)| *name == "v1").filter_map(|(_, value)| from_hex(value));
    // Compared in constant time.
    let signed = tags.take(4).any(|tag| mac(secret, time, payload).verify_slice(&tag).is_ok());
    let Some(seconds) = time.parse().ok().filter(|_| signed) else {
        let message = "The signature does not match the payload. Sign `<t>.<payload>` as it is sent, with our secret.";
        return Err(Error::new(Reason::SignatureInvalid, message));
    };
    let time = Timestamp::from_seconds(seconds);
    if now.since(time).max(time.since(now)) > TOLERANCE {
        let message = "The signature is more than five minutes old. Sign anew with the present time.";
        return Err(Error::new(Reason::SignatureExpired, message));
    }
    Ok(())
}

fn mac(secret: &Secret, time: &str, payload: &str) -> Hmac<Sha256> {
    // HMAC takes a key of any length; the error is of the trait, not of the algorithm.
    let key = secret.reveal().as_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()));
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(payload.as_bytes());
    mac
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    (text.len() == 64).then(|| text.as_bytes().chunks(2).map(pair).collect())?
}
