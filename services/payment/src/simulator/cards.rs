//! The test cards, and what each of them does. Any other number is refused, so that nobody tries a real one here.

use std::time::Duration;

use kit::Error;

/// How long a slow answer takes.
pub const SLOW: Duration = Duration::from_secs(5);
/// How long after its charge a late callback comes.
pub const LATE: Duration = Duration::from_secs(60);
/// How long the provider takes to decide, where it takes long.
pub const UNDECIDED: Duration = Duration::from_secs(30);
/// How often a provider that is down is asked in vain.
pub const OUTAGE: i64 = 3;

/// What a card does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behavior {
    /// Everything is approved.
    Approve,
    /// The charge is declined: `card_declined`.
    Decline,
    /// The charge is declined: `insufficient_funds`.
    NoFunds,
    /// The charge is declined: `expired_card`.
    Expired,
    /// The buyer has to confirm, and then it is approved.
    Confirm,
    /// The buyer has to confirm, and then it is declined: `authentication_required`.
    ConfirmInVain,
    /// It is approved, and the answer takes five seconds.
    SlowAnswer,
    /// Everything is carried out, and the first answer to each request is lost.
    LostAnswer,
    /// The first request is lost, and its answer with it.
    LostRequest,
    /// The callback comes before the answer.
    EarlyCallback,
    /// The callback comes twice.
    DoubleCallback,
    /// The callback comes a minute after the answer.
    LateCallback,
    /// The provider takes thirty seconds to decide, and cannot be stopped meanwhile.
    LateSuccess,
    /// The provider is down for the first three requests.
    Outage,
    /// Refunds are refused: `refund_refused`.
    NoRefund,
    /// Captures are refused: `capture_refused`.
    NoCapture,
    /// The provider cannot be reached by the first request to keep the card. After that everything is approved.
    UnreachedAtFirst,
    /// The provider keeps the card, and its first answer is lost. After that everything is approved.
    AnswerLostAtFirst,
    /// It is approved, and the bank secures half of it: captures of more are refused.
    HalfSecured,
}

/// Every test card: its number, what it does, and the name of that in a row.
const CARDS: [(&str, Behavior, &str); 19] = [
    ("4242424242424242", Behavior::Approve, "approve"),
    ("4000000000000002", Behavior::Decline, "decline"),
    ("4000000000009995", Behavior::NoFunds, "no_funds"),
    ("4000000000000069", Behavior::Expired, "expired"),
    ("4000002500003155", Behavior::Confirm, "confirm"),
    ("4000008400001629", Behavior::ConfirmInVain, "confirm_in_vain"),
    ("4000000000001018", Behavior::SlowAnswer, "slow_answer"),
    ("4000000000001026", Behavior::LostAnswer, "lost_answer"),
    ("4000000000001034", Behavior::LostRequest, "lost_request"),
    ("4000000000001042", Behavior::EarlyCallback, "early_callback"),
    ("4000000000001059", Behavior::DoubleCallback, "double_callback"),
    ("4000000000001067", Behavior::LateCallback, "late_callback"),
    ("4000000000001075", Behavior::LateSuccess, "late_success"),
    ("4000000000001083", Behavior::Outage, "outage"),
    ("4000000000001091", Behavior::NoRefund, "no_refund"),
    ("4000000000001109", Behavior::NoCapture, "no_capture"),
    ("4000000000001117", Behavior::UnreachedAtFirst, "unreached_at_first"),
    ("4000000000001125", Behavior::AnswerLostAtFirst, "answer_lost_at_first"),
    ("4000000000001133", Behavior::HalfSecured, "half_secured"),
];

impl Behavior {
    /// What the card with this number does, if it is a test card.
    pub fn of(number: &str) -> Option<Self> {
        CARDS.iter().find(|card| card.0 == number).map(|card| card.1)
    }

    /// The name in a row.
    pub fn name(self) -> &'static str {
        CARDS.iter().find(|card| card.1 == self).map_or("approve", |card| card.2)
    }

    /// The one with this name.
    ///
    /// # Errors
    /// `INTERNAL` if a row says something that no program of ours has written.
    pub fn named(name: &str) -> Result<Self, Error> {
        let found = CARDS.iter().find(|card| card.2 == name).map(|card| card.1);
        found.ok_or_else(|| Error::internal(format!("there is no card behavior {name}")))
    }

    /// The provider's code and sentence, if the charge is declined as soon as it is decided.
    pub fn decline(self) -> Option<(&'static str, &'static str)> {
        match self {
            Behavior::Decline => Some(("card_declined", "The card was declined. Pay with another one.")),
            Behavior::NoFunds => Some(("insufficient_funds", "The card has no funds left. Pay with another one.")),
            Behavior::Expired => Some(("expired_card", "The card has expired. Pay with another one.")),
            Behavior::ConfirmInVain => {
                Some(("authentication_required", "The card could not be confirmed. Pay with another one."))
            }
            _ => None,
        }
    }

    /// How many requests under one key fail before one is heard.
    pub fn failures(self) -> i64 {
        match self {
            Behavior::LostRequest => 1,
            Behavior::Outage => OUTAGE,
            _ => 0,
        }
    }

    /// Whether the buyer has to confirm.
    pub fn confirms(self) -> bool {
        matches!(self, Behavior::Confirm | Behavior::ConfirmInVain)
    }
}

/// The numbers of all test cards.
#[cfg(test)]
pub fn numbers() -> impl Iterator<Item = &'static str> {
    CARDS.iter().map(|card| card.0)
}
