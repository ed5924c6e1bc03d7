//! The RPCs of shipments and returns: parse, load, decide, save, reply. No rule and no SQL.

use contracts::order::v1::{
    self as api, LineQuantity, Return, Shipment, fulfillment_service_server::FulfillmentService, order_event::Event,
    r#return::State,
};
use kit::{Call, Error, Scope};
use storage::{Begun, Key, Session, Unit};
use tonic::{Request, Response, Status};

use crate::{
    Service,
    order::{Command, Order},
    proto, returns,
    runner::{self, Pass, Task},
    shipment, store,
};

#[tonic::async_trait]
impl FulfillmentService for Service {
    async fn create_shipment(
        &self,
        request: Request<api::CreateShipmentRequest>,
    ) -> Result<Response<api::CreateShipmentResponse>, Status> {
        let request = request.into_inner();
        let key = Key::of(&Call::current()?, &request.request_id, &request);
        let request_key = key.as_ref().map(Key::to_text);
        let begun = self.0.db.begin(key, async |unit: &mut Unit| self.pack(unit, request, request_key).await);
        let (order, open) = match begun.await? {
            Begun::Started(packed) => packed,
            Begun::Finished(reply) => return Ok(Response::new(reply)),
        };
        let packed = open.shipment.clone();
        let shipment = match self.carry_on(order, Task::Shipment(open)).await?.task {
            Task::Shipment(open) => open.shipment,
            // It stays, since its money is gone.
            _ => {
                let read = async |session: &mut Session| shipment::load(session, &Scope::All, &packed.id).await;
                self.0.db.read(read).await?.shipment
            }
        };
        Ok(Response::new(api::CreateShipmentResponse { shipment: Some(shipment) }))
    }

    async fn get_shipment(
        &self,
        request: Request<api::GetShipmentRequest>,
    ) -> Result<Response<api::GetShipmentResponse>, Status> {
        let (scope, id) = (Call::current()?.scope()?, request.into_inner().id);
        let read = async |session: &mut Session| shipment::load(session, &scope, &id).await;
        let shipment = Some(self.0.db.read(read).await?.shipment);
        Ok(Response::new(api::GetShipmentResponse { shipment }))
    }

    async fn list_shipments(
        &self,
        request: Request<api::ListShipmentsRequest>,
    ) -> Result<Response<api::ListShipmentsResponse>, Status> {
        let order = self.load(&Call::current()?.scope()?, &request.into_inner().order_id).await?;
        let read = async |session: &mut Session| shipment::list(session, &order.id).await;
        Ok(Response::new(api::ListShipmentsResponse { shipments: self.0.db.read(read).await? }))
    }

    async fn deliver_shipment(
        &self,
        request: Request<api::DeliverShipmentRequest>,
    ) -> Result<Response<api::DeliverShipmentResponse>, Status> {
        let request = request.into_inner();
        let key = Key::of(&Call::current()?, &request.request_id, &request);
        let delivered = self.0.db.once(key, async |unit: &mut Unit| {
            let before = shipment::load(unit, &Scope::All, &request.id).await?.shipment;
            let after = shipment::delivered(&before, unit.now())?;
            if after != before && !shipment::save(unit, &before, &after).await? {
                return Err(changed("shipment"));
            }
            Ok(api::DeliverShipmentResponse { shipment: Some(after) })
        });
        Ok(Response::new(delivered.await?))
    }

    async fn cancel_shipment(
        &self,
        request: Request<api::CancelShipmentRequest>,
    ) -> Result<Response<api::CancelShipmentResponse>, Status> {
        let request = request.into_inner();
        let key = Key::of(&Call::current()?, &request.request_id, &request);
        let mut taken_up = None;
        let reply = self.0.db.once(key, async |unit: &mut Unit| {
            let (order, shipment) = self.give_up(unit, &request).await?;
            taken_up = Some(order);
            Ok(api::CancelShipmentResponse { shipment: Some(shipment) })
        });
        let reply = reply.await?;
        if let Some(order) = taken_up {
            self.start(order);
        }
        Ok(Response::new(reply))
    }

