//! The SQL of the catalogue: what is read by everyone. Nothing here belongs to anyone, so nothing is loaded by owner.

use std::{collections::HashMap, fmt::Write};

use kit::{Error, Timestamp};
use storage::{Bind, Row, Session};

use crate::{
    assets::CURRENCY,
    product::{Category, Form, Good, Kind, Product, Query, State, TaxClass, Unit, UnitKind, Variant},
};

pub mod goods;
pub mod prices;
pub mod seed;

/// More units than this are not listed.
const UNITS_MAX: i64 = 10_000;
/// What [`read_product`] reads.
const PRODUCT: &str = "SELECT p.id, p.kind, p.unit, u.scale, p.name, p.description, p.category, p.tax_class, p.state,
    p.version, p.create_time, p.update_time FROM products p LEFT JOIN units u ON u.code = p.unit";

/// Which products to list. Fields that are empty let everything through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter<'a> {
    /// Only products of this category.
    pub category: &'a str,
    /// Only products of this kind.
    pub kind: Option<Kind>,
    /// Only goods with a variant that costs something from here to there, in atoms of a currency.
    pub price: Option<(&'a str, i64, i64)>,
}

/// Every unit, by code.
///
/// # Errors
/// Those of the database; so for every function here.
pub async fn units(session: &mut Session) -> Result<Vec<Unit>, Error> {
    let sql = "SELECT code, kind, scale FROM units ORDER BY code LIMIT $1";
    session.rows(sql, &[UNITS_MAX.into()]).await?.iter().map(read_unit).collect()
}

/// Every category, by name, with the number of its products that are on sale.
///
/// # Errors
/// See [`units`].
pub async fn categories(session: &mut Session) -> Result<Vec<Category>, Error> {
    let sql = "SELECT c.name, c.title, CAST(COUNT(p.id) AS BIGINT) FROM categories c
               LEFT JOIN products p ON p.category = c.name AND p.state = 'ACTIVE' GROUP BY c.name, c.title ORDER BY c.name LIMIT $1";
    let rows = session.rows(sql, &[UNITS_MAX.into()]).await?;
    let read = |row: &Row| Ok(Category { name: row.text(0)?, title: row.text(1)?, product_count: row.int(2)? });
    rows.iter().map(read).collect()
}

/// The product with this id, with its variants and what they cost at `now`.
///
/// # Errors
/// See [`units`].
pub async fn product(session: &mut Session, id: &str, now: Timestamp) -> Result<Option<Product>, Error> {
    let found = session.rows_dynamic(format!("{PRODUCT} WHERE p.id = $1"), &[id.into()]).await?;
    Ok(complete(session, &found, now).await?.pop())
}

/// At most `limit` assets with units after `after`, by unit. No category means all.
///
/// # Errors
/// See [`units`].
pub async fn assets(session: &mut Session, category: &str, after: &str, limit: i64) -> Result<Vec<Product>, Error> {
    let sql = format!(
        "{PRODUCT} WHERE ($1 = '' OR p.category = $1) AND p.unit > $2 AND p.state = 'ACTIVE' ORDER BY p.unit LIMIT $3"
    );
    let rows = session.rows_dynamic(sql, &[category.into(), after.into(), limit.into()]).await?;
    rows.iter().map(read_product).collect()
}

/// At most `limit` products on sale that come after this name and id, by name and id.
///
/// # Errors
/// See [`units`].
pub async fn products(
    session: &mut Session,
    filter: &Filter<'_>,
    (name, id): (&str, &str),
    limit: i64,
    now: Timestamp,
) -> Result<Vec<Product>, Error> {
    // Only conditions that are asked for are written down, so that each list goes along an index of its own.
    let mut sql = format!("{PRODUCT} WHERE p.state = 'ACTIVE' AND (p.name, p.id) > ($1, $2)");
    let mut binds: Vec<Bind> = vec![name.into(), id.into(), limit.into()];
    if !filter.category.is_empty() {
        binds.push(filter.category.into());
        let _ = write!(sql, " AND p.category = ${}", binds.len());
    }
    if let Some(kind) = filter.kind {
        binds.push(kind.as_str().into());
        let _ = write!(sql, " AND p.kind = ${}", binds.len());
    }
    if let Some((currency, min, max)) = filter.price {
        let first = binds.len() + 1;
        binds.extend([now.into(), currency.into(), min.into(), max.into()]);
        let (now, currency, min, max) = (first, first + 1, first + 2, first + 3);
        let _ = write!(
            sql,
            " AND EXISTS (SELECT 1 FROM variants v JOIN list_prices l ON l.variant_id = v.id
                WHERE v.product_id = p.id AND v.state = 'ACTIVE' AND l.currency = ${currency}
                  AND l.atoms >= ${min} AND l.atoms <= ${max} AND l.start_time =
                    (SELECT MAX(q.start_time) FROM list_prices q
                     WHERE q.variant_id = v.id AND q.currency = ${currency} AND q.start_time <= ${now}))"
        );
    }
    sql += " ORDER BY p.name, p.id LIMIT $3";
    let found = session.rows_dynamic(sql, &binds).await?;
    complete(session, &found, now).await
}

