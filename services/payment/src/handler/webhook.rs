//! What providers tell by themselves.

use contracts::payment::v1 as api;
use kit::{Error, Scope};
use storage::Unit;

use crate::{
    Service,
    payment::WALLET,
    provider::{About, Callback},
    settle::{self, not_found},
    store, webhook,
};

pub async fn handle(
    service: &Service,
    request: api::HandleProviderWebhookRequest,
) -> Result<api::HandleProviderWebhookResponse, Error> {
    let api::HandleProviderWebhookRequest { provider: name, payload, signature } = request;
    let provider = service.provider_named(&name).ok().filter(|_| name != WALLET);
    let provider = provider.ok_or_else(|| not_found("provider", &name))?;
    let (secret, now) = (&service.0.settings.webhook_secret, service.0.db.clock().now());
    webhook::check(secret, now, &payload, &signature).map_err(|error| error.with("provider", &name))?;
    let Callback { id, about } = provider.read(&payload)?;
    // What is told and its effect are saved together: told again, it has none.
    let work = async |unit: &mut Unit| {
        if !store::is_news(unit, &name, &id).await? {
            return Ok(());
        }
        apply(service, unit, about.clone()).await
    };
    match service.0.db.write(work).await {
        // A refund that has ended otherwise: providers contradict themselves rarely, and somebody has to look.
        Err(error) if error.reason() == "INVALID_STATE_TRANSITION" => {
            tracing::error!(callback = id, %error, "a provider contradicts what it told before");
        }
        done => done?,
    }
    Ok(api::HandleProviderWebhookResponse {})
}

async fn apply(service: &Service, unit: &mut Unit, about: About) -> Result<(), Error> {
    match about {
        About::Payment(id, evidence) => {
            let payment = settle::lock(unit, &id).await?;
            settle::learn(service, unit, payment, evidence).await.map(drop)
        }
        About::Refund(id, evidence) => {
            let refund = store::refunds::load(unit, &Scope::All, &id).await?;
            let refund = refund.ok_or_else(|| not_found("refund", &id))?;
            settle::end_refund(service, unit, &refund, evidence).await.map(drop)
        }
        About::Other => Ok(()),
    }
}
