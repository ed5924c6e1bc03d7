//! The page that shows the system: every service, whom it calls, and how it is made. There is no other list.

use futures::{FutureExt, future::BoxFuture};
use kit::{Clock, Error, drain::Draining, link::Links};
use storage::{Db, Log, Migration};
use tonic::service::Routes;

use crate::{
    demo::PEOPLE,
    host::ISSUER,
    settings::{Platform, Purpose},
};

/// One service of the platform.
pub struct Service {
    /// Its name: of the workload, the command, the database and the package `agora.<name>.v1`.
    pub name: &'static str,
    /// What it owns, in a sentence.
    pub about: &'static str,
    /// Whom it calls. Every service also follows auth for keys and revocations.
    pub calls: &'static [&'static str],
    /// The tables of its database, oldest first.
    pub migrations: &'static [Migration],
    /// Makes it.
    pub start: fn(Parts) -> BoxFuture<'static, Result<Started, Error>>,
}

/// What a service is made of.
pub struct Parts {
    /// Its database.
    pub db: Db,
    /// The ways to those it calls.
    pub links: Links,
    /// The settings of the platform.
    pub platform: Platform,
    /// The clock of the process.
    pub clock: Clock,
}

/// A service that can answer.
pub struct Started {
    /// Its handlers.
    pub routes: Routes,
    /// Its background work, until drained.
    pub run: Box<dyn FnOnce(Log, Draining) -> BoxFuture<'static, ()> + Send>,
}

/// Every service, a callee before its callers.
pub const SERVICES: &[Service] = &[
    Service {
        name: "user",
        about: "Accounts, credentials and what people keep in them",
        calls: &[],
        migrations: user::MIGRATIONS,
        start: |parts| start_user(parts).boxed(),
    },
    Service {
        name: "auth",
        about: "Sessions, tokens, signing keys and roles",
        calls: &["user"],
        migrations: auth::MIGRATIONS,
        start: |parts| start_auth(parts).boxed(),
    },
    Service {
        name: "catalog",
        about: "What can be bought, and at which price",
        calls: &[],
        migrations: catalog::MIGRATIONS,
        start: |parts| start_catalog(parts).boxed(),
    },
    Service {
        name: "ledger",
        about: "All money and all holdings",
        calls: &["catalog", "ledger"],
        migrations: ledger::MIGRATIONS,
        start: |parts| start_ledger(parts).boxed(),
    },
    Service {
        name: "inventory",
        about: "How many pieces there are, and for whom they are set aside",
        calls: &["catalog"],
        migrations: inventory::MIGRATIONS,
        start: |parts| start_inventory(parts).boxed(),
    },
    Service {
        name: "payment",
        about: "How orders are paid: by wallet and by card",
        calls: &["ledger", "payment"],
        migrations: payment::MIGRATIONS,
        start: |parts| start_payment(parts).boxed(),
    },
    Service {
        name: "order",
        about: "What people ask for, and what became of it",
        calls: &["catalog", "inventory", "payment", "ledger", "order"],
        migrations: order::MIGRATIONS,
        start: |parts| start_order(parts).boxed(),
    },
];

/// Below how many pieces a location of the demo is low.
const LOW_STOCK: i64 = 10;

/// The service with this name.
pub fn find(name: &str) -> Option<&'static Service> {
    SERVICES.iter().find(|service| service.name == name)
}

async fn start_user(parts: Parts) -> Result<Started, Error> {
    let settings = user::Settings { page_secret: parts.platform.key(Purpose::Pages), ..user::Settings::default() };
    let service = user::Service::new(parts.db, &parts.links, settings).await?;
    if parts.platform.demo() {
        for person in PEOPLE {
            service.seed(&person.id(), person.email, person.password, person.name).await?;
        }
    }
    Ok(started(service.routes(), |log, draining| service.run(log, draining)))
}

async fn start_auth(parts: Parts) -> Result<Started, Error> {
    let lifetimes = &parts.platform.lifetimes;
    let settings = auth::Settings {
        page_secret: parts.platform.key(Purpose::Pages),
        key_secret: parts.platform.key(Purpose::Keys),
        issuer: ISSUER.to_owned(),
        audience: ISSUER.to_owned(),
        lifetimes: auth::Lifetimes {
            access_token: lifetimes.access_token_lifetime,
            session: lifetimes.session_lifetime,
        },
        signing_key_lifetime: lifetimes.signing_key_lifetime,
        ..auth::Settings::default()
    };
    let service = auth::Service::new(parts.db.clone(), &parts.links, settings).await?;
    if parts.platform.demo() {
        for person in PEOPLE.iter().filter(|person| !person.roles.is_empty()) {
            auth::grant(&parts.db, &person.id(), person.roles).await?;
        }
    }
    Ok(started(service.routes(), |log, draining| service.run(log, draining)))
}

