//! A payment: what it is, what may happen to it, and what it is called in a row. No await, no clock, no I/O.

use contracts::r#type::v1::Reason;
use kit::{Error, Timestamp};

use crate::{money::Currency, refund::Refund};

/// The provider that is the house itself: holds of the ledger.
pub const WALLET: &str = "wallet";

/// Where a payment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is noted, and nobody was asked yet.
    Pending,
    /// The buyer has to confirm it.
    RequiresAction,
    /// The provider was asked, and what it did is not known yet.
    Processing,
    /// The money is secured.
    Authorized,
    /// The money was taken, or as much of it as was wanted.
    Captured,
    /// It was refused, or secured for too long.
    Failed,
    /// The money was let go.
    Voided,
}

/// Whether the provider still has to be told that it may let go of what it secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// There is nothing to let go.
    None,
    /// It has to be told, until it says that it did.
    Due,
    /// It said so.
    Done,
}

/// Money for an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Payment {
    /// `pay_…`, assigned by the order.
    pub id: String,
    /// `ord_…`.
    pub order_id: String,
    /// Who pays, `usr_…`.
    pub owner: String,
    /// With which card, `pmt_…`; nothing for the wallet.
    pub method_id: Option<String>,
    /// Who carries it out; empty for what was voided before it was asked for.
    pub provider: String,
    /// Where it stands.
    pub state: State,
    /// What the figures below are counted in.
    pub currency: Currency,
    /// How much, in atoms; so are the following.
    pub amount: i64,
    /// How much was taken.
    pub captured: i64,
    /// How much the provider was asked to take, and has not answered yet.
    pub capturing: i64,
    /// How much was given back, or is being given back.
    pub refunded: i64,
    /// Whether it is to be voided as soon as the provider has answered.
    pub void_asked: bool,
    /// Whether the provider has to let go of something.
    pub release: Release,
    /// The provider's name for it.
    pub reference: Option<String>,
    /// Why it was refused: what a repeat is answered.
    pub refusal: Option<Error>,
    /// Where the buyer confirms it.
    pub action_url: Option<String>,
    /// Until when the money is secured, or the buyer may confirm.
    pub expire_time: Option<Timestamp>,
    /// The number of its last change, from 1; 0 before the first.
    pub sequence: i64,
    /// How many facts were told about it.
    pub facts: i64,
    /// When it was asked for.
    pub create_time: Timestamp,
    /// When it last changed.
    pub update_time: Timestamp,
}

/// What a provider says about a payment: in its reply, in a callback, or when asked again.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// The money is secured.
    Authorized {
        /// The provider's name for it.
        reference: String,
        /// Until when.
        expire_time: Timestamp,
    },
    /// The buyer has to confirm it.
    ActionRequired {
        /// The provider's name for it.
        reference: String,
        /// Where.
        url: String,
        /// Until when.
        expire_time: Timestamp,
    },
    /// It was refused for good.
    Refused(Error),
    /// The provider does not know yet either.
    Undecided,
}

/// What may happen to a payment. Amounts are atoms.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A provider outside of the house is about to be asked.
    Ask,
    /// A provider said something.
    Learn(Evidence),
    /// The buyer did what the provider asked for, which the provider is about to be told.
    Confirm,
    /// Money was taken at once. `taken` is what the provider took altogether.
    Capture {
        /// How much, this time.
        atoms: i64,
        /// Whether the rest is let go.
        last: bool,
        /// How much altogether.
        taken: i64,
    },
    /// A provider outside of the house is about to be asked to take money.
    BeginCapture {
        /// How much.
        atoms: i64,
        /// Whether the rest is let go.
        last: bool,
        /// Whether it is being asked to let go of the rest already.
        closing: bool,
    },
    /// It has answered.
    EndCapture {
        /// How much it was asked for.
        atoms: i64,
        /// Whether the rest is let go.
        last: bool,
        /// Whether it took the money.
        done: bool,
    },
    /// What was not taken is let go. `taken` is what the provider took altogether.
    Void {
        /// How much.
        taken: i64,
    },
    /// The money was secured for too long. `taken` is what the provider took altogether.
    Expire {
        /// How much.
        taken: i64,
    },
    /// The provider has let go.
    Released,
    /// Money is to be given back.
    Refund {
        /// How much.
        atoms: i64,
    },
    /// A refund has ended.
    EndRefund(Box<Refund>),
}

