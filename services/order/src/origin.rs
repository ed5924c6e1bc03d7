//! What happened to an order, and who did it: what a change says beside the order.

use contracts::order::v1::order_change::Cause;
use kit::{Call, Error, Scope};
use prost::Message;

use crate::order::Command;

/// The history keeps it in the same bytes as the order, whose contract reserves these numbers: whoever reads the one skips
/// the other, and what was written before says nothing of it.
#[derive(Clone, PartialEq, Message)]
pub struct Origin {
    #[prost(enumeration = "Cause", tag = "1000")]
    cause: i32,
    /// `usr_…`, or `service/…`.
    #[prost(string, tag = "1001")]
    actor: String,
}

impl Origin {
    /// Something that whoever is answerable for the running call does.
    pub fn of(cause: Cause) -> Self {
        let actor = Call::try_current().map_or_else(|| "service/order".to_owned(), |call| call.principal());
        Self { cause: cause.into(), actor }
    }

    /// What a change in the history says.
    ///
    /// # Errors
    /// `INTERNAL` if the history has something that no program of ours has written.
    pub fn read(detail: &[u8]) -> Result<Self, Error> {
        Self::decode(detail).map_err(Error::internal)
    }

    /// Who did it, as far as the scope goes: nobody who sees only what is theirs learns which of the staff it was.
    pub fn seen_by(&self, scope: &Scope) -> &str {
        match scope.owner() {
            Some(me) if me != self.actor && !self.actor.is_empty() => match self.actor.starts_with("service/") {
                true => "service",
                false => "staff",
            },
            _ => &self.actor,
        }
    }
}

/// What happens to an order with a command.
pub fn cause(command: &Command) -> Cause {
    match command {
        Command::Fulfil { .. } => Cause::TradeExecuted,
        Command::Reject(_) | Command::GiveUp(..) => Cause::Refused,
        Command::RequireAction { .. } => Cause::PaymentActionRequired,
        Command::Confirm { .. } => Cause::Confirmed,
        Command::Cancel(_) => Cause::CancelRequested,
        Command::MoneyGone(..) => Cause::MoneyGone,
        Command::Undone { .. } => Cause::Undone,
        Command::Ship { .. } => Cause::ShipmentPacked,
        Command::Shipped { .. } => Cause::Shipped,
        Command::Unship { .. } => Cause::ShipmentCancelled,
        Command::CancelShipment { .. } => Cause::ShipmentCancelRequested,
        Command::Receive { .. } => Cause::ReturnReceived,
        Command::Refunded(_) => Cause::Refunded,
        Command::RefundedBySupport(_) => Cause::RefundedBySupport,
        Command::Complete => Cause::ReturnTimeOver,
    }
}
