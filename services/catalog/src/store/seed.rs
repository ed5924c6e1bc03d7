//! Puts the seed into the database.

use contracts::catalog::v1::{ProductCreated, catalog_event::Event};
use kit::{Error, Timestamp};
use storage::Unit;

use super::{UNITS_MAX, assets, categories, goods, units};
use crate::{
    assets::Seed,
    goods::Stocked,
    product::{self, Product},
};

/// Saves what of the seed is missing. An asset or a category that has changed is mended, but for its id and its time of
/// creation; a good is left to the admins once it is there.
///
/// # Errors
/// Those of the database; so for every function here.
pub async fn save(unit: &mut Unit, seed: &Seed, currency: &product::Unit) -> Result<(), Error> {
    save_units(unit, seed).await?;
    save_categories(unit, seed).await?;
    save_assets(unit, seed).await?;
    save_goods(unit, seed, currency).await
}

async fn save_units(unit: &mut Unit, seed: &Seed) -> Result<(), Error> {
    const INSERT: &str = "INSERT INTO units (code, kind, scale) VALUES ($1, $2, $3) ON CONFLICT (code) DO NOTHING";

    let known = units(unit).await?;
    for new in seed.currencies.iter().chain(seed.assets.iter().map(|asset| &asset.unit)) {
        // A unit that is known stays as it is: amounts are stored in parts of it.
        if !known.iter().any(|known| known.code == new.code) {
            unit.exec(INSERT, &[(&new.code).into(), new.kind.as_str().into(), i64::from(new.scale).into()]).await?;
        }
    }
    Ok(())
}

async fn save_categories(unit: &mut Unit, seed: &Seed) -> Result<(), Error> {
    const SAVE: &str = "INSERT INTO categories (name, title) VALUES ($1, $2)
        ON CONFLICT (name) DO UPDATE SET title = excluded.title";

    let known = categories(unit).await?;
    for category in &seed.categories {
        if !known.iter().any(|known| (&known.name, &known.title) == (&category.name, &category.title)) {
            unit.exec(SAVE, &[(&category.name).into(), (&category.title).into()]).await?;
        }
    }
    Ok(())
}

async fn save_assets(unit: &mut Unit, seed: &Seed) -> Result<(), Error> {
    let known = assets(unit, "", "", UNITS_MAX).await?;
    let now = unit.now();
    for product in seed.assets.iter().map(|asset| &asset.product) {
        let same = |known: &Product| {
            let text = |of: &Product| (of.id.clone(), of.name.clone(), of.description.clone(), of.category.clone());
            text(known) == text(product)
        };
        if !known.iter().any(same) {
            save_asset(unit, product, now).await?;
        }
    }
    Ok(())
}

async fn save_asset(unit: &mut Unit, product: &Product, now: Timestamp) -> Result<(), Error> {
    const SAVE: &str = "INSERT INTO products
        (id, kind, unit, name, description, category, state, version, words, create_time, update_time)
        VALUES ($1, 'ASSET', $2, $3, $4, $5, 'ACTIVE', 1, $6, $7, $7)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description,
            category = excluded.category, words = excluded.words, version = products.version + 1,
            update_time = excluded.update_time";

    let product::Form::Asset(of) = &product.form else { return Ok(()) };
    let binds = [
        (&product.id).into(),
        (&of.code).into(),
        (&product.name).into(),
        (&product.description).into(),
        (&product.category).into(),
        product.words("").into(),
        now.into(),
    ];
    unit.exec(SAVE, &binds).await.map(drop)
}

async fn save_goods(unit: &mut Unit, seed: &Seed, currency: &product::Unit) -> Result<(), Error> {
    let now = unit.now();
    let title = |good: &Stocked| {
        let found = seed.categories.iter().find(|category| category.name == good.product.category);
        found.map_or("", |category| category.title.as_str())
    };
    let drafts: Vec<(Product, String)> = seed
        .goods
        .iter()
        .map(|good| {
            let mut product = Product { create_time: now, update_time: now, ..good.product.clone() };
            if let product::Form::Good(form) = &mut product.form {
                for variant in &mut form.variants {
                    let price = good.prices.iter().find(|(id, code, _)| *id == variant.id && *code == currency.code);
                    variant.list_price = price.map(|(.., atoms)| *atoms);
                }
            }
            let words = product.words(title(good));
            (product, words)
        })
        .collect();
    // Replicas that seed at once meet here: whoever is first saves a good, and only they go on with it.
    let saved = goods::insert_products(unit, &drafts).await?;
    let new: Vec<&Product> = drafts.iter().map(|(product, _)| product).filter(|one| saved.contains(&one.id)).collect();
    if new.is_empty() {
        return Ok(());
    }
    let variants = new.iter().flat_map(|product| goods::positioned(product)).collect::<Vec<_>>();
    goods::insert_variants(unit, &variants).await?;
    let prices = seed.goods.iter().filter(|good| saved.contains(&good.product.id)).flat_map(|good| &good.prices);
    let prices: Vec<_> = prices.map(|(variant, code, atoms)| (variant.as_str(), *code, *atoms)).collect();
    goods::insert_prices(unit, &prices, now).await?;
    for product in new {
        goods::publish(unit, product, currency, Event::ProductCreated(ProductCreated {}))?;
    }
    Ok(())
}
