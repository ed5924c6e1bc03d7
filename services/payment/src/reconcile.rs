//! Finishing what was left: answers of providers that never came, money that has to be let go, authorizations that have
//! expired. What is due stands in the rows, so a crash makes nobody forget it.

use std::time::Duration;

use kit::{Call, Error, Scope, Timestamp, drain::Draining};
use storage::{Session, Unit, failpoint};

use crate::{
    Service,
    payment::{Command, Evidence, Payment, Release, State, declined},
    settle,
    store::{self, Due, captures, methods, methods::Method},
};

/// How often the reconciler looks, at the least.
const TICK: Duration = Duration::from_millis(500);
/// How much one look takes up of each kind.
const BATCH: i64 = 50;
/// How long a card is expected that its provider does not know: far longer than a request is on its way.
const CARD_EXPECTED: Duration = Duration::from_secs(600);
/// How long it is remembered what providers have told: far longer than they repeat it.
const NEWS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How much of what is older one unit removes.
const SWEEP: u32 = 500;
/// How often what is older is removed.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(600);

/// Finishes what is due, until drained.
pub async fn run(service: &Service, draining: &Draining) {
    let clock = service.0.db.clock().clone();
    let mut swept = Timestamp::default();
    loop {
        if let Err(error) = once(service).await {
            tracing::warn!(%error, "what is due could not be looked up, and will be tried again");
        }
        if clock.now().since(swept) >= BETWEEN_SWEEPS {
            swept = clock.now();
            sweep(service).await;
        }
        tokio::select! {
            () = draining.wait() => return,
            () = clock.sleep(TICK) => {}
        }
    }
}

/// Finishes everything that is due now. Gives back how much was.
pub(crate) async fn once(service: &Service) -> Result<usize, Error> {
    let now = service.0.db.clock().now();
    let kinds: [&Due; 4] = [&store::PAYMENTS, &store::CAPTURES, &store::REFUNDS, &store::METHODS];
    // Looked at before it is taken: a look costs no commit.
    let due = service.0.db.snapshot(async |session: &mut Session| {
        let mut due = Vec::new();
        for (kind, table) in kinds.iter().enumerate() {
            due.extend(table.find(session, now, BATCH).await?.into_iter().map(|id| (kind, id)));
        }
        Ok(due)
    });
    let attempts = due.await?.into_iter().map(|(kind, id)| async move {
        let call = Call::background("payment", service.0.settings.provider_limit);
        match kit::call::run(call, finish(service, kind, &id)).await {
            Ok(finished) => finished,
            Err(error) => {
                tracing::warn!(id = id.0, %error, "something stays unfinished, and will be tried again");
                false
            }
        }
    });
    Ok(futures::future::join_all(attempts).await.into_iter().filter(|finished| *finished).count())
}

/// Takes one thing that is due and finishes it. False if somebody else has taken it.
async fn finish(service: &Service, kind: usize, id: &(String, String)) -> Result<bool, Error> {
    let table = [&store::PAYMENTS, &store::CAPTURES, &store::REFUNDS, &store::METHODS][kind];
    let take = async |unit: &mut Unit| table.take(unit, id, service.soon(unit.now())).await;
    if !service.0.db.write(take).await? {
        return Ok(false);
    }
    let limit = service.0.settings.provider_limit;
    let work = async {
        match kind {
            0 => payment(service, &id.0).await,
            1 => capture(service, &id.0, &id.1).await,
            2 => settle::refund(service, &id.0).await.map(drop),
            _ => {
                let id = &id.0;
                let method = service.0.db.read(async |session: &mut Session| methods::load(session, id).await).await?;
                match method {
                    Some(method) => card(service, &method).await,
                    None => Ok(()),
                }
            }
        }
    };
    let done = tokio::time::timeout(limit, work).await;
    done.unwrap_or_else(|_| Err(Error::named("DEADLINE_EXCEEDED", "The provider has not answered in time.")))?;
    Ok(true)
}

async fn payment(service: &Service, id: &str) -> Result<(), Error> {
    let payment =
        service.0.db.read(async |session: &mut Session| store::payments::load(session, &Scope::All, id).await);
    let Some(payment) = payment.await? else { return Ok(()) };
    let now = service.0.db.clock().now();
    match payment.state {
        _ if payment.release == Release::Due => {
            service.provider(&payment)?.void(&payment).await?;
            failpoint::hit("payment-after-release");
            settle::change(service, &payment, Command::Released).await?;
        }
        State::Processing => resume(service, &payment).await?,
        State::Authorized | State::RequiresAction if payment.expire_time.is_some_and(|time| time <= now) => {
            expire(service, &payment).await?;
        }
        _ => {
            let rest = async |unit: &mut Unit| {
                let soon = service.soon(unit.now());
                store::payments::rest(unit, &payment, soon).await
            };
            service.0.db.write(rest).await?;
        }
    }
    Ok(())
}

