//! Adding up again: INV-6 (what has ended stays ended), INV-7 (every step of a history is a move) and INV-9 (0 ≤ refunded ≤
//! captured ≤ amount, and as much as the provider says).

use contracts::payment::v1::VerifyPaymentsResponse;
use kit::{Error, Timestamp};
use storage::Session;

use crate::{Service, payment::State, refund, store::verify};

/// The most sentences in one reply.
const PROBLEMS_MAX: usize = 100;

/// Adds everything up at one moment.
///
/// # Errors
/// If the database cannot be read.
pub async fn verify(service: &Service) -> Result<VerifyPaymentsResponse, Error> {
    let simulator = service.0.simulator.is_some();
    let now = service.0.db.clock().now();
    service.0.db.read(async |session: &mut Session| add_up(session, simulator, now).await).await
}

async fn add_up(session: &mut Session, simulator: bool, now: Timestamp) -> Result<VerifyPaymentsResponse, Error> {
    let payment_count = verify::count(session).await?;
    let mut problems = Vec::new();
    let limit = i64::try_from(PROBLEMS_MAX).map_err(Error::internal)?;
    for check in verify::FIGURES {
        for id in verify::wrong(session, check.sql, limit).await? {
            problems.push(format!("INV-9: {id} {}.", check.says));
        }
    }
    if simulator {
        for check in verify::SIMULATOR {
            for id in verify::wrong_at(session, check.sql, now, limit).await? {
                problems.push(format!("INV-9: {id} {}.", check.says));
            }
        }
    }
    for (id, from, to) in verify::moves(session).await? {
        let (ended, legal) = match id.starts_with("pay_") {
            true => {
                let (from, to) = (State::named(&from)?, State::named(&to)?);
                (from.is_final() && from != to, from.leads_to(to))
            }
            false => {
                let (from, to) = (refund::State::named(&from)?, refund::State::named(&to)?);
                (matches!(from, refund::State::Succeeded | refund::State::Failed), from.leads_to(to))
            }
        };
        if ended {
            problems.push(format!("INV-6: {id} had ended as {from}, and went on to {to}."));
        } else if !legal {
            problems.push(format!("INV-7: {id} went from {from} to {to}, which is no move."));
        }
    }
    problems.truncate(PROBLEMS_MAX);
    Ok(VerifyPaymentsResponse { holds: problems.is_empty(), payment_count, problems })
}
