//! The SQL by which goods change. A good and the fact about it are saved in one unit.

use contracts::{
    catalog::v1::{CatalogEvent, catalog_event::Event},
    r#type::v1::Reason,
};
use kit::{Error, Timestamp};
use storage::{Bind, Fact, Session, Unit};

use crate::{
    message,
    product::{self, Form, Product, State, Variant},
};

/// The good with this id, locked until the unit ends.
///
/// # Errors
/// `RESOURCE_NOT_FOUND` if there is none; those of the database, as for every function here.
pub async fn load_for_update(unit: &mut Unit, id: &str) -> Result<Product, Error> {
    const LOCK: &str = "SELECT id FROM products WHERE id = $1";

    let absent = || Error::new(Reason::ResourceNotFound, format!("There is no product `{id}`.")).with("resource", id);
    unit.row_for_update(LOCK, &[id.into()]).await?.ok_or_else(absent)?;
    let now = unit.now();
    super::product(unit, id, now).await?.ok_or_else(absent)
}

/// The good that a variant is a form of, locked until the unit ends.
///
/// # Errors
/// `RESOURCE_NOT_FOUND` if there is no such variant.
pub async fn load_of_variant(unit: &mut Unit, variant: &str) -> Result<Product, Error> {
    let product = product_of(unit, variant).await?;
    load_for_update(unit, &product).await
}

/// The id of the good that a variant is a form of.
///
/// # Errors
/// `RESOURCE_NOT_FOUND` if there is no such variant.
pub async fn product_of(session: &mut Session, variant: &str) -> Result<String, Error> {
    const FIND: &str = "SELECT product_id FROM variants WHERE id = $1";

    let found = session.row(FIND, &[variant.into()]).await?;
    found.ok_or_else(|| crate::edit::no_variant(variant))?.text(0)
}

/// The title of a category; none if there is no such category.
///
/// # Errors
/// See [`load_for_update`].
pub async fn category_title(session: &mut Session, name: &str) -> Result<Option<String>, Error> {
    const FIND: &str = "SELECT title FROM categories WHERE name = $1";

    session.row(FIND, &[name.into()]).await?.map(|row| row.text(0)).transpose()
}

/// Adds goods with the words that a query finds them by, but not their variants. Gives the ids of those that are new.
///
/// # Errors
/// See [`load_for_update`].
pub async fn insert_products(unit: &mut Unit, goods: &[(Product, String)]) -> Result<Vec<String>, Error> {
    if goods.is_empty() {
        return Ok(vec![]);
    }
    let mut binds = vec![];
    for (good, words) in goods {
        let Form::Good(form) = &good.form else { continue };
        binds.extend([
            Bind::from(&good.id),
            good.kind().as_str().into(),
            (&good.name).into(),
            (&good.description).into(),
            (&good.category).into(),
            form.tax_class.as_str().into(),
            good.state.as_str().into(),
            good.version.into(),
            words.into(),
            good.create_time.into(),
            good.update_time.into(),
        ]);
    }
    let sql = format!(
        "INSERT INTO products
           (id, kind, name, description, category, tax_class, state, version, words, create_time, update_time)
         VALUES {} ON CONFLICT (id) DO NOTHING RETURNING id",
        tuples(binds.len() / 11, 11)
    );
    unit.rows_dynamic(sql, &binds).await?.iter().map(|row| row.text(0)).collect()
}

/// The variants of a good, each with the id of the good and its position.
pub fn positioned(good: &Product) -> Vec<(&str, i64, &Variant)> {
    good.variants().iter().zip(1..).map(|(variant, position)| (good.id.as_str(), position, variant)).collect()
}

