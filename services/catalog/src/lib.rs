//! The catalogue: what can be bought, in which units, and what it costs at this moment.
//!
//! Products, categories, units, list prices and promotions are rows. Prices of assets are not: each replica follows the
//! [`feed`] and keeps the latest. A quote is not either: it is signed and given away, and proves itself when it comes back
//! with an order.

use std::{sync::Arc, time::Duration};

use contracts::catalog::v1::{
    asset_service_server::AssetServiceServer, category_service_server::CategoryServiceServer,
    market_data_service_server::MarketDataServiceServer, pricing_service_server::PricingServiceServer,
    product_service_server::ProductServiceServer,
};
use futures::StreamExt;
use kit::{Error, config::Secret, drain::Draining, link::Links, units::Units};
use storage::{Db, Log, Migration, page::Tokens};
use tonic::service::Routes;

use crate::{
    assets::Seed,
    feed::{Feed, FeedChoice, PriceFile, Walks},
    market::{Market, Watches},
    product::UnitKind,
    quote::Terms,
    rates::Rates,
    shelf::Shelf,
    token::Signer,
};

pub mod assets;
pub mod edit;
pub mod feed;
pub mod frozen;
pub mod goods;
pub mod handler;
pub mod market;
pub mod message;
pub mod product;
pub mod purchase;
pub mod quote;
pub mod rates;
pub mod shelf;
pub mod store;
pub mod token;
pub mod walk;

pub use goods::{SeededVariant, seeded_variants};

#[cfg(test)]
mod tests;

/// The tables of the catalogue.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "catalog", sql: include_str!("../migrations/0001_catalog.sql") },
    Migration { version: 2, name: "goods", sql: include_str!("../migrations/0002_goods.sql") },
    Migration { version: 3, name: "promotion codes", sql: include_str!("../migrations/0003_promotion_codes.sql") },
];

/// A feed that never rests would starve everyone else.
const TICK_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// What can be chosen about the catalogue.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Signs page tokens. The same for every replica.
    pub secret: Secret,
    /// Signs quotes. The same for every replica.
    pub quote_secret: Secret,
    /// Where prices come from; by default a random walk.
    pub feed: FeedChoice,
    /// How often the feed moves prices: 1 s. Never more often than every 10 ms.
    pub tick_interval: Duration,
    /// How far bid and ask are apart: 10 bps.
    pub spread_bps: u32,
    /// What the house takes of a trade: 10 bps.
    pub fee_bps: u32,
    /// For how long the quote of a trade holds: 30 s.
    pub quote_lifetime: Duration,
    /// For how long the quote of a purchase holds: 15 min.
    pub purchase_quote_lifetime: Duration,
    /// Where goods go if nobody says so: `DE`. One of the countries of `seed/taxes.txt`.
    pub country: String,
    /// For how long a replica may price baskets by what it read before: 2 s. Its own changes show at once.
    pub shelf_age_max: Duration,
    /// How old a price may be to trade on: 10 s. More than three tick intervals.
    pub price_age_max: Duration,
    /// How far the market may move against a caller before a quote is void, at most: 100 bps.
    pub max_slippage_bps: u32,
    /// How long a stream of prices lasts, at most: 15 min.
    pub watch_age_max: Duration,
    /// How many streams of prices a user may have open: 10.
    pub watches_per_user: usize,
    /// How many streams of prices a replica serves: 1,000, half of them for callers who have not logged in.
    pub watches_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            secret: Secret::random(),
            quote_secret: Secret::random(),
            feed: FeedChoice::default(),
            tick_interval: Duration::from_secs(1),
            spread_bps: 10,
            fee_bps: 10,
            quote_lifetime: Duration::from_secs(30),
            purchase_quote_lifetime: Duration::from_secs(15 * 60),
            country: "DE".to_owned(),
            shelf_age_max: Duration::from_secs(2),
            price_age_max: Duration::from_secs(10),
            max_slippage_bps: 100,
            watch_age_max: Duration::from_secs(15 * 60),
            watches_per_user: 10,
            watches_max: 1_000,
        }
    }
}

