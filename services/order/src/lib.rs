//! Order owns what people ask for and what became of it. An order for a trade is quoted by the catalog, noted, carried
//! out by one transaction of the ledger, and ends fulfilled or rejected.

mod handler;
mod order;
mod proto;
mod settle;
mod store;
mod watch;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use contracts::order::v1::order_service_server::OrderServiceServer;
use kit::{
    Error,
    config::Secret,
    drain::Draining,
    link::{Link, Links},
};
use storage::{Db, Log, Migration, page::Tokens};

/// The tables of order.
pub const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "orders", sql: include_str!("../migrations/0001_orders.sql") }];

/// What may be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Signs page tokens. All replicas share it.
    pub secret: Secret,
    /// For how long whoever placed an order tries to carry it out, before any replica takes it over.
    pub reconcile_after: Duration,
    /// After how long a watch stream ends. Its client resumes.
    pub watch_age_max: Duration,
    /// How many orders one caller may watch at a time.
    pub watches_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            secret: Secret::random(),
            reconcile_after: Duration::from_secs(5),
            watch_age_max: Duration::from_secs(15 * 60),
            watches_max: 10,
        }
    }
}

/// The order service. Clones share it.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    db: Db,
    tokens: Tokens,
    catalog: Link,
    ledger: Link,
    seats: watch::Seats,
    /// Ends the streams.
    drained: tokio::sync::watch::Sender<bool>,
    settings: Settings,
}

impl Service {
    /// The service over its database. `links` lead to `catalog` and `ledger`.
    ///
    /// # Errors
    /// None yet.
    pub async fn new(db: Db, links: &Links, settings: Settings) -> Result<Self, Error> {
        Ok(Self(Arc::new(Inner {
            db,
            tokens: Tokens::new(settings.secret.reveal()),
            catalog: links.to("catalog"),
            ledger: links.to("ledger"),
            seats: watch::Seats::new(settings.watches_max),
            drained: tokio::sync::watch::Sender::new(false),
            settings,
        })))
    }

    /// What it answers: `OrderService`.
    pub fn routes(&self) -> tonic::service::Routes {
        tonic::service::Routes::new(OrderServiceServer::new(self.clone()))
    }

    /// Its work in the background, until drained: finishing what was left pending.
    pub async fn run(self, _log: Log, draining: Draining) {
        self.work(&draining).await;
    }

    async fn work(&self, draining: &Draining) {
        let end_streams = async {
            draining.wait().await;
            self.0.drained.send_replace(true);
        };
        tokio::join!(settle::reconcile(self, draining), end_streams);
    }
}
