//! Payment owns how orders are paid: payments, what was captured and refunded of them, and the cards that people pay with.
//! The wallet and every card provider make the same moves; what leaves the house is noted before, and reconciled after.

mod alarm;
mod handler;
mod money;
mod moves;
mod payment;
mod proto;
mod provider;
mod reconcile;
mod refund;
mod settle;
mod simulator;
mod store;
mod verify;
mod wallet;
mod webhook;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use contracts::payment::v1::payment_service_server::PaymentServiceServer;
use kit::{Error, config::Secret, drain::Draining, link::Links};
use storage::{Db, Log, Migration, page::Tokens};

use crate::{provider::Provider, simulator::Simulator, wallet::Wallet};

/// The tables of payment.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "payments", sql: include_str!("../migrations/0001_payments.sql") },
    Migration { version: 2, name: "payments by state", sql: include_str!("../migrations/0002_states.sql") },
    Migration { version: 3, name: "cards before they are kept", sql: include_str!("../migrations/0003_cards.sql") },
    Migration { version: 4, name: "automatic refunds", sql: include_str!("../migrations/0004_automatic.sql") },
];

/// How long a buyer may take to confirm a payment.
const ACTION_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// What may be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Signs page tokens. All replicas share it.
    pub secret: Secret,
    /// What the card provider signs its callbacks with. All replicas share it.
    pub webhook_secret: Secret,
    /// Whether cards are taken by the simulator, for demos and tests. Without it, nobody takes cards.
    pub simulator: bool,
    /// How long money stays secured.
    pub authorization_lifetime: Duration,
    /// How long a call waits for a card provider before it answers that the payment is processing.
    pub patience: Duration,
    /// The longest that a card provider may take for one request.
    pub provider_limit: Duration,
    /// After how long the reconciler asks a provider that has not answered.
    pub reconcile_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            secret: Secret::random(),
            webhook_secret: Secret::random(),
            simulator: false,
            authorization_lifetime: Duration::from_secs(7 * 24 * 3600),
            patience: Duration::from_millis(1_500),
            provider_limit: Duration::from_secs(10),
            reconcile_after: Duration::from_secs(5),
        }
    }
}

/// The payment service. Clones share it.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    db: Db,
    tokens: Tokens,
    wallet: Wallet,
    /// Whoever takes cards, if anybody does.
    simulator: Option<Simulator>,
    settings: Settings,
}

impl Service {
    /// The service over its database. `links` lead to `ledger` and, for callbacks of the simulator, to `payment`.
    ///
    /// # Errors
    /// None yet.
    pub async fn new(db: Db, links: &Links, settings: Settings) -> Result<Self, Error> {
        let simulate = || Simulator::new(db.clone(), links.to("payment"), settings.webhook_secret.clone());
        Ok(Self(Arc::new(Inner {
            tokens: Tokens::new(settings.secret.reveal()),
            wallet: Wallet::new(links.to("ledger")),
            simulator: settings.simulator.then(simulate),
            db,
            settings,
        })))
    }

    /// What it answers: `PaymentService`.
    pub fn routes(&self) -> tonic::service::Routes {
        tonic::service::Routes::new(PaymentServiceServer::new(self.clone()))
    }

    /// Its work in the background, until drained: the reconciler, the alarm, and the callbacks of the simulator.
    pub async fn run(self, _log: Log, draining: Draining) {
        let callbacks = async {
            if let Some(simulator) = &self.0.simulator {
                simulator::callbacks::run(simulator, &draining).await;
            }
        };
        tokio::join!(reconcile::run(&self, &draining), alarm::run(&self, &draining), callbacks);
    }

    /// Whoever takes cards.
    fn cards(&self) -> Result<&dyn Provider, Error> {
        let simulator = self.0.simulator.as_ref().map(|simulator| simulator as &dyn Provider);
        simulator.ok_or_else(|| provider::invalid_method("This platform takes no cards. Pay from the wallet."))
    }

    fn provider_named(&self, name: &str) -> Result<&dyn Provider, Error> {
        if name == payment::WALLET {
            return Ok(&self.0.wallet);
        }
        let cards = self.cards()?;
        if cards.name() == name {
            return Ok(cards);
        }
        Err(provider::invalid_method(format!("The provider {name} is not connected here. Pay with something else.")))
    }
}
