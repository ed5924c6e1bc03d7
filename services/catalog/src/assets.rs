//! What is in the catalogue from the first start on. The tables are text files in `seed/`, one row a line.

use kit::{Error, Timestamp, amount};

use crate::{
    goods::{self, Stocked},
    product::{Category, Form, Product, State, Unit, UnitKind},
};

/// The currency of every price.
pub const CURRENCY: &str = "USD";
/// The decimals of a price, whatever its currency.
pub const PRICE_SCALE: u8 = 8;

/// An asset of the seed: a product, and where the demo feed lets its price start.
#[derive(Clone, Debug)]
pub struct Asset {
    /// The product. It has no time of creation yet.
    pub product: Product,
    /// What amounts of it are counted in.
    pub unit: Unit,
    /// Where its price starts, in atoms of a price.
    pub start_price: i64,
    /// How far its price swings around the start.
    pub swing_bps: u32,
}

/// The whole seed.
#[derive(Clone, Debug, Default)]
pub struct Seed {
    /// The currencies.
    pub currencies: Vec<Unit>,
    /// The categories, those of goods too.
    pub categories: Vec<Category>,
    /// The assets.
    pub assets: Vec<Asset>,
    /// The goods.
    pub goods: Vec<Stocked>,
}

impl Seed {
    /// Reads the tables.
    ///
    /// # Errors
    /// `INTERNAL` if a line of a table is wrong, which a test rules out.
    pub fn read() -> Result<Self, Error> {
        let currencies = rows(include_str!("../seed/units.txt"))
            .map(|[code, scale]| Ok(Unit { code: code.into(), kind: UnitKind::Fiat, scale: number(code, scale)? }))
            .collect::<Result<_, Error>>()?;
        let mut categories = Vec::new();
        let mut swings = Vec::new();
        for [name, title, swing] in rows(include_str!("../seed/categories.txt")) {
            categories.push(Category { name: name.into(), title: title.into(), product_count: 0 });
            swings.push((name, number(name, swing)?));
        }
        let assets = rows(include_str!("../seed/assets.txt"))
            .map(|row| {
                let swing = swings.iter().find(|(name, _)| *name == row[0]).ok_or_else(|| wrong(row[1], "category"))?;
                asset(row, swing.1)
            })
            .collect::<Result<_, Error>>()?;
        categories.extend(goods::categories());
        Ok(Self { currencies, categories, assets, goods: goods::read()? })
    }
}

fn asset([category, code, name, scale, price, description]: [&str; 6], swing_bps: u32) -> Result<Asset, Error> {
    let unit = Unit { code: code.into(), kind: UnitKind::Asset, scale: number(code, scale)? };
    let product = Product {
        id: kit::id::derive("prd", "catalog", code),
        form: Form::Asset(unit.clone()),
        name: name.into(),
        description: description.into(),
        category: category.into(),
        state: State::Active,
        version: 1,
        create_time: Timestamp::default(),
        update_time: Timestamp::default(),
    };
    let start_price = amount::parse(price, PRICE_SCALE).map_err(|error| wrong(code, &error.to_string()))?;
    Ok(Asset { product, unit, start_price, swing_bps })
}

/// The rows of a table: columns between `|`, lines that begin with `#` left out. A row of another width comes out empty
/// and is refused by whoever reads its first number.
pub(crate) fn rows<const N: usize>(table: &str) -> impl Iterator<Item = [&str; N]> {
    table.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        columns.try_into().unwrap_or([""; N])
    })
}

pub(crate) fn number<T: std::str::FromStr>(of: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|_| wrong(of, text))
}

pub(crate) fn wrong(row: &str, what: &str) -> Error {
    Error::internal(format!("the seed of `{row}` is wrong: {what}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_seed_has_more_than_a_hundred_assets_in_many_categories() {
        let seed = Seed::read().unwrap();
        assert!(seed.assets.len() >= 110);
        assert!(seed.categories.len() >= 8);
        let used: BTreeSet<_> = seed.assets.iter().map(|asset| asset.product.category.as_str()).collect();
        let goods: BTreeSet<_> = seed.goods.iter().map(|good| good.product.category.as_str()).collect();
        let named: BTreeSet<_> = seed.categories.iter().map(|category| category.name.as_str()).collect();
        assert_eq!(used.union(&goods).copied().collect::<BTreeSet<_>>(), named);
        assert!(used.is_disjoint(&goods));
        assert!(seed.currencies.iter().any(|unit| unit.code == CURRENCY && unit.scale == 2));
    }

    #[test]
    fn every_unit_of_the_seed_is_one_that_the_contract_takes() {
        let seed = Seed::read().unwrap();
        let units: Vec<&Unit> = seed.currencies.iter().chain(seed.assets.iter().map(|asset| &asset.unit)).collect();
        let distinct: BTreeSet<_> = units.iter().map(|unit| &unit.code).collect();
        assert_eq!(distinct.len(), units.len());
        for unit in units {
            assert!((2..=12).contains(&unit.code.len()), "{}", unit.code);
            assert!(unit.code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()));
            assert!(unit.scale <= amount::SCALE_MAX);
        }
        assert!(seed.assets.iter().all(|asset| asset.start_price > 100 && asset.product.description.ends_with('.')));
    }
}