/// At most `limit` products on sale that have every word of a query, at least as the beginning of a word. First those
/// whose unit or name is the query, then units and names that begin with it, then names that have it, then the others.
///
/// # Errors
/// See [`units`].
pub async fn search(
    session: &mut Session,
    query: &Query,
    filter: &Filter<'_>,
    limit: i64,
    now: Timestamp,
) -> Result<Vec<Product>, Error> {
    let sql = format!(
        "{PRODUCT} WHERE p.words LIKE $3 AND p.words LIKE $4 AND p.words LIKE $5 AND p.words LIKE $6
           AND p.words LIKE $7 AND p.words LIKE $8 AND p.words LIKE $9 AND p.words LIKE $10
           AND p.state = 'ACTIVE' AND ($11 = '' OR p.category = $11) AND ($12 = '' OR p.kind = $12)
         ORDER BY CASE WHEN LOWER(p.unit) = $1 THEN 0
                       WHEN LOWER(p.name) = $1 THEN 1
                       WHEN LOWER(p.unit) LIKE $1 || '%' THEN 2
                       WHEN LOWER(p.name) LIKE $1 || '%' THEN 3
                       WHEN LOWER(p.name) LIKE '% ' || $1 || '%' THEN 4
                       ELSE 5 END, COALESCE(p.unit, p.name), p.id LIMIT $2"
    );
    let mut binds: Vec<Bind> = vec![query.text().into(), limit.into()];
    binds.extend(query.patterns().into_iter().map(Into::into));
    binds.extend([filter.category.into(), filter.kind.map_or("", Kind::as_str).into()]);
    let found = session.rows_dynamic(sql, &binds).await?;
    complete(session, &found, now).await
}

/// Reads rows of products, and the variants of the goods among them, with what these cost at `now`.
async fn complete(session: &mut Session, rows: &[Row], now: Timestamp) -> Result<Vec<Product>, Error> {
    // A page has at most 200 products, a product at most 50 variants.
    const VARIANTS: &str = "SELECT v.product_id, v.id, v.sku, v.title, v.state, l.atoms FROM variants v
        LEFT JOIN list_prices l ON l.variant_id = v.id AND l.currency = $1 AND l.start_time =
          (SELECT MAX(q.start_time) FROM list_prices q
           WHERE q.variant_id = v.id AND q.currency = $1 AND q.start_time <= $2)";

    let mut products = rows.iter().map(read_product).collect::<Result<Vec<_>, _>>()?;
    let goods = products.iter().filter(|product| product.kind() != Kind::Asset);
    let ids: Vec<&str> = goods.map(|product| product.id.as_str()).collect();
    if ids.is_empty() {
        return Ok(products);
    }
    let mut binds: Vec<Bind> = vec![CURRENCY.into(), now.into()];
    let list = among(&mut binds, &ids);
    let sql = format!("{VARIANTS} WHERE v.product_id IN {list} ORDER BY v.product_id, v.position LIMIT 10200");
    let mut variants: HashMap<String, Vec<Variant>> = HashMap::new();
    for row in session.rows_dynamic(sql, &binds).await? {
        variants.entry(row.text(0)?).or_default().push(read_variant(&row)?);
    }
    for product in &mut products {
        if let Form::Good(good) = &mut product.form {
            good.variants = variants.remove(&product.id).unwrap_or_default();
        }
    }
    Ok(products)
}

/// Adds ids to the parameters and gives the list that names them. Its length is one of a few, so that few statements are
/// prepared: the last id fills it up.
fn among(binds: &mut Vec<Bind>, ids: &[&str]) -> String {
    let length = [1, 4, 16, 64].into_iter().find(|length| *length >= ids.len()).unwrap_or(ids.len());
    let filled = ids.iter().chain(std::iter::repeat_n(ids.last().unwrap_or(&""), length - ids.len()));
    let mut list = String::from("(");
    for id in filled {
        binds.push((*id).into());
        let separator = if list.len() > 1 { ", " } else { "" };
        let _ = write!(list, "{separator}${}", binds.len());
    }
    list + ")"
}

fn read_unit(row: &Row) -> Result<Unit, Error> {
    Ok(Unit { code: row.text(0)?, kind: UnitKind::from_text(&row.text(1)?)?, scale: read_scale(row, 2)? })
}

fn read_product(row: &Row) -> Result<Product, Error> {
    let form = match Kind::from_text(&row.text(1)?)? {
        Kind::Asset => Form::Asset(Unit { code: row.text(2)?, kind: UnitKind::Asset, scale: read_scale(row, 3)? }),
        kind => Form::Good(Good {
            physical: kind == Kind::PhysicalGood,
            tax_class: TaxClass::from_text(&row.text(7)?)?,
            variants: vec![],
        }),
    };
    Ok(Product {
        id: row.text(0)?,
        form,
        name: row.text(4)?,
        description: row.text(5)?,
        category: row.text(6)?,
        state: State::from_text(&row.text(8)?)?,
        version: row.int(9)?,
        create_time: row.time(10)?,
        update_time: row.time(11)?,
    })
}

fn read_variant(row: &Row) -> Result<Variant, Error> {
    Ok(Variant {
        id: row.text(1)?,
        sku: row.text(2)?,
        title: row.text(3)?,
        state: State::from_text(&row.text(4)?)?,
        list_price: row.optional_int(5)?,
    })
}

fn read_scale(row: &Row, index: usize) -> Result<u8, Error> {
    u8::try_from(row.int(index)?).map_err(Error::internal)
}