    async fn create_return(
        &self,
        request: Request<api::CreateReturnRequest>,
    ) -> Result<Response<api::CreateReturnResponse>, Status> {
        let request = request.into_inner();
        let call = Call::current()?;
        let scope = call.scope()?;
        let created = self.0.db.once(Key::of(&call, &request.request_id, &request), async |unit: &mut Unit| {
            // Locked, so that two returns of the same pieces see each other.
            let order = store::lock(unit, &scope, &request.order_id).await?;
            let others = returns::list(unit, &order.id).await?;
            let announced: Vec<LineQuantity> = others
                .into_iter()
                .filter(|other| other.state() == State::Requested)
                .flat_map(|other| other.lines)
                .collect();
            let id = kit::id::new("rtn", unit.now());
            let content = returns::announce(&order, id, &request.lines, &announced, request.note, unit.now())?;
            returns::insert(unit, &content).await?;
            Ok(api::CreateReturnResponse { r#return: Some(content) })
        });
        Ok(Response::new(created.await?))
    }

    async fn get_return(
        &self,
        request: Request<api::GetReturnRequest>,
    ) -> Result<Response<api::GetReturnResponse>, Status> {
        let (scope, id) = (Call::current()?.scope()?, request.into_inner().id);
        let read = async |session: &mut Session| returns::load(session, &scope, &id).await;
        let content = Some(self.0.db.read(read).await?.content);
        Ok(Response::new(api::GetReturnResponse { r#return: content }))
    }

    async fn list_returns(
        &self,
        request: Request<api::ListReturnsRequest>,
    ) -> Result<Response<api::ListReturnsResponse>, Status> {
        let order = self.load(&Call::current()?.scope()?, &request.into_inner().order_id).await?;
        let read = async |session: &mut Session| returns::list(session, &order.id).await;
        Ok(Response::new(api::ListReturnsResponse { returns: self.0.db.read(read).await? }))
    }

    async fn receive_return(
        &self,
        request: Request<api::ReceiveReturnRequest>,
    ) -> Result<Response<api::ReceiveReturnResponse>, Status> {
        let request = request.into_inner();
        let key = Key::of(&Call::current()?, &request.request_id, &request);
        let request_key = key.as_ref().map(Key::to_text);
        let begun = self.0.db.begin(key, async |unit: &mut Unit| self.receive(unit, request, request_key).await);
        let (order, open) = match begun.await? {
            Begun::Started(received) => received,
            Begun::Finished(reply) => return Ok(Response::new(reply)),
        };
        let received = open.content.clone();
        let content = match self.carry_on(order, Task::Return(open)).await?.task {
            Task::Return(open) => open.content,
            _ => received,
        };
        Ok(Response::new(api::ReceiveReturnResponse { r#return: Some(content) }))
    }

    async fn reject_return(
        &self,
        request: Request<api::RejectReturnRequest>,
    ) -> Result<Response<api::RejectReturnResponse>, Status> {
        let request = request.into_inner();
        let key = Key::of(&Call::current()?, &request.request_id, &request);
        let rejected = self.0.db.once(key, async |unit: &mut Unit| {
            let before = returns::load(unit, &Scope::All, &request.id).await?;
            let moved = returns::moved(&before.content, State::Rejected, unit.now())?;
            let content = Return { rejection: request.rejection, ..moved };
            let after = returns::Open { content: content.clone(), ..before.clone() };
            if !returns::save(unit, &before.content, &after).await? {
                return Err(changed("return"));
            }
            Ok(api::RejectReturnResponse { r#return: Some(content) })
        });
        Ok(Response::new(rejected.await?))
    }
}

impl Service {
    /// Notes a shipment and takes its pieces from the order, in one unit.
    async fn pack(
        &self,
        unit: &mut Unit,
        request: api::CreateShipmentRequest,
        request_key: Option<String>,
    ) -> Result<(Order, shipment::Open), Error> {
        let before = store::lock(unit, &Scope::All, &request.order_id).await?;
        let shipment_id = kit::id::new("shp", unit.now());
        let deadline = unit.now() + self.0.settings.stuck_after;
        let command = Command::Ship { shipment_id: shipment_id.clone(), lines: request.lines.clone(), deadline };
        let after = self.change(unit, &before, command, Vec::new()).await?;
        let purchase = before.purchase().ok_or_else(|| Error::internal("a trade is not shipped"))?;
        let packed = runner::pack(unit, &before, shipment_id, purchase, &request.lines)?;
        let shipment = Shipment { carrier: request.carrier, tracking_number: request.tracking_number, ..packed };
        let open = shipment::Open { shipment, request_key, refusals: 0 };
        shipment::insert(unit, &open).await?;
        Ok((after, open))
    }

    /// Notes that the goods of a return are back, in one unit.
    async fn receive(
        &self,
        unit: &mut Unit,
        request: api::ReceiveReturnRequest,
        request_key: Option<String>,
    ) -> Result<(Order, returns::Open), Error> {
        let found = returns::load(unit, &Scope::All, &request.id).await?;
        let order = store::lock(unit, &Scope::All, &found.content.order_id).await?;
        // Read again, now that nobody else can take it.
        let before = returns::load(unit, &Scope::All, &request.id).await?.content;
        let moved = returns::moved(&before, State::Received, unit.now())?;
        let purchase = order.purchase().ok_or_else(|| Error::internal("a trade is not returned"))?;
        // What is given back depends on how many pieces came back before these.
        let (_, _, amount) = purchase.take_back(&before.lines)?;
        let content = Return { amount: Some(amount), ..moved };
        let open = returns::Open { content, restock: request.restock, request_key };
        let deadline = unit.now() + self.0.settings.stuck_after;
        let command = Command::Receive { return_id: before.id.clone(), lines: before.lines.clone(), deadline };
        let received = Some(proto::return_without_words(&open.content));
        let told = Event::ReturnReceived(api::ReturnReceived { r#return: received });
        let after = self.change(unit, &order, command, vec![told]).await?;
        if !returns::save(unit, &before, &open).await? {
            return Err(changed("return"));
        }
        Ok((after, open))
    }

    /// Makes a pass over an order within this call, and goes on when the caller has left.
    async fn carry_on(&self, order: Order, task: Task) -> Result<Pass, Error> {
        let service = self.clone();
        let work = async move { runner::carry_on(&service, order, Some(task)).await };
        tokio::spawn(kit::call::run(self.in_own_name(), work)).await.map_err(Error::internal)?
    }
}

/// Says that somebody else is at it.
pub fn changed(what: &str) -> Error {
    Error::new(contracts::r#type::v1::Reason::LockConflict, format!("The {what} is being changed. Try again."))
}
