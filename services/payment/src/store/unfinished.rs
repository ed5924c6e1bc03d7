//! What somebody has to finish.

use kit::{Error, Timestamp};
use storage::Session;

/// The one that is unfinished for the longest: the payment or refund, and since when. What is due after `until` is not
/// unfinished, but at rest.
///
/// # Errors
/// See [`Session::rows`].
pub async fn oldest(session: &mut Session, until: Timestamp) -> Result<Option<(String, Timestamp)>, Error> {
    const PAYMENT: &str = "SELECT id, update_time FROM payments WHERE state = 'PROCESSING' AND due_time <= $1
        ORDER BY update_time LIMIT 1";
    const RELEASE: &str = "SELECT id, update_time FROM payments WHERE release = 'DUE' AND due_time <= $1
        ORDER BY update_time LIMIT 1";
    // A payment changes when a capture of it is begun.
    const CAPTURE: &str = "SELECT p.id, p.update_time FROM captures c JOIN payments p ON p.id = c.payment_id
        WHERE c.due_time <= $1 ORDER BY p.update_time LIMIT 1";
    const REFUND: &str = "SELECT id, create_time FROM refunds WHERE due_time <= $1 ORDER BY create_time LIMIT 1";

    let mut oldest: Option<(String, Timestamp)> = None;
    for sql in [PAYMENT, RELEASE, CAPTURE, REFUND] {
        if let Some(row) = session.row(sql, &[until.into()]).await? {
            let (id, since) = (row.text(0)?, row.time(1)?);
            if oldest.as_ref().is_none_or(|(_, known)| since < *known) {
                oldest = Some((id, since));
            }
        }
    }
    Ok(oldest)
}