/// Adds variants, each with the id of its good and its position.
///
/// # Errors
/// `ALREADY_EXISTS_SKU` with the `sku` that another variant has.
pub async fn insert_variants(unit: &mut Unit, variants: &[(&str, i64, &Variant)]) -> Result<(), Error> {
    let mut binds: Vec<Bind> = vec![];
    for (product, position, variant) in variants {
        let Variant { id, sku, title, state, .. } = variant;
        let row = [id.into(), (*product).into(), (*position).into(), sku.into(), title.into(), state.as_str().into()];
        binds.extend(row);
    }
    let sql = format!(
        "INSERT INTO variants (id, product_id, position, sku, title, state) VALUES {}
         ON CONFLICT (sku) DO NOTHING RETURNING sku",
        tuples(variants.len(), 6)
    );
    let saved = unit.rows_dynamic(sql, &binds).await?;
    let saved = saved.iter().map(|row| row.text(0)).collect::<Result<Vec<_>, _>>()?;
    match variants.iter().find(|(_, _, variant)| !saved.contains(&variant.sku)) {
        None => Ok(()),
        Some((.., Variant { sku, .. })) => {
            let message = format!("There is a variant with the SKU `{sku}`. Use another SKU.");
            Err(Error::new(Reason::AlreadyExistsSku, message).with("sku", sku))
        }
    }
}

/// Adds prices that hold from `start` on: variant, currency, atoms. One of the same moment is replaced.
///
/// # Errors
/// See [`load_for_update`].
pub async fn insert_prices(unit: &mut Unit, prices: &[(&str, &str, i64)], start: Timestamp) -> Result<(), Error> {
    if prices.is_empty() {
        return Ok(());
    }
    let mut binds: Vec<Bind> = vec![];
    for (variant, currency, atoms) in prices {
        binds.extend([(*variant).into(), (*currency).into(), start.into(), (*atoms).into()]);
    }
    let sql = format!(
        "INSERT INTO list_prices (variant_id, currency, start_time, atoms) VALUES {}
         ON CONFLICT (variant_id, currency, start_time) DO UPDATE SET atoms = excluded.atoms RETURNING atoms",
        tuples(prices.len(), 4)
    );
    unit.rows_dynamic(sql, &binds).await.map(drop)
}

/// Saves a changed good, but not its variants. Whoever loaded it with [`load_for_update`] is alone with it.
///
/// # Errors
/// `INVALID_FIELD` if there is no such category.
pub async fn save(unit: &mut Unit, good: &Product) -> Result<(), Error> {
    const UPDATE: &str = "UPDATE products SET name = $2, description = $3, category = $4, tax_class = $5, state = $6,
        version = $7, words = $8, update_time = $9 WHERE id = $1";

    let Form::Good(form) = &good.form else { return Err(Error::internal("an asset is not changed by hand")) };
    let words = words(unit, good).await?;
    let binds = [
        (&good.id).into(),
        (&good.name).into(),
        (&good.description).into(),
        (&good.category).into(),
        form.tax_class.as_str().into(),
        good.state.as_str().into(),
        good.version.into(),
        words.into(),
        good.update_time.into(),
    ];
    unit.exec(UPDATE, &binds).await.map(drop)
}

/// The words that a query finds a good by.
///
/// # Errors
/// `INVALID_FIELD` if there is no such category.
pub async fn words(session: &mut Session, good: &Product) -> Result<String, Error> {
    let title = category_title(session, &good.category).await?.ok_or_else(|| no_category("category"))?;
    Ok(good.words(&title))
}

/// Takes variants of a good off sale: one, or all of them.
///
/// # Errors
/// See [`load_for_update`].
pub async fn archive_variants(unit: &mut Unit, product: &str, variant: Option<&str>) -> Result<(), Error> {
    const UPDATE: &str = "UPDATE variants SET state = $3 WHERE product_id = $1 AND ($2 = '' OR id = $2)";

    let binds = [product.into(), variant.unwrap_or_default().into(), State::Archived.as_str().into()];
    unit.exec(UPDATE, &binds).await.map(drop)
}

/// Publishes the fact that made the product's version.
///
/// # Errors
/// `INTERNAL` if the contract names no topic for it.
pub fn publish(unit: &mut Unit, product: &Product, currency: &product::Unit, event: Event) -> Result<(), Error> {
    let message = CatalogEvent { product: Some(message::product(product, currency)), event: Some(event) };
    unit.fact(&Fact { aggregate: &product.id, sequence: product.version, message: &message })
}

/// Refuses a category that is not there.
pub fn no_category(field: &str) -> Error {
    message::invalid(field, "must be the name of a category; `ListCategories` (GET /api/v1/categories) names them all")
}

/// `($1, $2), ($3, $4)`: so many rows of so many parameters.
fn tuples(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let names: Vec<String> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", names.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}
