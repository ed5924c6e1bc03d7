//! The callbacks of the simulator: kept until they are taken, signed as they are sent, and sent through the RPC that any
//! provider calls.

use std::time::Duration;

use contracts::{
    payment::v1::{HandleProviderWebhookRequest, payment_service_client::PaymentServiceClient},
    r#type::v1::Reason,
};
use futures::StreamExt as _;
use kit::{Call, Error, Timestamp, drain::Draining};
use serde::{Deserialize, Serialize};
use storage::{Session, Unit};

use super::{
    NAME, Simulator,
    cards::Behavior,
    store::{self, Charge, Message},
};
use crate::{
    payment::{Evidence, declined},
    provider::{About, Callback, RefundEvidence},
    webhook,
};

/// How often the simulator looks what is to be sent.
const TICK: Duration = Duration::from_millis(200);
/// How many callbacks one look takes up.
const BATCH: i64 = 100;
/// How many are sent at once: a receiver that is slow with one holds up no other.
const AT_ONCE: usize = 16;
/// The longest that sending one may take.
const LIMIT: Duration = Duration::from_secs(5);
/// After how long a callback is sent again that was not taken.
const AGAIN: Duration = Duration::from_secs(2);

/// The callback about a charge that was approved.
const AUTHORIZED: &str = "charge.authorized";

/// What a callback says, as JSON.
#[derive(Deserialize, Serialize)]
struct Payload {
    id: String,
    /// `charge.authorized`, `charge.action_required`, `charge.declined`, `refund.succeeded` or `refund.failed`.
    #[serde(rename = "type")]
    kind: String,
    /// The payment or refund that it is about.
    key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    charge: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    code: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    action_url: String,
    /// Unix seconds.
    #[serde(default)]
    expires: i64,
}

/// Notes the callback about what has become of a charge.
pub async fn about_charge(unit: &mut Unit, charge: &Charge, evidence: &Evidence) -> Result<(), Error> {
    let mut payload = Payload {
        id: String::new(),
        kind: String::new(),
        key: charge.key.clone(),
        charge: charge.id.clone(),
        code: String::new(),
        message: String::new(),
        action_url: String::new(),
        expires: charge.expire_time.seconds(),
    };
    match evidence {
        Evidence::Authorized { .. } => payload.kind = AUTHORIZED.to_owned(),
        Evidence::ActionRequired { url, .. } => {
            payload.kind = "charge.action_required".to_owned();
            payload.action_url.clone_from(url);
        }
        Evidence::Refused(refusal) => {
            payload.kind = "charge.declined".to_owned();
            payload.code = refusal.metadata("decline_code").unwrap_or_default().to_owned();
            payload.message = refusal.message().to_owned();
        }
        Evidence::Undecided => return Ok(()),
    }
    payload.id = about(&charge.key, &payload.kind);
    let send_time = match charge.behavior {
        Behavior::LateCallback => unit.now() + super::cards::LATE,
        Behavior::SlowAnswer => unit.now() + super::cards::SLOW,
        // Nobody is told: only whoever asks again learns it.
        Behavior::LostAnswer => return Ok(()),
        _ => charge.ready_time.max(unit.now()),
    };
    note(unit, payload, charge.behavior, send_time).await
}

/// The id of a callback about a charge, of which there is one of each kind.
fn about(key: &str, kind: &str) -> String {
    kit::id::derive("evt", key, kind)
}

/// Notes the callback about a refund.
pub async fn about_refund(
    unit: &mut Unit,
    charge: &Charge,
    refund: &str,
    refused: Option<&Error>,
) -> Result<(), Error> {
    if charge.behavior == Behavior::LostAnswer {
        return Ok(());
    }
    let payload = Payload {
        id: kit::id::new("evt", unit.now()),
        kind: if refused.is_some() { "refund.failed" } else { "refund.succeeded" }.to_owned(),
        key: refund.to_owned(),
        charge: charge.id.clone(),
        code: refused.and_then(|refusal| refusal.metadata("decline_code")).unwrap_or_default().to_owned(),
        message: refused.map(|refusal| refusal.message().to_owned()).unwrap_or_default(),
        action_url: String::new(),
        expires: 0,
    };
    let now = unit.now();
    note(unit, payload, charge.behavior, now).await
}

async fn note(unit: &mut Unit, payload: Payload, behavior: Behavior, send_time: Timestamp) -> Result<(), Error> {
    let copies = if behavior == Behavior::DoubleCallback { 2 } else { 1 };
    let text = serde_json::to_string(&payload).map_err(Error::internal)?;
    store::insert_callback(unit, &Message { id: payload.id, payload: text, copies }, send_time).await
}

