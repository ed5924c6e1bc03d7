//! The SQL of list prices and promotions.

use contracts::r#type::v1::Reason;
use kit::{Error, Timestamp};
use storage::{Bind, Row, Session, Unit};

use super::among;
use crate::{
    product::{Kind, ListPrice, State, TaxClass, UnitKind},
    purchase::{Offer, Promotion},
};

/// A variant is shown with no more prices than this.
const PRICES_SHOWN: i64 = 200;
/// No more prices of a variant than this may lie ahead.
const PRICES_AHEAD_MAX: i64 = 100;
/// No more promotions than this may hold or lie ahead.
const PROMOTIONS_MAX: i64 = 1_000;
/// What is loaded at once: a basket of 100 variants with all of their prices that lie ahead.
const LOADED_MAX: i64 = 20_000;

/// These variants as they are priced at `now` and later; none of those that nobody knows. Two statements.
///
/// # Errors
/// Those of the database; so for every function here.
pub async fn offers(session: &mut Session, variants: &[&str], now: Timestamp) -> Result<Vec<Offer>, Error> {
    let mut binds: Vec<Bind> = vec![LOADED_MAX.into()];
    let list = among(&mut binds, variants);
    let sql = format!(
        "SELECT v.id, v.product_id, v.sku, v.title, v.state, p.name, p.kind, p.category, p.tax_class, p.state
         FROM variants v JOIN products p ON p.id = v.product_id WHERE v.id IN {list} LIMIT $1"
    );
    let found = session.rows_dynamic(sql, &binds).await?;
    let mut offers = found.iter().map(read_offer).collect::<Result<Vec<_>, _>>()?;
    let mut binds: Vec<Bind> = vec![LOADED_MAX.into(), now.into()];
    let list = among(&mut binds, variants);
    let sql = format!(
        "SELECT l.variant_id, l.currency, l.start_time, l.atoms FROM list_prices l
         WHERE l.variant_id IN {list} AND l.start_time >= COALESCE((SELECT MAX(q.start_time) FROM list_prices q
           WHERE q.variant_id = l.variant_id AND q.currency = l.currency AND q.start_time <= $2), 0) LIMIT $1"
    );
    for row in session.rows_dynamic(sql, &binds).await? {
        let variant = row.text(0)?;
        if let Some(offer) = offers.iter_mut().find(|offer| offer.variant_id == variant) {
            offer.prices.push((row.text(1)?, row.time(2)?, row.int(3)?));
        }
    }
    Ok(offers)
}

/// The prices of a variant, the latest first, at most 200.
///
/// # Errors
/// See [`offers`].
pub async fn list(session: &mut Session, variant: &str) -> Result<Vec<ListPrice>, Error> {
    const LIST: &str = "SELECT l.variant_id, l.currency, u.scale, l.atoms, l.start_time
        FROM list_prices l JOIN units u ON u.code = l.currency
        WHERE l.variant_id = $1 ORDER BY l.start_time DESC, l.currency LIMIT $2";

    let read = |row: &Row| {
        let scale = u8::try_from(row.int(2)?).map_err(Error::internal)?;
        let currency = crate::product::Unit { code: row.text(1)?, kind: UnitKind::Fiat, scale };
        Ok(ListPrice { variant_id: row.text(0)?, currency, atoms: row.int(3)?, start_time: row.time(4)? })
    };
    session.rows(LIST, &[variant.into(), PRICES_SHOWN.into()]).await?.iter().map(read).collect()
}

/// Refuses a price that is to hold later, if too many of the variant do. Whoever asks holds the lock on the product.
///
/// # Errors
/// `LIMIT_EXCEEDED`.
pub async fn check_room(unit: &mut Unit, variant: &str) -> Result<(), Error> {
    const COUNT: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM list_prices WHERE variant_id = $1 AND start_time > $2";

    let now = unit.now();
    let count = unit.row(COUNT, &[variant.into(), now.into()]).await?.map_or(Ok(0), |row| row.int(0))?;
    if count < PRICES_AHEAD_MAX {
        return Ok(());
    }
    let message = format!("{PRICES_AHEAD_MAX} prices of this variant lie ahead. Wait until some of them hold.");
    Err(Error::new(Reason::LimitExceeded, message).with("limit", "prices_ahead_per_variant"))
}

/// Every promotion that holds at `now` or later.
///
/// # Errors
/// See [`offers`].
pub async fn promotions(session: &mut Session, now: Timestamp) -> Result<Vec<Promotion>, Error> {
    const LIVE: &str = "SELECT id, title, discount_bps, category, code, start_time, end_time, create_time
        FROM promotions WHERE end_time IS NULL OR end_time > $1 ORDER BY id LIMIT $2";

    session.rows(LIVE, &[now.into(), PROMOTIONS_MAX.into()]).await?.iter().map(read_promotion).collect()
}

/// At most `limit` promotions that were made before this time and id, the newest first.
///
/// # Errors
/// See [`offers`].
pub async fn list_promotions(
    session: &mut Session,
    (time, id): (Timestamp, &str),
    limit: i64,
) -> Result<Vec<Promotion>, Error> {
    const LIST: &str = "SELECT id, title, discount_bps, category, code, start_time, end_time, create_time
        FROM promotions WHERE (create_time, id) < ($1, $2) ORDER BY create_time DESC, id DESC LIMIT $3";

    let rows = session.rows(LIST, &[time.into(), id.into(), limit.into()]).await?;
    rows.iter().map(read_promotion).collect()
}