/// Asks the provider what has become of a payment whose answer is missing.
async fn resume(service: &Service, payment: &Payment) -> Result<(), Error> {
    let after = match service.provider(payment)?.find(payment).await? {
        // The buyer has confirmed, and the provider was not told, or not in time.
        Some(Evidence::ActionRequired { .. }) if payment.action_url.is_some() => {
            settle::confirm(service, payment).await?
        }
        Some(evidence) => settle::told(service, &payment.id, evidence).await?,
        None if payment.void_asked => {
            // The request may still be on its way: it has to find that it was voided.
            service.provider(payment)?.void(payment).await?;
            failpoint::hit("payment-after-void");
            let refusal = declined("never_received", "The payment was voided before the provider had heard of it.");
            settle::told(service, &payment.id, Evidence::Refused(refusal)).await?
        }
        None => settle::authorize(service, payment).await?,
    };
    if after.state == State::Processing {
        let age = service.0.db.clock().now().since(payment.create_time);
        tracing::warn!(payment = payment.id, age_s = age.as_secs(), "the provider does not know yet what it did");
    } else {
        tracing::info!(payment = payment.id, state = after.state.name(), "finished a payment whose answer was missing");
    }
    Ok(())
}

/// Ends what was secured for too long. In the house the money is let go first; others are told afterwards.
async fn expire(service: &Service, payment: &Payment) -> Result<(), Error> {
    let taken = match payment.in_house() {
        true => service.provider(payment)?.void(payment).await?,
        false => payment.captured,
    };
    settle::change(service, payment, Command::Expire { taken }).await.map(drop)
}

async fn capture(service: &Service, payment_id: &str, shipment_id: &str) -> Result<(), Error> {
    let found = service.0.db.snapshot(async |session: &mut Session| {
        let payment = store::payments::load(session, &Scope::All, payment_id).await?;
        Ok((payment, captures::load(session, payment_id, shipment_id).await?))
    });
    let (Some(payment), Some(capture)) = found.await? else { return Ok(()) };
    // Whoever has ended it in the meantime has written what the provider said.
    if capture.state != captures::State::Processing {
        return Ok(());
    }
    match settle::end_capture(service, &payment, &capture).await {
        // A refusal is an answer, too.
        Err(error) if !error.definitive() => Err(error),
        _ => Ok(()),
    }
}

/// Finishes a card as it was loaded. Its row may be ahead of it.
pub(crate) async fn card(service: &Service, method: &Method) -> Result<(), Error> {
    let id = &method.id;
    let provider = service.provider_named(&method.provider)?;
    let age = service.0.db.clock().now().since(method.create_time);
    let token = match method.state {
        methods::State::Processing => provider.kept(id).await?,
        methods::State::Ready if method.deleted => {
            provider.forget(&method.token).await?;
            None
        }
        methods::State::Ready => None,
        methods::State::Failed => {
            // Of two requests under one key, one may have been refused and the other not.
            if let Some(token) = provider.kept(id).await? {
                provider.forget(&token).await?;
            }
            None
        }
    };
    let work = async |unit: &mut Unit| match (method.state, &token) {
        (methods::State::Ready, _) if method.deleted => methods::forgotten(unit, id).await,
        (methods::State::Ready, _) => Ok(()),
        (methods::State::Processing, Some(token)) => methods::keep(unit, id, token).await,
        // The request may still be on its way, and the caller may repeat it: its number is not known here.
        (methods::State::Processing, None) if age < CARD_EXPECTED => Ok(()),
        (methods::State::Processing | methods::State::Failed, None | Some(_)) => methods::remove(unit, id).await,
    };
    service.0.db.write(work).await
}

/// Removes what providers told long ago, a few hundred a unit so that nobody waits long.
pub(crate) async fn sweep(service: &Service) {
    let until = service.0.db.clock().now() - NEWS_KEPT;
    loop {
        match service.0.db.write(async |unit: &mut Unit| store::sweep_news(unit, until, SWEEP).await).await {
            Ok(removed) if removed < u64::from(SWEEP) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "what providers told long ago could not be removed, and will be later");
                return;
            }
        }
    }
}
