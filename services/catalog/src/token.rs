//! Quotes that prove themselves: what a quote says and whose it is, signed, so that nothing has to be stored. A token is
//! `base64url(message) . base64url(HMAC-SHA256)`, without padding. Pure, but for the nonce, which is handed in.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use contracts::r#type::v1::Reason;
use hmac::{Hmac, Mac};
use kit::{Error, Timestamp};
use prost::Message;
use sha2::Sha256;

use crate::{
    frozen::Frozen,
    product::{Unit, UnitKind},
    purchase::Purchase,
    quote::{Quote, Side},
};

/// What a signature is for, so that the key may never sign one thing as another.
const TRADE: &[u8] = b"agora.catalog quote v1\n";
const PURCHASE: &[u8] = b"agora.catalog purchase v1\n";
const TRADE_LENGTH_MAX: usize = 1_000;
const PURCHASE_LENGTH_MAX: usize = 60_000;
/// Where an order has the token of a trade, and of a purchase: only order asks, with what its caller sent.
const TRADE_FIELD: &str = "quoted_trade.quote_token";
const PURCHASE_FIELD: &str = "quoted_purchase.quote_token";
const NOT_YOURS: &str = "The quote was not given to you here, or was altered. Ask for a new one.";

/// Signs quotes and reads them back. Every replica has the same key.
#[derive(Clone)]
pub struct Signer {
    trades: Hmac<Sha256>,
    purchases: Hmac<Sha256>,
}

/// What the token of a trade holds.
#[derive(Clone, PartialEq, Message)]
struct Claims {
    #[prost(string, tag = "1")]
    owner: String,
    #[prost(bool, tag = "2")]
    sell: bool,
    #[prost(string, tag = "3")]
    unit: String,
    #[prost(uint32, tag = "4")]
    unit_scale: u32,
    #[prost(int64, tag = "5")]
    quantity: i64,
    #[prost(string, tag = "6")]
    currency: String,
    #[prost(uint32, tag = "7")]
    currency_scale: u32,
    #[prost(int64, tag = "8")]
    price: i64,
    #[prost(int64, tag = "9")]
    notional: i64,
    #[prost(int64, tag = "10")]
    fee: i64,
    #[prost(int64, tag = "11")]
    total: i64,
    #[prost(int64, tag = "12")]
    expire_micros: i64,
    /// Makes two quotes of the same moment two quotes.
    #[prost(fixed64, tag = "13")]
    nonce: u64,
}

impl Signer {
    /// A signer with this key.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        let keyed =
            // HMAC takes a key of any length; the error is of the trait, not of the algorithm.
            Hmac::<Sha256>::new_from_slice(key.as_ref()).unwrap_or_else(|_| Hmac::new(&Default::default()));
        Self { trades: keyed.clone().chain_update(TRADE), purchases: keyed.chain_update(PURCHASE) }
    }

    /// The token of a quote for `owner`.
    pub fn sign(&self, quote: &Quote, owner: &str, nonce: u64) -> String {
        let claims = Claims {
            owner: owner.to_owned(),
            sell: quote.side == Side::Sell,
            unit: quote.unit.code.clone(),
            unit_scale: quote.unit.scale.into(),
            quantity: quote.quantity,
            currency: quote.currency.code.clone(),
            currency_scale: quote.currency.scale.into(),
            price: quote.price,
            notional: quote.notional,
            fee: quote.fee,
            total: quote.total,
            expire_micros: quote.expire_time.micros(),
            nonce,
        };
        seal(&self.trades, &claims)
    }

    /// The quote in a token that was signed here, for `owner`.
    ///
    /// # Errors
    /// `QUOTE_INVALID`: it is the owner's quote of a purchase; or, without saying which it was, forged, altered or someone
    /// else's.
    pub fn open(&self, token: &str, owner: &str) -> Result<Quote, Error> {
        self.trade(token, owner).ok_or_else(|| match self.purchase(token, owner) {
            Some(_) => invalid("This is the quote of a purchase. Name it in `quoted_purchase`.", TRADE_FIELD),
            None => invalid(NOT_YOURS, TRADE_FIELD),
        })
    }

    /// The token of the quote of a purchase for `owner`.
    pub fn sign_purchase(&self, purchase: &Purchase, owner: &str, nonce: u64) -> String {
        seal(&self.purchases, &Frozen::new(purchase, owner, nonce))
    }

    /// What the token of a purchase holds, if it was signed here, for `owner`.
    ///
    /// # Errors
    /// `QUOTE_INVALID`: it is the owner's quote of a trade; or, without saying which it was, forged, altered or someone
    /// else's.
    pub fn open_purchase(&self, token: &str, owner: &str) -> Result<Frozen, Error> {
        self.purchase(token, owner).ok_or_else(|| match self.trade(token, owner) {
            Some(_) => invalid("This is the quote of a trade. Name it in `quoted_trade`.", PURCHASE_FIELD),
            None => invalid(NOT_YOURS, PURCHASE_FIELD),
        })
    }

    fn trade(&self, token: &str, owner: &str) -> Option<Quote> {
        let claims: Claims = unseal(&self.trades, token, TRADE_LENGTH_MAX)?;
        Some(claims).filter(|claims| claims.owner == owner).and_then(Claims::quote)
    }

    fn purchase(&self, token: &str, owner: &str) -> Option<Frozen> {
        let frozen: Frozen = unseal(&self.purchases, token, PURCHASE_LENGTH_MAX)?;
        Some(frozen).filter(|frozen| frozen.owner() == owner)
    }
}

fn seal(keyed: &Hmac<Sha256>, claims: &impl Message) -> String {
    let message = claims.encode_to_vec();
    let tag = keyed.clone().chain_update(&message).finalize().into_bytes();
    format!("{}.{}", URL_SAFE_NO_PAD.encode(message), URL_SAFE_NO_PAD.encode(tag))
}

