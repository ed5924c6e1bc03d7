//! What every provider can do, whoever it is: the wallet, and those who take cards. Everything is asked under a key that
//! is derived from what it is for, so that asking again does no harm.

use std::fmt;

use contracts::r#type::v1::Reason;
use kit::{Error, Timestamp, config::Secret};

use crate::{
    payment::{Evidence, Payment},
    refund::Refund,
};

/// Money that is to be secured.
#[derive(Clone, Debug)]
pub struct Authorization<'a> {
    /// The payment. Its id is the key.
    pub payment: &'a Payment,
    /// The card, as the provider knows it; empty for the wallet.
    pub token: &'a Token,
    /// Until when the money is to be secured.
    pub expire_time: Timestamp,
}

/// Money that is to be taken.
#[derive(Clone, Debug)]
pub struct Taking<'a> {
    /// The payment.
    pub payment: &'a Payment,
    /// The shipment that it is for: the key, together with the payment.
    pub shipment_id: &'a str,
    /// How much, in atoms; everything that is left if none.
    pub atoms: Option<i64>,
    /// Whether the rest is let go.
    pub last: bool,
}

/// Money that was taken, in atoms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// For this shipment.
    pub atoms: i64,
    /// Altogether.
    pub total: i64,
}

/// What a provider says about a refund.
#[derive(Clone, Debug, PartialEq)]
pub enum RefundEvidence {
    /// The money was given back.
    Succeeded,
    /// It was refused for good.
    Refused(Error),
}

/// A card, on its way to the provider and nowhere else.
pub struct Card {
    /// The number, digits only.
    pub number: Secret,
    /// The code on its back.
    pub security_code: Secret,
    /// 1 to 12.
    pub expire_month: i32,
    /// The year in which it expires.
    pub expire_year: i32,
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Card")
    }
}

/// The provider's name for a card. Whoever has it can pay.
pub type Token = Secret;

/// Something that a provider tells by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Callback {
    /// The provider's id for it: what is told twice has one effect.
    pub id: String,
    /// What it is about.
    pub about: About,
}

/// What a callback is about.
#[derive(Clone, Debug, PartialEq)]
pub enum About {
    /// A payment, by its id.
    Payment(String, Evidence),
    /// A refund, by its id.
    Refund(String, RefundEvidence),
    /// Something that means nothing here.
    Other,
}

/// Whoever carries payments out.
///
/// An `Err` that is [`Error::definitive`] says that the provider did not do it and never will; any other says that nobody
/// knows, and that it has to be asked again under the same key.
#[tonic::async_trait]
pub trait Provider: Send + Sync {
    /// Its name in a row, such as `simulator`.
    fn name(&self) -> &'static str;

    /// Secures money.
    async fn authorize(&self, asked: &Authorization<'_>) -> Result<Evidence, Error>;

    /// Says that the buyer did what was asked for.
    async fn confirm(&self, payment: &Payment) -> Result<Evidence, Error>;

    /// Takes secured money.
    async fn capture(&self, asked: &Taking<'_>) -> Result<Taken, Error>;

    /// Lets go of what was not taken, and says how much was taken, in atoms. What was never asked for is refused when
    /// it is asked for later: a request may be overtaken.
    async fn void(&self, payment: &Payment) -> Result<i64, Error>;

    /// Gives money back.
    async fn refund(&self, payment: &Payment, refund: &Refund) -> Result<RefundEvidence, Error>;

    /// What has become of a payment; nothing if it was never asked for.
    async fn find(&self, payment: &Payment) -> Result<Option<Evidence>, Error>;

    /// Keeps a card. Its id here is the key.
    async fn tokenize(&self, id: &str, card: &Card) -> Result<Token, Error>;

    /// The card that was kept under a key; nothing if the provider was never asked for it.
    async fn kept(&self, id: &str) -> Result<Option<Token>, Error>;

    /// Forgets a card.
    async fn forget(&self, token: &Token) -> Result<(), Error>;

    /// Reads a callback whose signature was checked.
    fn read(&self, payload: &str) -> Result<Callback, Error>;
}

/// What a card is refused for that cannot be paid with here.
pub fn invalid_method(message: impl Into<String>) -> Error {
    Error::new(Reason::PaymentMethodInvalid, message)
}

impl Card {
    /// The last four digits of its number.
    pub fn last_four(&self) -> &str {
        let number = self.number.reveal();
        number.get(number.len().saturating_sub(4)..).unwrap_or_default()
    }
}

/// Whether a number has the check digit of a card (ISO/IEC 7812-1, annex B: the Luhn formula).
pub fn has_check_digit(number: &str) -> bool {
    let sum: u32 = number
        .bytes()
        .rev()
        .enumerate()
        .map(|(position, byte)| {
            let digit = u32::from(byte.wrapping_sub(b'0'));
            match digit * if position % 2 == 0 { 1 } else { 2 } {
                doubled if doubled > 9 => doubled - 9,
                digit => digit,
            }
        })
        .sum();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && sum.is_multiple_of(10)
}

/// The brand of a card by the beginning of its number.
pub fn brand(number: &str) -> &'static str {
    let beginning = |digits: usize| number.get(..digits).and_then(|text| text.parse::<u32>().ok()).unwrap_or_default();
    match (beginning(1), beginning(2), beginning(4)) {
        (4, ..) => "visa",
        (_, 51..=55, _) | (_, _, 2221..=2720) => "mastercard",
        (_, 34 | 37, _) => "amex",
        _ => "unknown",
    }
}
