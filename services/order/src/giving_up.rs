//! Giving up a shipment whose money cannot be taken, since an operator said so: nothing is charged for it, and its goods go
//! back into stock or are written off. What else is left of the order is undone afterwards.

use contracts::{
    order::v1::{
        CancelShipmentRequest, Cancellation, LineQuantity, Shipment, cancellation::Goods, shipment::State as Stands,
    },
    r#type::v1::Reason,
};
use kit::{Error, Scope};
use storage::{Unit, failpoint};

use crate::{
    Service,
    charging::Funds,
    fulfillment,
    order::{Command, Order},
    saga,
    shipment::{self, Open},
    steps::{self, Halt, halt},
    store,
};

impl Service {
    /// Notes that a shipment is to be given up, and takes up its order.
    ///
    /// # Errors
    /// `RESOURCE_NOT_FOUND`; `INVALID_STATE_TRANSITION` unless its order is stuck with it.
    pub(crate) async fn give_up(
        &self,
        unit: &mut Unit,
        request: &CancelShipmentRequest,
    ) -> Result<(Order, Shipment), Error> {
        let found = shipment::load(unit, &Scope::All, &request.id).await?.shipment;
        let order = store::lock(unit, &Scope::All, &found.order_id).await?;
        // Read again, now that nobody else can take it.
        let before = shipment::load(unit, &Scope::All, &request.id).await?.shipment;
        let after = noted(&order, &before, request)?;
        if !shipment::save(unit, &before, &after).await? {
            return Err(Error::internal(format!("{} left although its order was locked", before.id)));
        }
        // A change of the order: a pass that began before cannot end it as if the shipment was not given up.
        let command = Command::CancelShipment { deadline: unit.now() + self.0.settings.stuck_after };
        Ok((self.change(unit, &order, command, Vec::new()).await?, after))
    }
}

/// The shipment with what the operator said of it. What became of its goods, by an attempt before, stays; and goods that
/// were to be restocked still are, since they may be in stock again without anybody having noted it.
///
/// # Errors
/// `INVALID_STATE_TRANSITION` unless its order is stuck with it.
pub fn noted(order: &Order, before: &Shipment, request: &CancelShipmentRequest) -> Result<Shipment, Error> {
    let is_stuck = order.saga.state == saga::State::Stuck && order.saga.task.as_deref() == Some(before.id.as_str());
    if !is_stuck || before.state() != Stands::Preparing {
        let message =
            "Only a shipment with which its order is stuck is given up. Cancel the order, or return its goods.";
        let from = shipment::name(before.state());
        return Err(Error::new(Reason::InvalidStateTransition, message).with("from", from).with("to", "CANCELLED"));
    }
    let noted = before.cancellation.clone().unwrap_or_default();
    let restock = request.restock || noted.restock;
    let cancellation = Cancellation { reason: request.reason.clone(), restock, ..noted };
    Ok(Shipment { cancellation: Some(cancellation), ..before.clone() })
}

/// Gives a shipment up. `goods` are what is kept in stock of it, and have `gone` from there or not. Money that was taken
/// after all is given back with what is left of the order; or, if the goods are lost, it was a shipment like any other.
///
/// # Errors
/// What keeps it from going on.
pub async fn carry_out(
    service: &Service,
    open: &mut Open,
    goods: &[LineQuantity],
    gone: bool,
    funds: &Funds,
) -> Result<Command, Halt> {
    let cancellation = open.shipment.cancellation.clone().unwrap_or_default();
    match funds {
        Funds::BeingTaken => {
            let error = Error::new(Reason::PaymentProcessing, "The provider has not said whether it took the money.");
            return Err(halt("capture", error));
        }
        Funds::Taken if gone && !cancellation.restock => return Ok(steps::shipped(service, &open.shipment)),
        Funds::Taken | Funds::There | Funds::Gone(_) => {}
    }
    let became = match (gone, cancellation.restock) {
        (false, _) => Goods::Kept,
        (true, false) => Goods::WrittenOff,
        (true, true) => Goods::Restocked,
    };
    if became == Goods::Restocked && cancellation.goods() != Goods::Restocked {
        steps::restock(service, &open.shipment.id, goods).await.map_err(|error| halt("restock", error))?;
        failpoint::hit("shipment-after-restock");
    }
    if became != cancellation.goods() {
        let cancellation = Some(Cancellation { goods: became.into(), ..cancellation });
        let after = Shipment { cancellation, ..open.shipment.clone() };
        // Inventory forgets the keys of requests after a week: whoever goes on then must not restock again.
        let note = async |unit: &mut Unit| shipment::save(unit, &open.shipment, &after).await;
        if !service.0.db.write(note).await.map_err(|error| halt("restock", error))? {
            return Err(halt("restock", fulfillment::changed("shipment")));
        }
        open.shipment = after;
    }
    tracing::warn!(shipment = open.shipment.id, goods = became.as_str_name(), "a shipment is given up");
    let deadline = service.0.db.clock().now() + service.0.settings.stuck_after;
    let why = match funds {
        Funds::Gone(error) => Some(steps::why(error)),
        Funds::There | Funds::BeingTaken | Funds::Taken => None,
    };
    Ok(Command::Unship { lines: open.shipment.lines.clone(), why, deadline })
}
