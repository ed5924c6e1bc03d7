//! Order owns what people ask for and what became of it. An order for a trade is quoted by the catalog, noted, carried
//! out by one transaction of the ledger, and ends fulfilled or rejected. An order for goods is noted, has goods set aside
//! and money secured, is confirmed, and shipped and charged parcel by parcel; or all of that is undone.

mod alarm;
mod cart;
mod cart_handler;
mod cart_stock;
mod cart_store;
mod cart_sweep;
mod change;
mod charging;
mod closing;
mod command;
mod events;
mod fulfillment;
mod giving_up;
mod handler;
mod held;
mod invoice;
mod invoice_clerk;
mod invoice_handler;
mod invoice_store;
mod order;
mod origin;
mod pdf;
mod proto;
mod purchase;
mod purchasing;
mod putting_back;
mod returns;
mod runner;
mod saga;
mod settle;
mod shipment;
mod steps;
mod store;
mod trade;
mod verify;
mod warehouse;
mod watch;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use contracts::order::v1::{
    cart_service_server::CartServiceServer, fulfillment_service_server::FulfillmentServiceServer,
    invoice_service_server::InvoiceServiceServer, order_service_server::OrderServiceServer,
};
use kit::{
    Error,
    config::Secret,
    drain::Draining,
    link::{Link, Links},
};
use storage::{Db, Log, Migration, Session, consumer, page::Tokens};
use tokio::sync::Semaphore;

/// The tables of order.
pub const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "orders", sql: include_str!("../migrations/0001_orders.sql") },
    Migration { version: 2, name: "purchases", sql: include_str!("../migrations/0002_purchases.sql") },
    Migration { version: 3, name: "carts", sql: include_str!("../migrations/0003_carts.sql") },
    Migration { version: 4, name: "invoices", sql: include_str!("../migrations/0004_invoices.sql") },
    Migration { version: 5, name: "indices", sql: include_str!("../migrations/0005_indices.sql") },
    Migration { version: 6, name: "refusals", sql: include_str!("../migrations/0006_refusals.sql") },
];

/// What may be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Signs page tokens. All replicas share it.
    pub secret: Secret,
    /// For how long whoever works on an order is left alone, before any replica takes it over.
    pub reconcile_after: Duration,
    /// Within which time a purchase must be confirmed, or it is undone.
    pub carry_out_within: Duration,
    /// For how long goods are set aside before the order is confirmed; unless it is said, for a while longer than that.
    pub reservation_lifetime: Option<Duration>,
    /// Within which time a purchase must be confirmed once the buyer has to confirm the payment.
    pub buyer_confirms_within: Duration,
    /// For how long what must be done (undo, ship, refund) is tried again by itself, before an operator has to look.
    pub stuck_after: Duration,
    /// For how long goods can be returned once everything is shipped.
    pub return_window: Duration,
    /// How many purchases this process carries out at a time; those above wait for the reconciler.
    pub running_max: usize,
    /// How long a thing must have rested before orders are checked against it.
    pub settled_after: Duration,
    /// Whether a warehouse of the demo ships by itself what is confirmed.
    pub demo_warehouse: bool,
    /// How long it takes to pack, and to deliver.
    pub ship_delay: Duration,
    /// After how long a watch stream ends. Its client resumes.
    pub watch_age_max: Duration,
    /// How many orders one caller may watch at a time.
    pub watches_max: usize,
    /// Who writes the invoices: a name and an address, a line each.
    pub seller: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            secret: Secret::random(),
            reconcile_after: Duration::from_secs(5),
            carry_out_within: Duration::from_secs(25),
            reservation_lifetime: None,
            buyer_confirms_within: Duration::from_secs(30 * 60),
            stuck_after: Duration::from_secs(10 * 60),
            return_window: Duration::from_secs(30 * 24 * 60 * 60),
            running_max: 1_024,
            settled_after: Duration::from_secs(10),
            demo_warehouse: false,
            ship_delay: Duration::from_secs(2),
            watch_age_max: Duration::from_secs(15 * 60),
            watches_max: 10,
            seller: ["Agora", "1 Market Square", "12345 Agora"].map(str::to_owned).to_vec(),
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
    inventory: Link,
    payment: Link,
    ledger: Link,
    /// To ourselves, for the warehouse.
    order: Link,
    running: Arc<Semaphore>,
    seats: watch::Seats,
    /// Ends the streams.
    drained: tokio::sync::watch::Sender<bool>,
    settings: Settings,
}

impl Service {
    /// The service over its database. `links` lead to `catalog`, `inventory`, `payment`, `ledger`, and for the warehouse
    /// of a demo to `order`.
    ///
    /// # Errors
    /// None yet.
    pub async fn new(db: Db, links: &Links, settings: Settings) -> Result<Self, Error> {
        Ok(Self(Arc::new(Inner {
            db,
            tokens: Tokens::new(settings.secret.reveal()),
            catalog: links.to("catalog"),
            inventory: links.to("inventory"),
            payment: links.to("payment"),
            ledger: links.to("ledger"),
            order: links.to("order"),
            running: Arc::new(Semaphore::new(settings.running_max)),
            seats: watch::Seats::new(settings.watches_max),
            drained: tokio::sync::watch::Sender::new(false),
            settings,
        })))
    }

    /// What it answers: `OrderService`, `FulfillmentService`, `CartService` and `InvoiceService`.
    pub fn routes(&self) -> tonic::service::Routes {
        tonic::service::Routes::new(OrderServiceServer::new(self.clone()))
            .add_service(FulfillmentServiceServer::new(self.clone()))
            .add_service(CartServiceServer::new(self.clone()))
            .add_service(InvoiceServiceServer::new(self.clone()))
    }

    /// Its work in the background, until drained: finishing what was left undone, following payments, and the warehouse
    /// of a demo.
    pub async fn run(self, log: Log, draining: Draining) {
        let follower = consumer::Consumer { group: "order", topics: events::TOPICS, db: self.0.db.clone(), log };
        let following = consumer::run(follower, events::Reactions(self.clone()), draining.clone());
        let (carts, invoices) = (cart_sweep::run(&self, &draining), invoice_clerk::run(&self, &draining));
        tokio::join!(self.work(&draining), following, carts, invoices);
    }

    /// How many orders are stuck, and wait for an operator.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn stuck(&self) -> Result<i64, Error> {
        self.0.db.read(async |session: &mut Session| store::stuck(session).await).await
    }

    async fn work(&self, draining: &Draining) {
        let end_streams = async {
            draining.wait().await;
            self.0.drained.send_replace(true);
        };
        let ship = async {
            if self.0.settings.demo_warehouse {
                warehouse::run(self, draining).await;
            }
        };
        let (reconcile, close) = (runner::reconcile(self, draining), closing::run(self, draining));
        tokio::join!(reconcile, close, alarm::run(self, draining), ship, end_streams);
    }
}