async fn start_catalog(parts: Parts) -> Result<Started, Error> {
    let (lifetimes, market) = (&parts.platform.lifetimes, &parts.platform.market);
    let settings = catalog::Settings {
        secret: parts.platform.key(Purpose::Pages),
        quote_secret: parts.platform.key(Purpose::Quotes),
        feed: market.feed.clone(),
        tick_interval: market.tick_interval,
        price_age_max: market.price_age_max,
        fee_bps: market.fee_bps,
        max_slippage_bps: market.max_slippage_bps,
        quote_lifetime: lifetimes.quote_lifetime,
        purchase_quote_lifetime: lifetimes.purchase_quote_lifetime,
        ..catalog::Settings::default()
    };
    let service = catalog::Service::new(parts.db, &parts.links, settings).await?;
    service.seed().await?;
    Ok(started(service.routes(), |log, draining| service.run(log, draining)))
}

async fn start_ledger(parts: Parts) -> Result<Started, Error> {
    let settings = ledger::Settings {
        secret: parts.platform.key(Purpose::Pages),
        demo_bank: parts.platform.demo(),
        // Only a demo makes money out of nothing. Elsewhere it comes in through a payment provider.
        deposit_max: if parts.platform.demo() { ledger::Settings::default().deposit_max } else { 0 },
        settle_delay: parts.platform.lifetimes.settle_delay,
        ..ledger::Settings::default()
    };
    let service = ledger::Service::new(parts.db, &parts.links, settings).await?;
    Ok(started(service.routes(), |log, draining| service.run(log, draining)))
}

async fn start_inventory(parts: Parts) -> Result<Started, Error> {
    let settings = inventory::Settings { secret: parts.platform.key(Purpose::Pages), ..inventory::Settings::default() };
    let service = inventory::Service::new(parts.db, &parts.links, settings).await?;
    if parts.platform.demo() {
        let stock = |variant: catalog::SeededVariant| inventory::SeedStock {
            variant_id: variant.variant_id,
            quantity: variant.quantity,
            low_threshold: LOW_STOCK,
        };
        let variants: Vec<_> = catalog::seeded_variants()?.into_iter().map(stock).collect();
        service.seed(&variants).await?;
    }
    Ok(started(service.routes(), |log, draining| service.run(log, draining)))
}

async fn start_payment(parts: Parts) -> Result<Started, Error> {
    let settings = payment::Settings {
        secret: parts.platform.key(Purpose::Pages),
        webhook_secret: parts.platform.key(Purpose::Webhooks),
        simulator: parts.platform.card_simulator(),
        authorization_lifetime: parts.platform.lifetimes.authorization_lifetime,
        reconcile_after: parts.platform.lifetimes.reconcile_after,
        ..payment::Settings::default()
    };
    let service = payment::Service::new(parts.db, &parts.links, settings).await?;
    Ok(started(service.routes(), |log, draining| service.run(log, draining)))
}

async fn start_order(parts: Parts) -> Result<Started, Error> {
    let lifetimes = &parts.platform.lifetimes;
    let settings = order::Settings {
        secret: parts.platform.key(Purpose::Pages),
        reconcile_after: lifetimes.reconcile_after,
        carry_out_within: lifetimes.saga_deadline,
        reservation_lifetime: lifetimes.reservation_lifetime,
        return_window: lifetimes.return_window,
        // Whatever a crash interrupted has been taken up by then.
        settled_after: 2 * lifetimes.reconcile_after,
        demo_warehouse: parts.platform.demo_warehouse(),
        ship_delay: lifetimes.ship_delay,
        seller: parts.platform.seller.clone(),
        ..order::Settings::default()
    };
    let service = order::Service::new(parts.db, &parts.links, settings).await?;
    Ok(started(service.routes(), |log, draining| service.run(log, draining)))
}

fn started<F>(routes: Routes, run: impl FnOnce(Log, Draining) -> F + Send + 'static) -> Started
where
    F: Future<Output = ()> + Send + 'static,
{
    Started { routes, run: Box::new(move |log, draining| run(log, draining).boxed()) }
}
