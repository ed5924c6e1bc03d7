//! What happens to an order, and what becomes true with it.

use contracts::{order::v1::LineQuantity, r#type::v1::Amount};
use kit::Timestamp;

use crate::order::Rejection;

/// What happens to an order.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The transaction of a trade was posted.
    Fulfil {
        /// `txn_…`.
        transaction_id: String,
    },
    /// The transaction of a trade was refused, for good.
    Reject(Rejection),
    /// The buyer has to confirm the payment first.
    RequireAction {
        /// Where.
        action_url: String,
        /// Until when.
        deadline: Timestamp,
    },
    /// Goods are set aside and money is secured.
    Confirm {
        /// The shipment of what needs no parcel, if there is any, and until when it must have left.
        digital: Option<(String, Timestamp)>,
    },
    /// It cannot be carried out: what was done is undone until the deadline.
    GiveUp(Rejection, Timestamp),
    /// Somebody does not want it any more: what was not shipped is undone until the deadline.
    Cancel(Timestamp),
    /// The money that was secured is gone: what was not shipped is undone until the deadline.
    MoneyGone(Rejection, Timestamp),
    /// What was to be undone is undone.
    Undone {
        /// When the time to return goods is over, if some were shipped.
        close_time: Timestamp,
    },
    /// Pieces are packed.
    Ship {
        /// `shp_…`.
        shipment_id: String,
        /// Which; all that are left if empty.
        lines: Vec<LineQuantity>,
        /// Until when they must have left.
        deadline: Timestamp,
    },
    /// What was packed has left, and is paid.
    Shipped {
        /// What was charged.
        amount: Amount,
        /// When the time to return goods is over, if nothing is left to ship.
        close_time: Timestamp,
    },
    /// What was packed is given up, and nothing is charged for it: what was not shipped is undone until the deadline.
    Unship {
        /// Which.
        lines: Vec<LineQuantity>,
        /// Why, unless an operator has said so.
        why: Option<Rejection>,
        /// Until when.
        deadline: Timestamp,
    },
    /// An operator gives up the shipment that is stuck: whoever is at it asks again what to do, and does it until the
    /// deadline.
    CancelShipment {
        /// Until when.
        deadline: Timestamp,
    },
    /// Pieces are back.
    Receive {
        /// `rtn_…`.
        return_id: String,
        /// Which.
        lines: Vec<LineQuantity>,
        /// Until when the money must have been given back.
        deadline: Timestamp,
    },
    /// The money for pieces that are back was given back.
    Refunded(Amount),
    /// Support gave money back.
    RefundedBySupport(Amount),
    /// The time to return goods is over.
    Complete,
}

/// What became true with a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// An order was placed.
    Created,
    /// A trade moved money and an asset.
    TradeExecuted,
    /// Goods are set aside and money is secured.
    Confirmed,
    /// A part of the goods is shipped.
    PartiallyFulfilled,
    /// An order is carried out.
    Fulfilled,
    /// An order was refused.
    Rejected,
    /// An order is undone.
    Cancelled,
    /// The time to return goods is over.
    Completed,
    /// An order changed, and stands where it stood.
    Updated,
}