/// The catalogue. Clones share it.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    db: Db,
    seed: Seed,
    settings: Settings,
    terms: Terms,
    units: Units,
    market: Market,
    rates: Rates,
    shelf: Shelf,
    watches: Watches,
    signer: Signer,
    pages: Tokens,
}

impl Service {
    /// The catalogue in `db`. It calls nobody.
    ///
    /// # Errors
    /// `INTERNAL` if the seed is unreadable, which a test rules out; `INVALID_FIELD` if goods do not go to the country of
    /// the settings.
    pub async fn new(db: Db, _links: &Links, settings: Settings) -> Result<Self, Error> {
        let terms = Terms {
            fee_bps: settings.fee_bps,
            lifetime: settings.quote_lifetime,
            price_age_max: settings.price_age_max,
            slippage_max_bps: settings.max_slippage_bps,
        };
        let units = Units::new({
            let db = db.clone();
            move || Box::pin(load_units(db.clone()))
        });
        let seed = Seed::read()?;
        let rates = Rates::read(&seed.currencies)?;
        rates.country(&settings.country)?;
        Ok(Self(Arc::new(Inner {
            seed,
            rates,
            shelf: Shelf::new(&db, settings.shelf_age_max),
            terms,
            units,
            market: Market::default(),
            watches: Watches::default(),
            signer: Signer::new(settings.quote_secret.reveal()),
            pages: Tokens::new(settings.secret.reveal()),
            settings,
            db,
        })))
    }

    /// Puts the demo's currencies, categories, assets and goods into the database, or those that are missing. Every replica may
    /// do so at every start.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn seed(&self) -> Result<(), Error> {
        let seed = &self.0.seed;
        let currency = seed.currencies.iter().find(|unit| unit.code == assets::CURRENCY);
        let currency = currency.ok_or_else(|| Error::internal("the seed has no currency of the platform"))?;
        storage::again(|| self.0.db.write(async |unit| store::seed::save(unit, seed, currency).await)).await
    }

    /// The RPCs.
    pub fn routes(&self) -> Routes {
        Routes::new(ProductServiceServer::new(self.clone()))
            .add_service(AssetServiceServer::new(self.clone()))
            .add_service(CategoryServiceServer::new(self.clone()))
            .add_service(MarketDataServiceServer::new(self.clone()))
            .add_service(PricingServiceServer::new(self.clone()))
    }

    /// The prices of this moment.
    pub fn market(&self) -> &Market {
        &self.0.market
    }

    /// Follows the feed until the drain, then ends the streams of prices.
    pub async fn run(self, _log: Log, draining: Draining) {
        let mut ticks = self.feed().ticks(self.0.db.clock().clone());
        loop {
            tokio::select! {
                biased;
                () = draining.wait() => break,
                batch = ticks.next() => match batch {
                    Some(batch) => self.0.market.publish(batch),
                    None => {
                        tracing::error!("the feed has ended: prices grow old, and no trade is priced");
                        draining.wait().await;
                        break;
                    }
                },
            }
        }
        self.0.market.close();
    }

    fn feed(&self) -> Box<dyn Feed> {
        let (assets, settings) = (self.0.seed.assets.clone(), &self.0.settings);
        let (interval, spread_bps) = (settings.tick_interval.max(TICK_INTERVAL_MIN), settings.spread_bps);
        match &settings.feed {
            FeedChoice::Walk { seed } => Box::new(Walks { assets, seed: *seed, interval, spread_bps }),
            FeedChoice::File(path) => Box::new(PriceFile { assets, path: path.clone(), interval, spread_bps }),
        }
    }
}

async fn load_units(db: Db) -> Result<std::collections::HashMap<String, kit::units::Unit>, Error> {
    let units = db.read(store::units).await?;
    Ok(units
        .into_iter()
        .map(|unit| (unit.code, kit::units::Unit { scale: unit.scale, fiat: unit.kind == UnitKind::Fiat }))
        .collect())
}