/// Reads what the simulator has sent.
///
/// # Errors
/// `INVALID_FIELD` if it is something else.
pub fn read(payload: &str) -> Result<Callback, Error> {
    let payload: Payload = serde_json::from_str(payload).map_err(|error| {
        let message = "The payload is not a callback of the simulator.";
        Error::new(Reason::InvalidField, message).violation("payload", error.to_string())
    })?;
    let Payload { id, kind, key, charge: reference, code, message, action_url: url, expires } = payload;
    let expire_time = Timestamp::from_seconds(expires);
    let about = match kind.as_str() {
        AUTHORIZED => About::Payment(key, Evidence::Authorized { reference, expire_time }),
        "charge.action_required" => About::Payment(key, Evidence::ActionRequired { reference, url, expire_time }),
        "charge.declined" => About::Payment(key, Evidence::Refused(declined(&code, &message))),
        "refund.succeeded" => About::Refund(key, RefundEvidence::Succeeded),
        "refund.failed" => About::Refund(key, RefundEvidence::Refused(declined(&code, &message))),
        _ => About::Other,
    };
    Ok(Callback { id, about })
}

/// Sends what is due, until drained.
pub async fn run(simulator: &Simulator, draining: &Draining) {
    loop {
        if let Err(error) = send_due(simulator).await {
            tracing::warn!(%error, "the simulator could not look up its callbacks, and will try again");
        }
        tokio::select! {
            () = draining.wait() => return,
            () = simulator.db.clock().sleep(TICK) => {}
        }
    }
}

/// Sends every callback whose time has come, several at once. Gives back how many were taken.
///
/// # Errors
/// If the books cannot be read or written.
pub async fn send_due(simulator: &Simulator) -> Result<usize, Error> {
    let now = simulator.db.clock().now();
    let due = simulator.db.read(async |session: &mut Session| store::due_callbacks(session, now, BATCH).await).await?;
    deliver(simulator, due).await
}

/// Sends the callback that says that a charge was authorized, if it was not sent yet, and nobody else's.
///
/// # Errors
/// If the books cannot be read or written.
pub async fn send_authorized(simulator: &Simulator, charge: &Charge) -> Result<(), Error> {
    let id = about(&charge.key, AUTHORIZED);
    let own = simulator.db.read(async |session: &mut Session| store::callback(session, &id).await).await?;
    deliver(simulator, own.into_iter().collect()).await.map(drop)
}

/// Sends callbacks, and writes what became of all of them in one unit. Gives back how many were taken.
async fn deliver(simulator: &Simulator, callbacks: Vec<Message>) -> Result<usize, Error> {
    if callbacks.is_empty() {
        return Ok(0);
    }
    let mut sent: Vec<(String, bool)> = futures::stream::iter(callbacks)
        .map(|message| async move { (message.id.clone(), is_taken(simulator, &message).await) })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    sent.sort();
    let write = async |unit: &mut Unit| {
        let again = unit.now() + AGAIN;
        for (id, taken) in &sent {
            match taken {
                true => store::remove_callback(unit, id).await?,
                false => store::postpone_callback(unit, id, again).await?,
            }
        }
        Ok(())
    };
    simulator.db.write(write).await?;
    Ok(sent.iter().filter(|(_, taken)| *taken).count())
}

/// Sends a callback as often as it has copies. False if it has to be sent again.
async fn is_taken(simulator: &Simulator, message: &Message) -> bool {
    let mut sent = Ok(());
    for _ in 0..message.copies {
        sent = send(simulator, message).await;
    }
    match sent {
        Err(error) if !error.definitive() => {
            tracing::warn!(callback = message.id, %error, "a callback of the simulator was not taken, and is sent again");
            false
        }
        _ => true,
    }
}

async fn send(simulator: &Simulator, message: &Message) -> Result<(), Error> {
    let signature = webhook::sign(&simulator.secret, simulator.db.clock().now(), &message.payload);
    let (provider, payload) = (NAME.to_owned(), message.payload.clone());
    let request = HandleProviderWebhookRequest { provider, payload, signature };
    // As from outside: with nobody's token, and not as a part of the call that it is about.
    let work = async {
        let mut payments = PaymentServiceClient::new(simulator.itself.clone());
        payments.handle_provider_webhook(request).await.map(drop).map_err(Error::from)
    };
    kit::call::run(Call::background("payment", LIMIT), work).await
}