fn unseal<M: Message + Default>(keyed: &Hmac<Sha256>, token: &str, length_max: usize) -> Option<M> {
    if token.len() > length_max {
        return None;
    }
    let (message, tag) = token.split_once('.')?;
    let (message, tag) = (URL_SAFE_NO_PAD.decode(message).ok()?, URL_SAFE_NO_PAD.decode(tag).ok()?);
    keyed.clone().chain_update(&message).verify_slice(&tag).ok()?;
    M::decode(message.as_slice()).ok()
}

fn invalid(message: &str, field: &str) -> Error {
    Error::new(Reason::QuoteInvalid, message).at(field)
}

/// The id of the quote that a token holds: the same for the same token.
pub fn id(token: &str) -> String {
    kit::id::derive("quo", token, "quote")
}

impl Claims {
    fn quote(self) -> Option<Quote> {
        let scale = |scale: u32| u8::try_from(scale).ok();
        Some(Quote {
            side: if self.sell { Side::Sell } else { Side::Buy },
            unit: Unit { code: self.unit, kind: UnitKind::Asset, scale: scale(self.unit_scale)? },
            quantity: self.quantity,
            currency: Unit { code: self.currency, kind: UnitKind::Fiat, scale: scale(self.currency_scale)? },
            price: self.price,
            notional: self.notional,
            fee: self.fee,
            total: self.total,
            expire_time: Timestamp::from_micros(self.expire_micros),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWNER: &str = "usr_01h455vb4pex5vsknk084sn02q";

    fn quote() -> Quote {
        Quote {
            side: Side::Sell,
            unit: Unit { code: "BTC".into(), kind: UnitKind::Asset, scale: 8 },
            quantity: 1_000_000,
            currency: Unit { code: "USD".into(), kind: UnitKind::Fiat, scale: 2 },
            price: 6_721_637_000_000,
            notional: 67_216,
            fee: 68,
            total: 67_148,
            expire_time: Timestamp::from_seconds(1_800_000_030),
        }
    }

    #[test]
    fn a_token_opens_for_its_owner_only() {
        crate::tests::install_contract();
        let signer = Signer::new("key");
        let token = signer.sign(&quote(), OWNER, 1);
        assert!(token.len() < 300, "{}", token.len());
        assert_eq!(signer.open(&token, OWNER).unwrap(), quote());
        for (signer, owner) in [(&signer, "usr_other"), (&signer, ""), (&Signer::new("another key"), OWNER)] {
            assert_eq!(signer.open(&token, owner).unwrap_err().reason(), "QUOTE_INVALID");
        }
    }

    #[test]
    fn two_quotes_of_the_same_moment_have_two_ids() {
        let signer = Signer::new("key");
        let (first, second) = (signer.sign(&quote(), OWNER, 1), signer.sign(&quote(), OWNER, 2));
        assert_ne!(id(&first), id(&second));
        assert_eq!(id(&first), id(&first));
        kit::id::check("quo", &id(&first)).unwrap();
    }

    #[test]
    fn no_altered_character_and_no_garbage_is_taken_for_a_quote() {
        let signer = Signer::new("key");
        let token = signer.sign(&quote(), OWNER, u64::MAX);
        for position in 0..token.len() {
            for other in ["A", "B", "_", ".", "", "AA", "="] {
                let mut forged = token.clone();
                forged.replace_range(position..=position, other);
                assert!(forged == token || signer.open(&forged, OWNER).is_err(), "{position} {other}");
            }
        }
        let long = "A".repeat(100_000);
        for garbage in ["", ".", "..", "a.b", "not a token", &token[..token.len() - 1], &format!("{token}A"), &long] {
            assert!(signer.open(garbage, OWNER).is_err());
        }
    }

    #[test]
    fn the_token_of_a_trade_is_none_of_a_purchase() {
        crate::tests::install_contract();
        let signer = Signer::new("key");
        let token = signer.sign(&quote(), OWNER, 1);
        assert_eq!(signer.open_purchase(&token, OWNER).unwrap_err().reason(), "QUOTE_INVALID");
    }

    proptest! {
        #[test]
        fn every_quote_survives_its_token(numbers: [i64; 6], nonce: u64, sell: bool, scales in (0u8..=8, 0u8..=8)) {
            let signer = Signer::new("key");
            let mut quote = quote();
            quote.side = if sell { Side::Sell } else { Side::Buy };
            (quote.unit.scale, quote.currency.scale) = scales;
            [quote.quantity, quote.price, quote.notional, quote.fee, quote.total, _] = numbers;
            quote.expire_time = Timestamp::from_micros(numbers[5]);
            prop_assert_eq!(signer.open(&signer.sign(&quote, OWNER, nonce), OWNER).unwrap(), quote);
        }

        #[test]
        fn no_flipped_bit_survives(position: prop::sample::Index, bit in 0u32..8, nonce: u64) {
            let signer = Signer::new("key");
            let token = signer.sign(&quote(), OWNER, nonce);
            let (message, tag) = token.split_once('.').unwrap();
            let mut bytes = URL_SAFE_NO_PAD.decode(message).unwrap();
            let length = bytes.len();
            bytes.extend(URL_SAFE_NO_PAD.decode(tag).unwrap());
            let position = position.index(bytes.len());
            bytes[position] ^= 1 << bit;
            let forged = format!("{}.{}", URL_SAFE_NO_PAD.encode(&bytes[..length]), URL_SAFE_NO_PAD.encode(&bytes[length..]));
            prop_assert!(signer.open(&forged, OWNER).is_err());
        }
    }
}
