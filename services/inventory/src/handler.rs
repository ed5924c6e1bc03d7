//! The RPCs: parse, load, decide, save, reply. No rule and no SQL.

use std::time::Duration;

use contracts::{
    inventory::v1::{self as api, inventory_service_server::InventoryService},
    r#type::v1::Reason,
};
use kit::{Call, Error};
use storage::{Key, Session, Unit, page};
use tonic::{Request, Response, Status};

use crate::{
    Service, catalog, changes, proto,
    reservation::Command,
    store::{self, stock::Filter},
    verify,
};

#[tonic::async_trait]
impl InventoryService for Service {
    async fn batch_get_availability(
        &self,
        request: Request<api::BatchGetAvailabilityRequest>,
    ) -> Result<Response<api::BatchGetAvailabilityResponse>, Status> {
        let variants = request.into_inner().variant_ids;
        let read = async |session: &mut Session| store::stock::availability(session, &variants).await;
        let line = |(variant_id, available)| api::Availability { variant_id, available };
        let availabilities = self.0.db.read(read).await?.into_iter().map(line).collect();
        Ok(Response::new(api::BatchGetAvailabilityResponse { availabilities }))
    }

    async fn list_locations(
        &self,
        _request: Request<api::ListLocationsRequest>,
    ) -> Result<Response<api::ListLocationsResponse>, Status> {
        let read = async |session: &mut Session| store::stock::locations(session, changes::LOCATIONS).await;
        let locations = self.0.db.read(read).await?.iter().map(proto::location).collect();
        Ok(Response::new(api::ListLocationsResponse { locations }))
    }

    async fn create_location(
        &self,
        request: Request<api::CreateLocationRequest>,
    ) -> Result<Response<api::CreateLocationResponse>, Status> {
        let request = request.into_inner();
        let key = Key::of(&Call::current()?, &request.request_id, &request);
        let reply = self.0.db.once(key, async |unit: &mut Unit| {
            let location = changes::create_location(unit, &request.name, request.rank).await?;
            Ok(api::CreateLocationResponse { location: Some(proto::location(&location)) })
        });
        Ok(Response::new(reply.await?))
    }

    async fn update_location(
        &self,
        request: Request<api::UpdateLocationRequest>,
    ) -> Result<Response<api::UpdateLocationResponse>, Status> {
        let request = request.into_inner();
        let key = Key::of(&Call::current()?, &request.request_id, &request);
        let reply = self.0.db.once(key, async |unit: &mut Unit| {
            let location = changes::update_location(unit, request).await?;
            Ok(api::UpdateLocationResponse { location: Some(proto::location(&location)) })
        });
        Ok(Response::new(reply.await?))
    }

    async fn get_stock_item(
        &self,
        request: Request<api::GetStockItemRequest>,
    ) -> Result<Response<api::GetStockItemResponse>, Status> {
        let id = [request.into_inner().id];
        let found = self.0.db.read(async |session: &mut Session| store::stock::of_ids(session, &id).await).await?;
        let found = found.first().ok_or_else(|| changes::not_found("stock item", &id[0]))?;
        Ok(Response::new(api::GetStockItemResponse { stock_item: Some(proto::item(&found.item)) }))
    }

    async fn list_stock_items(
        &self,
        request: Request<api::ListStockItemsRequest>,
    ) -> Result<Response<api::ListStockItemsResponse>, Status> {
        let api::ListStockItemsRequest { page_size, page_token, variant_id, location_id, low_only } =
            request.into_inner();
        let size = page::page_size(page_size)?;
        let list = format!("stock of {variant_id} at {location_id}, low only: {low_only}");
        let named = |id: String| Some(id).filter(|id| !id.is_empty());
        let filter = Filter { variant_id: named(variant_id), location_id: named(location_id), low_only };
        let after = self.last_key(&page_token, &list)?.unwrap_or_default();
        let read = async |session: &mut Session| store::stock::list(session, &filter, &after, size + 1).await;
        let found = self.0.db.read(read).await?;
        let (items, next_page_token) = self.cut(found, size, &list, |item| item.id.clone());
        let stock_items = items.iter().map(proto::item).collect();
        Ok(Response::new(api::ListStockItemsResponse { stock_items, next_page_token }))
    }