/// What became true with a move.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// A provider outside of the house is asked.
    Initiated,
    /// The buyer has to confirm.
    ActionRequired,
    /// The money is secured.
    Success,
    /// It was refused.
    Failed,
    /// Money was taken: so many atoms.
    Captured(i64),
    /// What was not taken was let go.
    Voided,
    /// Money was given back.
    RefundSucceeded(Box<Refund>),
    /// Money could not be given back.
    RefundFailed(Box<Refund>),
}

/// A move: the payment after it, and what became true.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The state before.
    pub from: State,
    /// The payment after.
    pub payment: Payment,
    /// What became true.
    pub facts: Vec<Fact>,
}

/// When somebody has to look after a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// Nothing is left to do by itself.
    Never,
    /// At once: its provider has to let go.
    Now,
    /// Soon, if the answer of its provider is still missing.
    Soon,
    /// When it expires.
    At(Timestamp),
}

impl Payment {
    /// A payment that was voided before it was asked for, so that it cannot be asked for later.
    pub fn unknown(id: String, order_id: String, owner: String, now: Timestamp) -> Self {
        Self {
            id,
            order_id,
            owner,
            method_id: None,
            provider: String::new(),
            state: State::Pending,
            currency: Currency { code: String::new(), scale: 0 },
            amount: 0,
            captured: 0,
            capturing: 0,
            refunded: 0,
            void_asked: false,
            release: Release::None,
            reference: None,
            refusal: None,
            action_url: None,
            expire_time: None,
            sequence: 0,
            facts: 0,
            create_time: now,
            update_time: now,
        }
    }

    /// Whether nobody outside of the house is involved.
    pub fn in_house(&self) -> bool {
        self.provider == WALLET
    }

    /// How much can still be taken, in atoms.
    pub fn capturable(&self) -> i64 {
        if self.state == State::Authorized { self.amount - self.captured - self.capturing } else { 0 }
    }

    /// When somebody has to look after it.
    pub fn attention(&self) -> Attention {
        match self.state {
            _ if self.release == Release::Due => Attention::Now,
            State::Processing => Attention::Soon,
            State::RequiresAction | State::Authorized => self.expire_time.map_or(Attention::Never, Attention::At),
            State::Pending | State::Captured | State::Failed | State::Voided => Attention::Never,
        }
    }
}

/// A refusal of a provider, as callers get it.
pub fn declined(code: &str, message: &str) -> Error {
    Error::new(Reason::PaymentDeclined, message).with("decline_code", code)
}

impl State {
    /// Every state, in the order of their ranks.
    pub const ALL: [State; 7] = [
        State::Pending,
        State::RequiresAction,
        State::Processing,
        State::Authorized,
        State::Captured,
        State::Failed,
        State::Voided,
    ];

    /// Whether nothing but refunds can follow.
    pub fn is_final(self) -> bool {
        matches!(self, State::Captured | State::Failed | State::Voided)
    }

    /// Whether a payment may go from this state to that one, or stay in it while its figures change.
    pub fn leads_to(self, to: State) -> bool {
        use State::{Authorized, Captured, Failed, Processing, RequiresAction, Voided};
        match self {
            _ if self == to => true,
            State::Pending => true,
            RequiresAction => matches!(to, Processing | Authorized | Captured | Failed | Voided),
            Processing => matches!(to, RequiresAction | Authorized | Captured | Failed),
            Authorized => matches!(to, Captured | Voided | Failed),
            Captured | Failed | Voided => false,
        }
    }

    /// The state's name in a row and in an error.
    pub fn name(self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::RequiresAction => "REQUIRES_ACTION",
            State::Processing => "PROCESSING",
            State::Authorized => "AUTHORIZED",
            State::Captured => "CAPTURED",
            State::Failed => "FAILED",
            State::Voided => "VOIDED",
        }
    }

    /// The state with this name.
    ///
    /// # Errors
    /// `INTERNAL` if a row says something that no program of ours has written.
    pub fn named(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|state| state.name() == name);
        found.ok_or_else(|| Error::internal(format!("there is no payment state {name}")))
    }
}

impl Release {
    /// The name in a row.
    pub fn name(self) -> &'static str {
        match self {
            Release::None => "NONE",
            Release::Due => "DUE",
            Release::Done => "DONE",
        }
    }

    /// The one with this name.
    ///
    /// # Errors
    /// `INTERNAL` if a row says something that no program of ours has written.
    pub fn named(name: &str) -> Result<Self, Error> {
        let found = [Release::None, Release::Due, Release::Done].into_iter().find(|release| release.name() == name);
        found.ok_or_else(|| Error::internal(format!("there is no release {name}")))
    }
}
