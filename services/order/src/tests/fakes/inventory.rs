//! An inventory in memory, which keeps what the contract promises: an id that makes a repeat harmless, and tombstones.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
};

use contracts::{
    inventory::v1::{
        self as inventory, Reservation,
        inventory_service_server::{InventoryService, InventoryServiceServer},
        reservation,
    },
    r#type::v1::Reason,
};
use kit::{Error, link::Link};
use tonic::{Request, Response, Status, service::Routes};

use super::{Moods, not_found};

/// Sets goods aside, as many as anyone wants.
#[derive(Clone, Default)]
pub struct FakeInventory {
    pub moods: Moods,
    state: Arc<Mutex<Shelves>>,
}

#[derive(Default)]
struct Shelves {
    reservations: BTreeMap<String, Reservation>,
    shipments: HashSet<String>,
    /// For how many seconds goods were set aside the last time.
    lifetime: i32,
    /// How many pieces came back.
    returned: i64,
    /// Which adjustments were made.
    keys: HashSet<String>,
    /// How many pieces can be had, as far as anybody is told.
    stock: BTreeMap<String, i64>,
}

impl FakeInventory {
    pub fn link(&self) -> Link {
        Link::new(Routes::new(InventoryServiceServer::new(self.clone())).prepare())
    }

    /// Every reservation.
    pub fn reservations(&self) -> Vec<Reservation> {
        self.state.lock().unwrap().reservations.values().cloned().collect()
    }

    /// The states of all reservations.
    pub fn states(&self) -> Vec<reservation::State> {
        self.reservations().iter().map(Reservation::state).collect()
    }

    /// Has a reservation that nobody asked for.
    pub fn plant(&self, reservation: Reservation) {
        self.state.lock().unwrap().reservations.insert(reservation.id.clone(), reservation);
    }

    /// How many pieces of all kinds were shipped.
    pub fn shipped(&self) -> i64 {
        self.reservations().iter().flat_map(|held| &held.lines).map(|line| line.committed).sum()
    }

    /// For how many seconds goods were set aside the last time.
    pub fn lifetime(&self) -> i32 {
        self.state.lock().unwrap().lifetime
    }

    /// How many pieces came back.
    pub fn returned(&self) -> i64 {
        self.state.lock().unwrap().returned
    }

    /// How many pieces of a variant there are, for whoever asks.
    pub fn stock(&self, variant_id: &str, available: i64) {
        self.state.lock().unwrap().stock.insert(variant_id.to_owned(), available);
    }

    /// Forgets which requests were made, as after a week.
    pub fn forget_keys(&self) {
        self.state.lock().unwrap().keys.clear();
    }

    fn change(
        &self,
        id: &str,
        change: impl FnOnce(&mut Reservation, &mut HashSet<String>),
    ) -> Result<Option<Reservation>, Status> {
        let mut state = self.state.lock().unwrap();
        let Shelves { reservations, shipments, .. } = &mut *state;
        let reservation = reservations.get_mut(id).ok_or_else(not_found)?;
        change(reservation, shipments);
        Ok(Some(reservation.clone()))
    }

    fn must_be_held(&self, id: &str) -> Result<(), Status> {
        let state = self.state.lock().unwrap();
        match state.reservations.get(id).map(Reservation::state) {
            Some(reservation::State::Held) => Ok(()),
            _ => Err(Error::new(Reason::ReservationNotHeld, "The reservation has ended.").into()),
        }
    }
}

#[tonic::async_trait]
impl InventoryService for FakeInventory {
    async fn create_reservation(
        &self,
        request: Request<inventory::CreateReservationRequest>,
    ) -> Result<Response<inventory::CreateReservationResponse>, Status> {
        let inventory::CreateReservationRequest { id, reference, lines, lifetime_seconds } = request.into_inner();
        let work = || {
            self.state.lock().unwrap().lifetime = lifetime_seconds;
            let expire_time = Some(kit::Timestamp::from_seconds(4_000_000_000).to_proto());
            let state = reservation::State::Held.into();
            let new = Reservation { id: id.clone(), reference, state, lines, expire_time, ..Default::default() };
            let reservation = self.state.lock().unwrap().reservations.entry(id).or_insert(new).clone();
            Ok(inventory::CreateReservationResponse { reservation: Some(reservation) })
        };
        self.moods.answer("reserve", work).await
    }

    async fn get_reservation(
        &self,
        request: Request<inventory::GetReservationRequest>,
    ) -> Result<Response<inventory::GetReservationResponse>, Status> {
        let reservation = self.change(&request.into_inner().id, |_, _| {})?;
        Ok(Response::new(inventory::GetReservationResponse { reservation }))
    }

    async fn list_reservations(
        &self,
        request: Request<inventory::ListReservationsRequest>,
    ) -> Result<Response<inventory::ListReservationsResponse>, Status> {
        let state = request.into_inner().state;
        let reservations = self.reservations().into_iter().filter(|held| held.state == state).collect();
        Ok(Response::new(inventory::ListReservationsResponse { reservations, next_page_token: String::new() }))
    }

