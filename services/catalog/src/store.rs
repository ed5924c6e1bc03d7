//! The SQL of the catalogue. Everything in it is public, so nothing here is loaded by owner.

use kit::{Error, Timestamp};
use storage::{Row, Session, Unit as Write};

use crate::{
    assets::Seed,
    product::{Category, Product, Query, Unit, UnitKind},
};

/// More units than this are not listed.
const UNITS_MAX: i64 = 10_000;

/// Every unit, by code.
///
/// # Errors
/// Those of the database; so for every function here.
pub async fn units(session: &mut Session) -> Result<Vec<Unit>, Error> {
    let sql = "SELECT code, kind, scale FROM units ORDER BY code LIMIT $1";
    session.rows(sql, &[UNITS_MAX.into()]).await?.iter().map(read_unit).collect()
}

/// Every category, by name, with the number of its products.
///
/// # Errors
/// See [`units`].
pub async fn categories(session: &mut Session) -> Result<Vec<Category>, Error> {
    let sql = "SELECT c.name, c.title, CAST(COUNT(p.id) AS BIGINT) FROM categories c
               LEFT JOIN products p ON p.category = c.name GROUP BY c.name, c.title ORDER BY c.name LIMIT $1";
    let rows = session.rows(sql, &[UNITS_MAX.into()]).await?;
    let read = |row: &Row| Ok(Category { name: row.text(0)?, title: row.text(1)?, product_count: row.int(2)? });
    rows.iter().map(read).collect()
}

/// The product with this id.
///
/// # Errors
/// See [`units`].
pub async fn product(session: &mut Session, id: &str) -> Result<Option<Product>, Error> {
    let sql = "SELECT p.id, p.unit, u.scale, p.name, p.description, p.category, p.create_time
               FROM products p JOIN units u ON u.code = p.unit WHERE p.id = $1";
    session.row(sql, &[id.into()]).await?.as_ref().map(read_product).transpose()
}

/// At most `limit` products with units after `after`, by unit. No category means all.
///
/// # Errors
/// See [`units`].
pub async fn products(session: &mut Session, category: &str, after: &str, limit: i64) -> Result<Vec<Product>, Error> {
    let sql = "SELECT p.id, p.unit, u.scale, p.name, p.description, p.category, p.create_time
               FROM products p JOIN units u ON u.code = p.unit
               WHERE ($1 = '' OR p.category = $1) AND p.unit > $2 ORDER BY p.unit LIMIT $3";
    let rows = session.rows(sql, &[category.into(), after.into(), limit.into()]).await?;
    rows.iter().map(read_product).collect()
}

/// At most `limit` products that have every word of a query, at least as the beginning of a word. First those whose
/// unit or name is the query, then units and names that begin with it, then names that have it, then the others.
///
/// # Errors
/// See [`units`].
pub async fn search(session: &mut Session, query: &Query, limit: i64) -> Result<Vec<Product>, Error> {
    let sql = "SELECT p.id, p.unit, u.scale, p.name, p.description, p.category, p.create_time
               FROM products p JOIN units u ON u.code = p.unit
               WHERE p.words LIKE $3 AND p.words LIKE $4 AND p.words LIKE $5 AND p.words LIKE $6
                 AND p.words LIKE $7 AND p.words LIKE $8 AND p.words LIKE $9 AND p.words LIKE $10
               ORDER BY CASE WHEN LOWER(p.unit) = $1 THEN 0
                             WHEN LOWER(p.name) = $1 THEN 1
                             WHEN LOWER(p.unit) LIKE $1 || '%' THEN 2
                             WHEN LOWER(p.name) LIKE $1 || '%' THEN 3
                             WHEN LOWER(p.name) LIKE '% ' || $1 || '%' THEN 4
                             ELSE 5 END, p.unit LIMIT $2";
    let mut binds = vec![query.text().into(), limit.into()];
    binds.extend(query.patterns().into_iter().map(Into::into));
    session.rows(sql, &binds).await?.iter().map(read_product).collect()
}

/// Saves what of the seed is missing or has changed; an id or a time of creation never does.
///
/// # Errors
/// See [`units`].
pub async fn seed(session: &mut Write, seed: &Seed) -> Result<(), Error> {
    let now = session.now();
    let (known_units, known_categories) = (units(session).await?, categories(session).await?);
    let known_products = products(session, "", "", UNITS_MAX).await?;
    let assets = seed.assets.iter().map(|asset| &asset.product);
    for unit in seed.currencies.iter().chain(assets.clone().map(|product| &product.unit)) {
        // A unit that is known stays as it is: amounts are stored in parts of it.
        if !known_units.iter().any(|known| known.code == unit.code) {
            let sql = "INSERT INTO units (code, kind, scale) VALUES ($1, $2, $3) ON CONFLICT (code) DO NOTHING";
            session.exec(sql, &[(&unit.code).into(), unit.kind.as_str().into(), i64::from(unit.scale).into()]).await?;
        }
    }
    for category in &seed.categories {
        if !known_categories.iter().any(|known| (&known.name, &known.title) == (&category.name, &category.title)) {
            let sql = "INSERT INTO categories (name, title) VALUES ($1, $2)
                       ON CONFLICT (name) DO UPDATE SET title = excluded.title";
            session.exec(sql, &[(&category.name).into(), (&category.title).into()]).await?;
        }
    }
    for product in assets {
        let same = |known: &Product| {
            let text = |of: &Product| (of.id.clone(), of.name.clone(), of.description.clone(), of.category.clone());
            text(known) == text(product)
        };
        if !known_products.iter().any(same) {
            save(session, product, now).await?;
        }
    }
    Ok(())
}

async fn save(session: &mut Session, product: &Product, now: Timestamp) -> Result<(), Error> {
    let sql = "INSERT INTO products (id, unit, name, description, category, words, create_time)
               VALUES ($1, $2, $3, $4, $5, $6, $7)
               ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description,
                   category = excluded.category, words = excluded.words";
    let Product { id, unit, name, description, category, .. } = product;
    let binds = [
        id.into(),
        (&unit.code).into(),
        name.into(),
        description.into(),
        category.into(),
        product.words().into(),
        now.into(),
    ];
    session.exec(sql, &binds).await.map(drop)
}

fn read_unit(row: &Row) -> Result<Unit, Error> {
    Ok(Unit { code: row.text(0)?, kind: UnitKind::from_text(&row.text(1)?)?, scale: read_scale(row, 2)? })
}

fn read_product(row: &Row) -> Result<Product, Error> {
    Ok(Product {
        id: row.text(0)?,
        unit: Unit { code: row.text(1)?, kind: UnitKind::Asset, scale: read_scale(row, 2)? },
        name: row.text(3)?,
        description: row.text(4)?,
        category: row.text(5)?,
        create_time: row.time(6)?,
    })
}

fn read_scale(row: &Row, index: usize) -> Result<u8, Error> {
    u8::try_from(row.int(index)?).map_err(Error::internal)
}
