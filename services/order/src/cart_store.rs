//! The SQL of carts: a row each.

use contracts::order::v1 as api;
use kit::{Error, Timestamp};
use prost::Message;
use sha2::{Digest, Sha256};
use storage::{Bind, Row, Session, Unit};

use crate::cart::Cart;

/// Who says which cart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Someone who is signed in.
    Owner(String),
    /// A guest, by the SHA-256 of the token.
    Guest([u8; 32]),
}

impl Whose {
    /// The guest who knows a token.
    pub fn guest(token: &str) -> Self {
        Self::Guest(Sha256::digest(token).into())
    }

    /// Whose a new cart is.
    pub fn owner(&self) -> Option<&str> {
        match self {
            Whose::Owner(owner) => Some(owner),
            Whose::Guest(_) => None,
        }
    }

    /// Two binds of which one is NULL: the owner and the hash.
    fn binds(&self) -> [Bind; 2] {
        match self {
            Whose::Owner(owner) => [owner.into(), Bind::Bytes(None)],
            Whose::Guest(hash) => [Bind::Text(None), hash.to_vec().into()],
        }
    }
}

const OF_OWNER: &str = "SELECT id, owner, content, version, create_time, update_time FROM carts WHERE owner = $1";
const OF_GUEST: &str = "SELECT id, owner, content, version, create_time, update_time FROM carts WHERE token_hash = $1";

/// A cart, if it was ever made.
///
/// # Errors
/// See [`Session::rows`]; so for every function here.
pub async fn load(session: &mut Session, whose: &Whose) -> Result<Option<Cart>, Error> {
    let row = match whose {
        Whose::Owner(owner) => session.row(OF_OWNER, &[owner.into()]).await?,
        Whose::Guest(hash) => session.row(OF_GUEST, &[hash.to_vec().into()]).await?,
    };
    row.as_ref().map(read).transpose()
}

/// A cart that nobody else changes until the end of the unit, if it was ever made.
pub async fn lock(unit: &mut Unit, whose: &Whose) -> Result<Option<Cart>, Error> {
    let row = match whose {
        Whose::Owner(owner) => unit.row_for_update(OF_OWNER, &[owner.into()]).await?,
        Whose::Guest(hash) => unit.row_for_update(OF_GUEST, &[hash.to_vec().into()]).await?,
    };
    row.as_ref().map(read).transpose()
}

/// Writes a new cart. False if there is one already.
pub async fn insert(unit: &mut Unit, whose: &Whose, cart: &Cart) -> Result<bool, Error> {
    const INSERT: &str = "INSERT INTO carts (id, owner, token_hash, content, version, create_time, update_time)
        VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT DO NOTHING";

    let [owner, hash] = whose.binds();
    let tail = [content(cart), cart.version.into(), cart.create_time.into()];
    Ok(unit.exec(INSERT, &[&[(&cart.id).into(), owner, hash][..], &tail].concat()).await? == 1)
}

/// Writes a cart that is locked.
pub async fn save(unit: &mut Unit, cart: &Cart) -> Result<(), Error> {
    const UPDATE: &str = "UPDATE carts SET content = $2, version = $3, update_time = $4 WHERE id = $1";

    let binds = [(&cart.id).into(), content(cart), cart.version.into(), cart.update_time.into()];
    unit.exec(UPDATE, &binds).await.map(|_| ())
}

/// Ends a cart.
pub async fn delete(unit: &mut Unit, id: &str) -> Result<(), Error> {
    unit.exec("DELETE FROM carts WHERE id = $1", &[id.into()]).await.map(|_| ())
}

/// Ends carts of guests that did not change since a moment, at most `limit`. Says how many.
pub async fn sweep(unit: &mut Unit, since: Timestamp, limit: i64) -> Result<u64, Error> {
    const SWEEP: &str = "DELETE FROM carts WHERE token_hash IS NOT NULL AND update_time < $1 AND id IN
        (SELECT id FROM carts WHERE token_hash IS NOT NULL AND update_time < $1 ORDER BY update_time LIMIT $2)";

    unit.exec(SWEEP, &[since.into(), limit.into()]).await
}

fn content(cart: &Cart) -> Bind {
    let lines = cart.message().lines;
    api::Cart { lines, ..Default::default() }.encode_to_vec().into()
}

fn read(row: &Row) -> Result<Cart, Error> {
    let content = api::Cart::decode(row.bytes(2)?.as_slice()).map_err(Error::internal)?;
    Ok(Cart {
        id: row.text(0)?,
        owner: row.optional_text(1)?,
        items: content.lines.into_iter().map(|line| (line.variant_id, line.quantity)).collect(),
        version: row.int(3)?,
        create_time: row.time(4)?,
        update_time: row.time(5)?,
    })
}