    async fn adjust_stock(
        &self,
        request: Request<api::AdjustStockRequest>,
    ) -> Result<Response<api::AdjustStockResponse>, Status> {
        let request = request.into_inner();
        // The key belongs to the workload, whether or not a user's token came along: a repeat after a crash has none.
        let call = Call { caller: None, ..Call::current()? };
        let key = Key::of(&call, &request.request_id, &request);
        let reply = match self.adjust(key.clone(), &request, false).await? {
            Some(reply) => reply,
            None => {
                catalog::check(self.0.catalog.clone(), &request.variant_id).await?;
                let reply = self.adjust(key, &request, true).await?;
                reply.ok_or_else(|| Error::internal("a variant that was asked about is to be asked about again"))?
            }
        };
        Ok(Response::new(reply))
    }

    async fn update_stock_item(
        &self,
        request: Request<api::UpdateStockItemRequest>,
    ) -> Result<Response<api::UpdateStockItemResponse>, Status> {
        let request = request.into_inner();
        let key = Key::of(&Call::current()?, &request.request_id, &request);
        let reply = self.0.db.once(key, async |unit: &mut Unit| {
            let item = changes::update_item(unit, &request).await?;
            Ok(api::UpdateStockItemResponse { stock_item: Some(proto::item(&item)) })
        });
        Ok(Response::new(reply.await?))
    }

    async fn transfer_stock(
        &self,
        request: Request<api::TransferStockRequest>,
    ) -> Result<Response<api::TransferStockResponse>, Status> {
        let request = request.into_inner();
        let key = Key::of(&Call::current()?, &request.request_id, &request);
        let reply = self.0.db.once(key, async |unit: &mut Unit| {
            let [from, to] = changes::transfer(unit, &request).await?;
            let (from_stock_item, to_stock_item) = (Some(proto::item(&from)), Some(proto::item(&to)));
            Ok(api::TransferStockResponse { from_stock_item, to_stock_item })
        });
        Ok(Response::new(reply.await?))
    }

    async fn list_stock_movements(
        &self,
        request: Request<api::ListStockMovementsRequest>,
    ) -> Result<Response<api::ListStockMovementsResponse>, Status> {
        let api::ListStockMovementsRequest { page_size, page_token, stock_item_id } = request.into_inner();
        let size = page::page_size(page_size)?;
        let list = format!("movements of {stock_item_id}");
        let before = match self.last_key(&page_token, &list)? {
            Some(sequence) => sequence.parse().map_err(Error::internal)?,
            None => i64::MAX,
        };
        let ids = [stock_item_id];
        let read = async |session: &mut Session| {
            if store::stock::of_ids(session, &ids).await?.is_empty() {
                return Err(changes::not_found("stock item", &ids[0]));
            }
            store::stock::movements(session, &ids[0], before, size + 1).await
        };
        let found = self.0.db.snapshot(read).await?;
        let (found, next_page_token) = self.cut(found, size, &list, |movement| movement.sequence.to_string());
        let stock_movements = found.iter().map(proto::movement).collect();
        Ok(Response::new(api::ListStockMovementsResponse { stock_movements, next_page_token }))
    }

    async fn create_reservation(
        &self,
        request: Request<api::CreateReservationRequest>,
    ) -> Result<Response<api::CreateReservationResponse>, Status> {
        let api::CreateReservationRequest { id, reference, lines, lifetime_seconds } = request.into_inner();
        let lifetime = match seconds(lifetime_seconds) {
            Duration::ZERO => self.0.settings.lifetime,
            lifetime => lifetime,
        };
        let command = Command::Create { reference, wanted: proto::wanted(lines), lifetime };
        let reservation = self.submit(id, command).await?;
        Ok(Response::new(api::CreateReservationResponse { reservation }))
    }

    async fn get_reservation(
        &self,
        request: Request<api::GetReservationRequest>,
    ) -> Result<Response<api::GetReservationResponse>, Status> {
        let id = request.into_inner().id;
        let read = async |session: &mut Session| store::reservations::load(session, &id).await;
        let found = self.0.db.read(read).await?.ok_or_else(|| changes::not_found("reservation", &id))?;
        Ok(Response::new(api::GetReservationResponse { reservation: Some(proto::reservation(&found)) }))
    }

