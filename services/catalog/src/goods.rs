//! The goods of the demo, from `seed/goods.txt` and `seed/variants.txt`. Every id is derived from a code or a SKU, so
//! that a restart, every replica and whoever keeps the stock agree on it.

use kit::{Error, Timestamp, amount};

use crate::{
    assets::{number, rows, wrong},
    product::{Category, Form, Good, Kind, Product, State, TaxClass, Variant},
};

/// The currencies of the seeded prices, and their decimals.
const CURRENCIES: [(&str, u8); 2] = [("USD", 2), ("EUR", 2)];

/// A good of the seed.
#[derive(Clone, Debug)]
pub struct Stocked {
    /// The good. It has no time of creation yet.
    pub product: Product,
    /// What its variants cost: variant, currency, atoms.
    pub prices: Vec<(String, &'static str, i64)>,
    /// How many pieces of its variants there are at the start; none for what never runs out.
    pub stock: Vec<SeededVariant>,
}

/// A variant that is kept in stock, and how much of it a demo begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededVariant {
    /// The variant, `var_…`.
    pub variant_id: String,
    /// Its SKU.
    pub sku: String,
    /// How many pieces there are at the start.
    pub quantity: i64,
}

/// The variants of the demo that are kept in stock.
///
/// # Errors
/// `INTERNAL` if a line of a table is wrong, which a test rules out.
pub fn seeded_variants() -> Result<Vec<SeededVariant>, Error> {
    Ok(read()?.into_iter().flat_map(|good| good.stock).collect())
}

/// The categories of the goods.
pub(crate) fn categories() -> Vec<Category> {
    let category = |[name, title]: [&str; 2]| Category { name: name.into(), title: title.into(), product_count: 0 };
    rows(include_str!("../seed/departments.txt")).map(category).collect()
}

/// Every good of the seed.
pub(crate) fn read() -> Result<Vec<Stocked>, Error> {
    let variants: Vec<[&str; 6]> = rows(include_str!("../seed/variants.txt")).collect();
    let good = |row: [&str; 6]| {
        let of = variants.iter().filter(|variant| variant[0] == row[1]);
        good(row, of)
    };
    rows(include_str!("../seed/goods.txt")).map(good).collect()
}

fn good<'a>(
    [category, code, kind, tax_class, name, description]: [&str; 6],
    rows: impl Iterator<Item = &'a [&'a str; 6]>,
) -> Result<Stocked, Error> {
    let (mut variants, mut prices, mut stock) = (vec![], vec![], vec![]);
    for [_, sku, title, usd, eur, pieces] in rows {
        let id = kit::id::derive("var", "catalog", sku);
        for ((currency, scale), text) in CURRENCIES.into_iter().zip([usd, eur]) {
            let atoms = amount::parse(text, scale).map_err(|error| wrong(sku, &error.to_string()))?;
            prices.push((id.clone(), currency, atoms));
        }
        if *pieces != "-" {
            stock.push(SeededVariant { variant_id: id.clone(), sku: (*sku).into(), quantity: number(sku, pieces)? });
        }
        let (sku, title) = ((*sku).into(), (*title).into());
        variants.push(Variant { id, sku, title, state: State::Active, list_price: None });
    }
    let physical = Kind::from_text(kind)? == Kind::PhysicalGood;
    let product = Product {
        id: kit::id::derive("prd", "catalog", &format!("good {code}")),
        form: Form::Good(Good { physical, tax_class: TaxClass::from_text(tax_class)?, variants }),
        name: name.into(),
        description: description.into(),
        category: category.into(),
        state: State::Active,
        version: 1,
        create_time: Timestamp::default(),
        update_time: Timestamp::default(),
    };
    Ok(Stocked { product, prices, stock })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_seed_has_sixty_goods_in_eight_categories_with_one_to_four_variants_each() {
        let goods = read().unwrap();
        assert_eq!((goods.len(), categories().len()), (60, 8));
        let ids: BTreeSet<&str> = goods.iter().map(|good| good.product.id.as_str()).collect();
        assert_eq!(ids.len(), 60);
        let variants: Vec<&Variant> = goods.iter().flat_map(|good| good.product.variants()).collect();
        let skus: BTreeSet<&str> = variants.iter().map(|variant| variant.sku.as_str()).collect();
        assert_eq!(skus.len(), variants.len(), "no SKU is there twice");
        let rows = rows::<6>(include_str!("../seed/variants.txt")).count();
        assert_eq!(rows, variants.len(), "every variant has a good");
        for good in &goods {
            let count = good.product.variants().len();
            assert!((1..=4).contains(&count), "{}", good.product.name);
            assert_eq!(good.prices.len(), count * 2);
            assert!(good.prices.iter().all(|(.., atoms)| *atoms > 0));
            assert!(good.product.description.ends_with('.'), "{}", good.product.name);
            let physical = good.product.kind() == Kind::PhysicalGood;
            assert_eq!(good.stock.len(), if physical { count } else { 0 }, "{}", good.product.name);
        }
    }

    #[test]
    fn every_sku_is_one_that_the_contract_takes_and_gives_the_id_of_its_variant() {
        for good in read().unwrap() {
            for variant in good.product.variants() {
                let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
                assert!((2..=40).contains(&variant.sku.len()) && variant.sku.bytes().all(plain), "{}", variant.sku);
                assert_eq!(variant.id, kit::id::derive("var", "catalog", &variant.sku));
            }
        }
        let stocked = seeded_variants().unwrap();
        assert!(stocked.len() > 80 && stocked.iter().all(|variant| variant.quantity > 0));
    }
}
