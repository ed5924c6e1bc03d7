//! What inventory promises, as sentences.

mod batches;
mod catalog;
mod expiry;
mod races;
mod reservations;
mod rules;
mod stock;
mod stockroom;

use std::{
    future::Future,
    sync::{Arc, Once},
    time::Duration,
};

use contracts::inventory::v1::{
    self as api, inventory_service_server::InventoryService, reservation::State, stock_movement::Kind,
};
use kit::{Call, Clock, Error, Timestamp, contract::Contract, link::Links};
use prost::Message;
use storage::{Db, Options, Session, testing::Database};
use tonic::{Request, Response, Status};

use crate::{MIGRATIONS, Service, Settings};

/// An inventory with one location over a database of its own, and what a test needs to speak to it.
struct Bench {
    service: Service,
    /// Another process over the same database; on SQLite, which is for one process, the same.
    replica: Service,
    db: Db,
    clock: Clock,
    location: String,
    catalog: catalog::FakeCatalog,
    database: Database,
}

impl Bench {
    /// One for each kind of database.
    async fn each() -> Vec<Bench> {
        let mut benches = Vec::new();
        for database in storage::testing::each_database().await {
            benches.push(Bench::over(database).await);
        }
        benches
    }

    async fn over(database: Database) -> Bench {
        install();
        let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
        let catalog = catalog::FakeCatalog::default();
        let links = Links::new().add("catalog", catalog.link());
        let open = async || {
            let options = Options { migrations: MIGRATIONS, ..Options::new("inventory", clock.clone()) };
            let db = Db::open(database.url(), options).await.unwrap();
            (Service::new(db.clone(), &links, Settings::default()).await.unwrap(), db)
        };
        let (service, db) = open().await;
        let replica = if database.is_postgres() { open().await.0 } else { service.clone() };
        let mut bench = Bench { service, replica, db, clock, location: String::new(), catalog, database };
        bench.location = bench.add_location("Rotterdam", 0).await.unwrap().id;
        bench
    }

    async fn add_location(&self, name: &str, rank: i32) -> Result<api::Location, Error> {
        let request = api::CreateLocationRequest { request_id: request_id(), name: name.to_owned(), rank };
        Ok(answer(self.service.create_location(Request::new(request))).await?.location.unwrap())
    }

    /// A new variant of which there are so many pieces.
    async fn variant(&self, quantity: i64) -> String {
        let variant = kit::id::new("var", self.clock.now());
        self.receive(&variant, quantity).await.unwrap();
        variant
    }

    async fn receive(&self, variant: &str, quantity: i64) -> Result<api::StockItem, Error> {
        self.adjust(adjustment(variant, &self.location, Kind::Received, quantity)).await
    }

    async fn adjust(&self, request: api::AdjustStockRequest) -> Result<api::StockItem, Error> {
        Ok(answer(self.service.adjust_stock(Request::new(request))).await?.stock_item.unwrap())
    }

    /// What there is of a variant, at all locations.
    async fn items(&self, variant: &str) -> Vec<api::StockItem> {
        let request = api::ListStockItemsRequest { variant_id: variant.to_owned(), ..Default::default() };
        answer(self.service.list_stock_items(Request::new(request))).await.unwrap().stock_items
    }

    /// On hand, reserved and available of a variant, over all locations.
    async fn counts(&self, variant: &str) -> [i64; 3] {
        let items = self.items(variant).await;
        let sum = |of: fn(&api::StockItem) -> i64| items.iter().map(of).sum();
        [sum(|item| item.on_hand), sum(|item| item.reserved), sum(|item| item.available)]
    }

    async fn create(&self, id: &str, lines: &[(&str, i64)]) -> Result<api::Reservation, Error> {
        create(&self.service, id, lines).await
    }

    async fn pin(&self, id: &str) -> Result<api::Reservation, Error> {
        let request = api::PinReservationRequest { id: id.to_owned() };
        Ok(answer(self.service.pin_reservation(Request::new(request))).await?.reservation.unwrap())
    }

    async fn extend(&self, id: &str, lifetime_seconds: i32) -> Result<api::Reservation, Error> {
        let request = api::ExtendReservationRequest { id: id.to_owned(), lifetime_seconds };
        Ok(answer(self.service.extend_reservation(Request::new(request))).await?.reservation.unwrap())
    }

