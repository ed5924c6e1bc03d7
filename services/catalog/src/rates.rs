//! What countries take as tax and what shipping to them costs: the tables `seed/taxes.txt` and `seed/shipping.txt`, read
//! at start and the same on every replica. Goods go to these countries only.

use contracts::r#type::v1::Reason;
use kit::{Error, amount};

use crate::{
    assets::{number, rows, wrong},
    message::invalid,
    product::{TaxClass, Unit},
};

/// A country that goods go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Country {
    /// ISO 3166-1 alpha-2.
    pub code: String,
    /// What its tax is called.
    pub tax_name: String,
    standard_bps: i64,
    reduced_bps: i64,
    /// Currency, what shipping costs, and from which worth of the goods on it is free.
    shipping: Vec<(String, i64, i64)>,
}

/// Every country that goods go to.
#[derive(Clone, Debug)]
pub struct Rates(Vec<Country>);

impl Rates {
    /// Reads the tables.
    ///
    /// # Errors
    /// `INTERNAL` if a line of a table is wrong, which a test rules out.
    pub fn read(currencies: &[Unit]) -> Result<Self, Error> {
        let mut countries = Vec::new();
        for [code, tax_name, standard, reduced] in rows(include_str!("../seed/taxes.txt")) {
            countries.push(Country {
                code: code.into(),
                tax_name: tax_name.into(),
                standard_bps: number(code, standard)?,
                reduced_bps: number(code, reduced)?,
                shipping: vec![],
            });
        }
        for [code, currency, flat, free_from] in rows(include_str!("../seed/shipping.txt")) {
            let country = countries.iter_mut().find(|country| country.code == code);
            let country = country.ok_or_else(|| wrong(code, "country"))?;
            let unit = currencies.iter().find(|unit| unit.code == currency).ok_or_else(|| wrong(code, currency))?;
            let atoms = |text| amount::parse(text, unit.scale).map_err(|error| wrong(code, &error.to_string()));
            country.shipping.push((unit.code.clone(), atoms(flat)?, atoms(free_from)?));
        }
        Ok(Self(countries))
    }

    /// The country with this code.
    ///
    /// # Errors
    /// `INVALID_FIELD`, which names those that goods go to.
    pub fn country(&self, code: &str) -> Result<&Country, Error> {
        self.0.iter().find(|country| country.code == code).ok_or_else(|| {
            let codes: Vec<&str> = self.0.iter().map(|country| country.code.as_str()).collect();
            invalid("basket.country_code", &format!("must be one of {}", codes.join(", ")))
        })
    }
}

impl Country {
    /// The rate of a class, in basis points.
    pub fn tax_bps(&self, class: TaxClass) -> i64 {
        match class {
            TaxClass::Standard => self.standard_bps,
            TaxClass::Reduced => self.reduced_bps,
            TaxClass::Exempt => 0,
        }
    }

    /// What shipping goods worth `net` costs, before tax, in atoms of the currency.
    ///
    /// # Errors
    /// `UNIT_MISMATCH` if it has no price in this currency.
    pub fn shipping(&self, currency: &Unit, net: i128) -> Result<i64, Error> {
        let found = self.shipping.iter().find(|(code, ..)| *code == currency.code);
        let (_, flat, free_from) = found.ok_or_else(|| {
            let known: Vec<&str> = self.shipping.iter().map(|(code, ..)| code.as_str()).collect();
            let message = format!("Shipping cannot be paid in {}. Use one of {}.", currency.code, known.join(", "));
            Error::new(Reason::UnitMismatch, message).with("unit", &currency.code).at("basket.currency")
        })?;
        Ok(if net >= i128::from(*free_from) { 0 } else { *flat })
    }
}

/// A rate as people write it: 1900 is `19 %`, 550 is `5.5 %`.
pub fn percent(bps: i64) -> String {
    let text = format!("{}.{:02}", bps / 100, bps % 100);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assets::Seed;

    #[test]
    fn every_country_taxes_and_is_shipped_to_in_every_currency() {
        let currencies = Seed::read().unwrap().currencies;
        let rates = Rates::read(&currencies).unwrap();
        let bps = |code: &str| {
            let country = rates.country(code).unwrap();
            [TaxClass::Standard, TaxClass::Reduced, TaxClass::Exempt].map(|class| country.tax_bps(class))
        };
        assert_eq!(bps("DE"), [1_900, 700, 0]);
        assert_eq!(bps("FR"), [2_000, 550, 0]);
        assert_eq!(bps("US"), [0, 0, 0]);
        for country in &rates.0 {
            for currency in &currencies {
                let (flat, free_from) = (country.shipping(currency, 0).unwrap(), i128::from(i64::MAX));
                assert!(flat > 0, "{} {}", country.code, currency.code);
                assert_eq!(country.shipping(currency, free_from).unwrap(), 0);
            }
        }
    }

    #[test]
    fn another_country_or_currency_is_refused_with_those_that_work() {
        crate::tests::install_contract();
        let rates = Rates::read(&Seed::read().unwrap().currencies).unwrap();
        let refused = rates.country("XX").unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("field")), ("INVALID_FIELD", Some("basket.country_code")));
        assert!(refused.message().contains("DE, FR, NL, US, GB, CH"), "{}", refused.message());
        let krone = Unit { code: "DKK".into(), kind: crate::product::UnitKind::Fiat, scale: 2 };
        let refused = rates.country("DE").unwrap().shipping(&krone, 1).unwrap_err();
        assert_eq!((refused.reason(), refused.metadata("unit")), ("UNIT_MISMATCH", Some("DKK")));
    }

    #[test]
    fn a_rate_is_written_without_zeros_at_its_end() {
        for (bps, text) in [(1_900, "19 %"), (550, "5.5 %"), (2_000, "20 %"), (810, "8.1 %"), (825, "8.25 %")] {
            assert_eq!(percent(bps), text);
        }
    }
}
