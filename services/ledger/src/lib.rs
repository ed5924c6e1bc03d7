//! The ledger owns what everyone has: double-entry accounts per owner and unit, transactions, holds, withdrawals, and
//! the cost of holdings. All money and all assets of the platform are here, and per unit they sum to zero.

mod bank;
mod book;
mod handler;
mod hold;
mod hold_store;
mod portfolio;
mod posting;
mod store;
mod sweep;
mod verify;
mod verify_store;
mod withdrawal;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc, time::Duration};

use contracts::{
    catalog::v1::{ListUnitsRequest, product_service_client::ProductServiceClient, unit::Kind},
    ledger::v1::{ledger_service_server::LedgerServiceServer, wallet_service_server::WalletServiceServer},
};
use kit::{
    Error,
    config::Secret,
    drain::Draining,
    link::{Link, Links},
    units::{Unit, Units},
};
use storage::{Db, Log, Migration, page::Tokens};

/// The tables of the ledger.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "books", sql: include_str!("../migrations/0001_books.sql") },
    Migration { version: 2, name: "holds", sql: include_str!("../migrations/0002_holds.sql") },
];

/// What may be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Signs page tokens. All replicas share it.
    pub secret: Secret,
    /// The unit in which cost, profit and the portfolio are counted.
    pub currency: String,
    /// The largest deposit, in whole units of its currency.
    pub deposit_max: i64,
    /// Whether the demo bank settles withdrawals. Without it, an operator does.
    pub demo_bank: bool,
    /// How long the demo bank takes.
    pub settle_delay: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            secret: Secret::random(),
            currency: "USD".to_owned(),
            deposit_max: 1_000_000,
            demo_bank: true,
            settle_delay: Duration::from_secs(2),
        }
    }
}

/// The ledger. Clones share it.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    db: Db,
    units: Units,
    tokens: Tokens,
    catalog: Link,
    /// The ledger itself, as the demo bank calls it.
    ledger: Link,
    settings: Settings,
}

impl Service {
    /// A ledger over its database. `links` lead to `catalog` and, for the demo bank, to `ledger`.
    ///
    /// # Errors
    /// None yet.
    pub async fn new(db: Db, links: &Links, settings: Settings) -> Result<Self, Error> {
        let catalog = links.to("catalog");
        let units = Units::new({
            let catalog = catalog.clone();
            move || Box::pin(list_units(catalog.clone()))
        });
        let tokens = Tokens::new(settings.secret.reveal());
        Ok(Self(Arc::new(Inner { db, units, tokens, catalog, ledger: links.to("ledger"), settings })))
    }

    /// What it answers: `LedgerService` and `WalletService`.
    pub fn routes(&self) -> tonic::service::Routes {
        tonic::service::Routes::new(LedgerServiceServer::new(self.clone()))
            .add_service(WalletServiceServer::new(self.clone()))
    }

    /// Its work in the background, until drained: the demo bank, and the end of holds whose time is over.
    pub async fn run(self, _log: Log, draining: Draining) {
        let bank = async {
            if self.0.settings.demo_bank {
                bank::run(&self, &draining).await;
            }
        };
        tokio::join!(bank, sweep::run(&self, &draining));
    }
}

async fn list_units(catalog: Link) -> Result<HashMap<String, Unit>, Error> {
    let reply = ProductServiceClient::new(catalog).list_units(ListUnitsRequest {}).await?.into_inner();
    let known = |unit: contracts::catalog::v1::Unit| {
        let fiat = unit.kind() == Kind::Fiat;
        Ok((unit.code, Unit { scale: u8::try_from(unit.scale).map_err(Error::internal)?, fiat }))
    };
    reply.units.into_iter().map(known).collect()
}
