//! Carrying a trade out: one call to the ledger, under a key that is derived from the order, so that it can be repeated
//! by whoever finds the order unfinished; then one unit that writes how the order ended, with the reply.

use std::time::Duration;

use contracts::{
    ledger::v1::{PostTransactionRequest, ledger_service_client::LedgerServiceClient},
    order::v1::CreateOrderResponse,
};
use kit::{Call, Error, Scope};
use rand::Rng;
use storage::{Key, Unit, failpoint};
use tokio::time::Instant;

use crate::{
    Service,
    order::{Command, Order, Rejection},
    origin, proto,
    store::{self, Open},
};

/// The longest that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// The pause before the second attempt; it doubles, up to a second, and is cut at random.
const PAUSE: Duration = Duration::from_millis(50);

/// Carries an order out within the running call's deadline.
///
/// # Errors
/// What keeps the ledger from answering. The order stays pending then, and the reconciler takes it up.
pub async fn carry_out(service: &Service, open: Open) -> Result<Order, Error> {
    let command = match post(service, &open.order).await {
        Ok(transaction_id) => Command::Fulfil { transaction_id },
        Err(error) if error.definitive() => {
            Command::Reject(Rejection { reason: error.reason().to_owned(), message: error.message().to_owned() })
        }
        Err(error) => return Err(error.with("order", &open.order.id)),
    };
    failpoint::hit("order-after-ledger");
    finish(service, &open, command).await
}

/// Asks the ledger until it answers or time is up.
async fn post(service: &Service, order: &Order) -> Result<String, Error> {
    let request = PostTransactionRequest {
        request_id: kit::id::derive_uuid(&order.id, "settle").to_string(),
        kind: "trade".to_owned(),
        reference: order.id.clone(),
        entries: order.entries(),
    };
    let call = Call::current()?;
    let until = call.deadline.unwrap_or_else(|| Instant::now() + ATTEMPT);
    let mut pause = PAUSE;
    loop {
        let limit = ATTEMPT.min(until.saturating_duration_since(Instant::now()));
        let attempt = kit::call::run(call.detached(limit), Box::pin(attempt(service, request.clone())));
        let result = tokio::time::timeout(limit, attempt).await.unwrap_or_else(|_| Err(too_slow()));
        let error = match result {
            Ok(transaction_id) => return Ok(transaction_id),
            Err(error) if error.definitive() => return Err(error),
            Err(error) => error,
        };
        let wait = rand::rng().random_range(Duration::ZERO..=pause);
        if Instant::now() + wait >= until {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

async fn attempt(service: &Service, request: PostTransactionRequest) -> Result<String, Error> {
    let mut ledger = LedgerServiceClient::new(service.0.ledger.clone());
    let reply = ledger.post_transaction(request).await.map_err(Error::from)?.into_inner();
    let transaction = reply.transaction.ok_or_else(|| Error::internal("the ledger answers without a transaction"))?;
    Ok(transaction.id)
}

/// Writes how the order ended, its facts and the reply that is awaited, in one unit. Somebody else may have been faster:
/// then what they wrote is the end.
async fn finish(service: &Service, open: &Open, command: Command) -> Result<Order, Error> {
    let Open { order, request_key } = open;
    let key = request_key.as_deref().map(Key::from_text).transpose()?;
    let cause = origin::cause(&command);
    let ended = service.0.db.write(async |unit: &mut Unit| {
        let (ended, facts) = order.decide(command, unit.now())?;
        let events = facts.iter().map(|fact| proto::event(*fact, &ended)).collect();
        if !store::save(unit, order, &ended, cause, events, service.0.settings.reconcile_after).await? {
            return Ok(None);
        }
        if let Some(key) = &key {
            unit.finish(key, &CreateOrderResponse { order: Some(proto::order(&ended)) });
        }
        Ok(Some(ended))
    });
    match ended.await? {
        Some(ended) => Ok(ended),
        None => {
            let found = service.0.db.read(async |session| store::load(session, &Scope::All, &order.id).await).await?;
            found.ok_or_else(|| Error::internal(format!("{} is gone", order.id)))
        }
    }
}

fn too_slow() -> Error {
    Error::named("DEADLINE_EXCEEDED", "The ledger took too long. Repeat the call with the same request_id.")
}