    async fn pin_reservation(
        &self,
        request: Request<inventory::PinReservationRequest>,
    ) -> Result<Response<inventory::PinReservationResponse>, Status> {
        let id = request.into_inner().id;
        let work = || {
            self.must_be_held(&id)?;
            let reservation = self.change(&id, |held, _| held.expire_time = None)?;
            Ok(inventory::PinReservationResponse { reservation })
        };
        self.moods.answer("pin", work).await
    }

    async fn extend_reservation(
        &self,
        request: Request<inventory::ExtendReservationRequest>,
    ) -> Result<Response<inventory::ExtendReservationResponse>, Status> {
        let id = request.into_inner().id;
        let work = || {
            self.must_be_held(&id)?;
            let reservation = self.change(&id, |_, _| {})?;
            Ok(inventory::ExtendReservationResponse { reservation })
        };
        self.moods.answer("extend", work).await
    }

    async fn commit_reservation(
        &self,
        request: Request<inventory::CommitReservationRequest>,
    ) -> Result<Response<inventory::CommitReservationResponse>, Status> {
        let inventory::CommitReservationRequest { id, shipment_id, lines } = request.into_inner();
        let work = || {
            let reservation = self.change(&id, |held, shipments| {
                if !shipments.insert(shipment_id) {
                    return;
                }
                for wanted in lines {
                    let line = held.lines.iter_mut().find(|line| line.variant_id == wanted.variant_id).unwrap();
                    line.committed += wanted.quantity;
                    assert!(line.committed <= line.quantity, "more was shipped than is set aside");
                }
                if held.lines.iter().all(|line| line.committed == line.quantity) {
                    held.state = reservation::State::Committed.into();
                }
            })?;
            Ok(inventory::CommitReservationResponse { reservation })
        };
        self.moods.answer("commit", work).await
    }

    async fn release_reservation(
        &self,
        request: Request<inventory::ReleaseReservationRequest>,
    ) -> Result<Response<inventory::ReleaseReservationResponse>, Status> {
        let inventory::ReleaseReservationRequest { id, reference } = request.into_inner();
        let work = || {
            let tombstone = Reservation { id: id.clone(), reference, ..Default::default() };
            self.state.lock().unwrap().reservations.entry(id.clone()).or_insert(tombstone);
            let reservation = self.change(&id, |held, _| {
                let shipped = held.lines.iter().any(|line| line.committed > 0);
                let end = if shipped { reservation::State::Committed } else { reservation::State::Released };
                held.state = end.into();
            })?;
            Ok(inventory::ReleaseReservationResponse { reservation })
        };
        self.moods.answer("release", work).await
    }

    async fn adjust_stock(
        &self,
        request: Request<inventory::AdjustStockRequest>,
    ) -> Result<Response<inventory::AdjustStockResponse>, Status> {
        let inventory::AdjustStockRequest { request_id, quantity, .. } = request.into_inner();
        let work = || {
            let mut state = self.state.lock().unwrap();
            if state.keys.insert(request_id) {
                state.returned += quantity;
            }
            Ok(inventory::AdjustStockResponse::default())
        };
        self.moods.answer("adjust", work).await
    }

    async fn batch_get_availability(
        &self,
        request: Request<inventory::BatchGetAvailabilityRequest>,
    ) -> Result<Response<inventory::BatchGetAvailabilityResponse>, Status> {
        let asked = request.into_inner().variant_ids;
        let work = || {
            let stock = self.state.lock().unwrap().stock.clone();
            let kept = stock.into_iter().filter(|(variant_id, _)| asked.contains(variant_id));
            let availabilities =
                kept.map(|(variant_id, available)| inventory::Availability { variant_id, available }).collect();
            Ok(inventory::BatchGetAvailabilityResponse { availabilities })
        };
        self.moods.answer("available", work).await
    }

    async fn list_locations(
        &self,
        _: Request<inventory::ListLocationsRequest>,
    ) -> Result<Response<inventory::ListLocationsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn create_location(
        &self,
        _: Request<inventory::CreateLocationRequest>,
    ) -> Result<Response<inventory::CreateLocationResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn update_location(
        &self,
        _: Request<inventory::UpdateLocationRequest>,
    ) -> Result<Response<inventory::UpdateLocationResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn get_stock_item(
        &self,
        _: Request<inventory::GetStockItemRequest>,
    ) -> Result<Response<inventory::GetStockItemResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_stock_items(
        &self,
        _: Request<inventory::ListStockItemsRequest>,
    ) -> Result<Response<inventory::ListStockItemsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn update_stock_item(
        &self,
        _: Request<inventory::UpdateStockItemRequest>,
    ) -> Result<Response<inventory::UpdateStockItemResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn transfer_stock(
        &self,
        _: Request<inventory::TransferStockRequest>,
    ) -> Result<Response<inventory::TransferStockResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_stock_movements(
        &self,
        _: Request<inventory::ListStockMovementsRequest>,
    ) -> Result<Response<inventory::ListStockMovementsResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn verify_stock(
        &self,
        _: Request<inventory::VerifyStockRequest>,
    ) -> Result<Response<inventory::VerifyStockResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}