/// Adds a promotion.
///
/// # Errors
/// `LIMIT_EXCEEDED` if too many hold or lie ahead, `ALREADY_EXISTS_NAME` if one of them has the same code.
pub async fn insert_promotion(unit: &mut Unit, promotion: &Promotion) -> Result<(), Error> {
    const COUNT: &str = "SELECT CAST(COUNT(*) AS BIGINT) FROM promotions WHERE end_time IS NULL OR end_time > $1";
    const INSERT: &str = "INSERT INTO promotions
        (id, title, discount_bps, category, code, start_time, end_time, create_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

    let now = unit.now();
    let count = unit.row(COUNT, &[now.into()]).await?.map_or(Ok(0), |row| row.int(0))?;
    if count >= PROMOTIONS_MAX {
        let message = format!("There are {PROMOTIONS_MAX} promotions that have not ended. End one of them first.");
        return Err(Error::new(Reason::LimitExceeded, message).with("limit", "promotions"));
    }
    if let Some(code) = &promotion.code {
        take_code(unit, code, promotion.end_time).await?;
    }
    let binds = [
        (&promotion.id).into(),
        (&promotion.title).into(),
        promotion.discount_bps.into(),
        promotion.category.clone().into(),
        promotion.code.clone().into(),
        promotion.start_time.into(),
        promotion.end_time.into(),
        promotion.create_time.into(),
    ];
    unit.exec(INSERT, &binds).await.map(drop)
}

/// Takes a code until the promotion that is to have it ends.
async fn take_code(unit: &mut Unit, code: &str, end_time: Option<Timestamp>) -> Result<(), Error> {
    const TAKE: &str = "INSERT INTO promotion_codes (code, end_time) VALUES ($1, $2)
        ON CONFLICT (code) DO UPDATE SET end_time = excluded.end_time WHERE promotion_codes.end_time <= $3";

    let now = unit.now();
    if unit.exec(TAKE, &[code.into(), end_time.into(), now.into()]).await? > 0 {
        return Ok(());
    }
    let message = format!("A promotion that has not ended has the code `{code}`. End it first, or use another code.");
    Err(Error::new(Reason::AlreadyExistsName, message).with("code", code))
}

/// The promotion with this id, locked until the unit ends.
///
/// # Errors
/// `RESOURCE_NOT_FOUND` if there is none.
pub async fn promotion_for_update(unit: &mut Unit, id: &str) -> Result<Promotion, Error> {
    const LOAD: &str = "SELECT id, title, discount_bps, category, code, start_time, end_time, create_time
        FROM promotions WHERE id = $1";

    let found = unit.row_for_update(LOAD, &[id.into()]).await?;
    let found = found.as_ref().map(read_promotion).transpose()?;
    found.ok_or_else(|| {
        Error::new(Reason::ResourceNotFound, format!("There is no promotion `{id}`.")).with("resource", id)
    })
}

/// Saves when a promotion ends, and that its code is free as soon as no other has it.
///
/// # Errors
/// See [`offers`].
pub async fn set_end(unit: &mut Unit, promotion: &Promotion) -> Result<(), Error> {
    const UPDATE: &str = "UPDATE promotions SET end_time = $2 WHERE id = $1";
    // From before codes were their own, several promotions may have one: those that end at once see each other's ends.
    const LOCK: &str = "SELECT code FROM promotion_codes WHERE code = $1";
    const FREE: &str = "UPDATE promotion_codes SET end_time =
        (SELECT CASE WHEN COUNT(end_time) < COUNT(*) THEN NULL ELSE MAX(end_time) END FROM promotions WHERE code = $1)
        WHERE code = $1";

    if let Some(code) = &promotion.code {
        unit.row_for_update(LOCK, &[code.into()]).await?;
    }
    unit.exec(UPDATE, &[(&promotion.id).into(), promotion.end_time.into()]).await?;
    if let Some(code) = &promotion.code {
        unit.exec(FREE, &[code.into()]).await?;
    }
    Ok(())
}

fn read_offer(row: &Row) -> Result<Offer, Error> {
    let (name, title) = (row.text(5)?, row.text(3)?);
    let active = |index: usize| Ok::<bool, Error>(State::from_text(&row.text(index)?)? == State::Active);
    Ok(Offer {
        variant_id: row.text(0)?,
        product_id: row.text(1)?,
        sku: row.text(2)?,
        title: if title.is_empty() { name } else { format!("{name} ({title})") },
        category: row.text(7)?,
        physical: Kind::from_text(&row.text(6)?)? == Kind::PhysicalGood,
        tax_class: TaxClass::from_text(&row.text(8)?)?,
        on_sale: active(4)? && active(9)?,
        prices: vec![],
    })
}

fn read_promotion(row: &Row) -> Result<Promotion, Error> {
    Ok(Promotion {
        id: row.text(0)?,
        title: row.text(1)?,
        discount_bps: row.int(2)?,
        category: row.optional_text(3)?,
        code: row.optional_text(4)?,
        start_time: row.time(5)?,
        end_time: row.optional_time(6)?,
        create_time: row.time(7)?,
    })
}