    async fn commit(&self, id: &str, shipment: &str, lines: &[(&str, i64)]) -> Result<api::Reservation, Error> {
        commit(&self.service, id, shipment, lines).await
    }

    async fn release(&self, id: &str) -> Result<api::Reservation, Error> {
        release(&self.service, id).await
    }

    async fn get(&self, id: &str) -> Result<api::Reservation, Error> {
        let request = api::GetReservationRequest { id: id.to_owned() };
        Ok(answer(self.service.get_reservation(Request::new(request))).await?.reservation.unwrap())
    }

    async fn verify(&self) -> api::VerifyStockResponse {
        answer(self.service.verify_stock(Request::new(api::VerifyStockRequest::default()))).await.unwrap()
    }

    /// The facts in the outbox: about what, its number, and what became true. In order of aggregate and number.
    async fn facts(&self) -> Vec<(String, i64, api::inventory_event::Event)> {
        let read = async |session: &mut Session| {
            session.rows("SELECT aggregate, sequence, payload FROM outbox ORDER BY aggregate, sequence", &[]).await
        };
        let rows = self.db.read(read).await.unwrap();
        let fact = |row: &storage::Row| {
            let message = api::InventoryEvent::decode(row.bytes(2).unwrap().as_slice()).unwrap();
            assert_eq!(message.aggregate_id, row.text(0).unwrap());
            (row.text(0).unwrap(), row.int(1).unwrap(), message.event.unwrap())
        };
        rows.iter().map(fact).collect()
    }

    /// How many statements and units `work` cost.
    async fn cost(&self, work: impl Future) -> (u64, u64) {
        let before = self.db.stats();
        work.await;
        let after = self.db.stats();
        (after.statements - before.statements, after.units - before.units)
    }
}

async fn create(service: &Service, id: &str, lines: &[(&str, i64)]) -> Result<api::Reservation, Error> {
    let (reference, lines) = ("ord_1".to_owned(), asked(lines));
    let request = api::CreateReservationRequest { id: id.to_owned(), reference, lines, lifetime_seconds: 0 };
    Ok(answer(service.create_reservation(Request::new(request))).await?.reservation.unwrap())
}

async fn commit(service: &Service, id: &str, shipment: &str, lines: &[(&str, i64)]) -> Result<api::Reservation, Error> {
    let (id, shipment_id, lines) = (id.to_owned(), shipment.to_owned(), asked(lines));
    let request = api::CommitReservationRequest { id, shipment_id, lines };
    Ok(answer(service.commit_reservation(Request::new(request))).await?.reservation.unwrap())
}

async fn release(service: &Service, id: &str) -> Result<api::Reservation, Error> {
    let request = api::ReleaseReservationRequest { id: id.to_owned(), reference: "ord_1".to_owned() };
    Ok(answer(service.release_reservation(Request::new(request))).await?.reservation.unwrap())
}

/// Carries a call out as `order` would make it.
async fn answer<T>(work: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
    let call = Call::background("order", Duration::from_secs(60));
    kit::call::run(call, work).await.map(Response::into_inner).map_err(Error::from)
}

fn asked(lines: &[(&str, i64)]) -> Vec<api::ReservationLine> {
    let line = |(variant, quantity): &(&str, i64)| api::ReservationLine {
        variant_id: (*variant).to_owned(),
        quantity: *quantity,
        committed: 0,
    };
    lines.iter().map(line).collect()
}

fn adjustment(variant: &str, location: &str, kind: Kind, quantity: i64) -> api::AdjustStockRequest {
    api::AdjustStockRequest {
        request_id: request_id(),
        variant_id: variant.to_owned(),
        location_id: location.to_owned(),
        kind: kind.into(),
        quantity,
        reference: "a note".to_owned(),
        etag: String::new(),
    }
}

fn new_id(prefix: &str) -> String {
    kit::id::new(prefix, Timestamp::from_seconds(1))
}

fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| kit::contract::install(Arc::new(Contract::parse(contracts::DESCRIPTORS).unwrap())));
}

/// Polls until `done`, or fails after a while.
async fn eventually(mut done: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !done().await {
        assert!(tokio::time::Instant::now() < deadline, "it did not happen in time");
        tokio::task::yield_now().await;
    }
}