    async fn list_reservations(
        &self,
        request: Request<api::ListReservationsRequest>,
    ) -> Result<Response<api::ListReservationsResponse>, Status> {
        let request = request.into_inner();
        let size = page::page_size(request.page_size)?;
        let list = format!("reservations in {}", request.state);
        let state = proto::wanted_state(request.state());
        let after = self.0.tokens.after(&request.page_token, &list)?;
        let read = async |session: &mut Session| store::reservations::list(session, state, &after, size + 1).await;
        let found = self.0.db.read(read).await?;
        let (found, next_page_token) = self.0.tokens.cut(found, size, &list, |found| (found.create_time, &found.id));
        let reservations = found.iter().map(proto::reservation).collect();
        Ok(Response::new(api::ListReservationsResponse { reservations, next_page_token }))
    }

    async fn pin_reservation(
        &self,
        request: Request<api::PinReservationRequest>,
    ) -> Result<Response<api::PinReservationResponse>, Status> {
        let reservation = self.submit(request.into_inner().id, Command::Pin).await?;
        Ok(Response::new(api::PinReservationResponse { reservation }))
    }

    async fn extend_reservation(
        &self,
        request: Request<api::ExtendReservationRequest>,
    ) -> Result<Response<api::ExtendReservationResponse>, Status> {
        let api::ExtendReservationRequest { id, lifetime_seconds } = request.into_inner();
        let reservation = self.submit(id, Command::Extend(seconds(lifetime_seconds))).await?;
        Ok(Response::new(api::ExtendReservationResponse { reservation }))
    }

    async fn commit_reservation(
        &self,
        request: Request<api::CommitReservationRequest>,
    ) -> Result<Response<api::CommitReservationResponse>, Status> {
        let api::CommitReservationRequest { id, shipment_id, lines } = request.into_inner();
        let command = Command::Commit { shipment_id, wanted: proto::wanted(lines) };
        let reservation = self.submit(id, command).await?;
        Ok(Response::new(api::CommitReservationResponse { reservation }))
    }

    async fn release_reservation(
        &self,
        request: Request<api::ReleaseReservationRequest>,
    ) -> Result<Response<api::ReleaseReservationResponse>, Status> {
        let api::ReleaseReservationRequest { id, reference } = request.into_inner();
        let reservation = self.submit(id, Command::Release { reference }).await?;
        Ok(Response::new(api::ReleaseReservationResponse { reservation }))
    }

    async fn verify_stock(
        &self,
        request: Request<api::VerifyStockRequest>,
    ) -> Result<Response<api::VerifyStockResponse>, Status> {
        Ok(Response::new(verify::verify(self, &request.into_inner().page_token).await?))
    }
}

impl Service {
    /// Carries a command to a reservation out. Gives the reservation as it stands then.
    async fn submit(&self, id: String, command: Command) -> Result<Option<api::Reservation>, Error> {
        Ok(Some(proto::reservation(&self.0.batcher.submit(id, command).await?)))
    }

    /// Adjusts stock. Nothing has happened, and nothing is given back, if the item would be new and nobody has asked the
    /// catalog yet: nobody is asked inside of a unit.
    async fn adjust(
        &self,
        key: Option<Key>,
        request: &api::AdjustStockRequest,
        asked: bool,
    ) -> Result<Option<api::AdjustStockResponse>, Error> {
        let mut unheard = false;
        let adjust = async |unit: &mut Unit| {
            match changes::adjust(unit, request, asked).await? {
                Some(item) => Ok(api::AdjustStockResponse { stock_item: Some(proto::item(&item)) }),
                None => {
                    unheard = true;
                    // Not kept under the key: the answer is still to come.
                    Err(Error::new(Reason::DependencyUnavailable, "The catalogue has not been asked yet."))
                }
            }
        };
        let adjusted = self.0.db.once(key, adjust).await;
        if unheard { Ok(None) } else { adjusted.map(Some) }
    }

    /// The sort key in a page token; nothing for a first page.
    fn last_key(&self, token: &str, list: &str) -> Result<Option<String>, Error> {
        Ok(self.0.tokens.decode(token, list)?.and_then(|keys| keys.into_iter().next()))
    }

    /// Cuts off the one row that was read beyond the page, and makes the token of the next.
    fn cut<T>(&self, mut rows: Vec<T>, size: i64, list: &str, key: impl Fn(&T) -> String) -> (Vec<T>, String) {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = rows.len() > size;
        rows.truncate(size);
        let token = rows.last().filter(|_| more).map(|last| self.0.tokens.encode(list, &[key(last)]));
        (rows, token.unwrap_or_default())
    }
}

fn seconds(seconds: i32) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
