//! Inventory owns how many pieces there are, where, and for whom they are set aside. Stock comes and goes by movements;
//! a reservation sets pieces aside for an order until they are shipped, given back, or not wanted in time. Nothing is
//! ever sold twice.

mod batch;
mod catalog;
mod changes;
mod handler;
mod proto;
mod reservation;
mod seed;
mod stock;
mod stockroom;
mod store;
mod sweeper;
mod verify;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use contracts::inventory::v1::inventory_service_server::InventoryServiceServer;
use kit::{
    Error,
    config::Secret,
    drain::Draining,
    link::{Link, Links},
};
use storage::{Db, Log, Migration, page::Tokens};

pub use seed::SeedStock;

/// The tables of inventory.
pub const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "stock", sql: include_str!("../migrations/0001_stock.sql") }];

/// What may be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Signs page tokens. All replicas share it.
    pub secret: Secret,
    /// For how long pieces are set aside if the caller does not say.
    pub lifetime: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { secret: Secret::random(), lifetime: Duration::from_secs(15 * 60) }
    }
}

/// The inventory service. Clones share it.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    db: Db,
    tokens: Tokens,
    batcher: batch::Batcher,
    catalog: Link,
    settings: Settings,
}

impl Service {
    /// The service over its database. `links` lead to `catalog`.
    ///
    /// # Errors
    /// None yet.
    pub async fn new(db: Db, links: &Links, settings: Settings) -> Result<Self, Error> {
        let tokens = Tokens::new(settings.secret.reveal());
        let batcher = batch::Batcher::new(db.clone());
        Ok(Self(Arc::new(Inner { db, tokens, batcher, catalog: links.to("catalog"), settings })))
    }

    /// What it answers: `InventoryService`.
    pub fn routes(&self) -> tonic::service::Routes {
        tonic::service::Routes::new(InventoryServiceServer::new(self.clone()))
    }

    /// Its work in the background, until drained: giving back what nobody wanted in time.
    pub async fn run(self, _log: Log, draining: Draining) {
        sweeper::run(&self, &draining).await;
    }
}
