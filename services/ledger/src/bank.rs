//! The demo bank: pays every withdrawal after a while, by the call with which an operator would say so. It reads what
//! waits from the database, so a crash makes it forget nothing.

use std::time::Duration;

use contracts::ledger::v1::{
    SettleWithdrawalRequest, settle_withdrawal_request::Outcome, wallet_service_client::WalletServiceClient,
};
use kit::{Call, Error, drain::Draining};

use crate::{Service, store};

/// How often the bank looks what waits, at the least.
const TICK: Duration = Duration::from_millis(250);
/// The longest that one settlement may take.
const LIMIT: Duration = Duration::from_secs(5);
/// How many withdrawals one look takes up.
const BATCH: i64 = 100;

/// Pays until drained.
pub async fn run(service: &Service, draining: &Draining) {
    loop {
        if let Err(error) = settle_due(service).await {
            tracing::warn!(%error, "the demo bank could not pay, and will try again");
        }
        tokio::select! {
            () = draining.wait() => return,
            () = service.0.db.clock().sleep(TICK) => {}
        }
    }
}

/// Pays every withdrawal whose time has come.
async fn settle_due(service: &Service) -> Result<(), Error> {
    let until = service.0.db.clock().now() - service.0.settings.settle_delay;
    let waiting = service.0.db.read(async |session| store::waiting_withdrawals(session, until, BATCH).await).await?;
    for id in waiting {
        kit::call::run(Call::background("ledger", LIMIT), settle(service, id)).await?;
    }
    Ok(())
}

async fn settle(service: &Service, id: String) -> Result<(), Error> {
    let request = SettleWithdrawalRequest {
        // Derived, so that two banks that look at once pay once.
        request_id: kit::id::derive_uuid(&id, "settle").to_string(),
        outcome: Outcome::Paid.into(),
        id,
    };
    match WalletServiceClient::new(service.0.ledger.clone()).settle_withdrawal(request).await.map_err(Error::from) {
        Ok(_) => Ok(()),
        // An operator, or another bank, was faster.
        Err(error) if matches!(error.reason(), "INVALID_STATE_TRANSITION" | "REQUEST_IN_PROGRESS") => Ok(()),
        Err(error) => Err(error),
    }
}
