//! The RPCs: parse, load, decide, save, reply. No rule and no SQL.

mod ledger;
mod wallet;

use contracts::{
    ledger::v1::{LedgerEvent, ledger_event::Event},
    r#type::v1::{Amount, Reason},
};
use kit::{Error, amount, units::Unit};
use storage::Fact;

use crate::Service;

impl Service {
    /// Reads an amount as atoms of its unit.
    async fn parse(&self, amount: Option<Amount>) -> Result<(String, Unit, i64), Error> {
        let Amount { value, unit: code } = amount.unwrap_or_default();
        let unit = self.0.units.get(&code).await?;
        let atoms = amount::parse(&value, unit.scale).map_err(|error| error.with("unit", &code))?;
        Ok((code, unit, atoms))
    }

    /// Reads the `amount` of a deposit or a withdrawal: a positive one of a currency.
    async fn parse_money(&self, amount: Option<Amount>) -> Result<(String, Unit, i64), Error> {
        let at = |refusal: Error| refusal.at_amount("amount");
        let (code, unit, atoms) = self.parse_positive(amount).await.map_err(at)?;
        if !unit.fiat {
            let message = format!("{code} is no currency. Only money comes in and goes out here.");
            return Err(at(Error::new(Reason::UnitMismatch, message).with("unit", code)));
        }
        Ok((code, unit, atoms))
    }

    /// Reads a positive amount.
    async fn parse_positive(&self, amount: Option<Amount>) -> Result<(String, Unit, i64), Error> {
        let (code, unit, atoms) = self.parse(amount).await?;
        if atoms <= 0 {
            let message = "The amount must be more than zero.";
            return Err(Error::new(Reason::AmountOutOfRange, message).with("unit", code));
        }
        Ok((code, unit, atoms))
    }

    /// Writes atoms of a unit as an amount.
    async fn show(&self, code: &str, atoms: i64) -> Result<Option<Amount>, Error> {
        Ok(Some(money(code, self.0.units.get(code).await?, atoms)))
    }
}

fn money(code: &str, unit: Unit, atoms: i64) -> Amount {
    Amount { value: amount::format(atoms, unit.scale), unit: code.to_owned() }
}

/// Publishes a fact about money or holdings.
fn tell(unit: &mut storage::Unit, about: &str, sequence: i64, event: Event) -> Result<(), Error> {
    let message = LedgerEvent { aggregate_id: about.to_owned(), event: Some(event) };
    unit.fact(&Fact { aggregate: about, sequence, message: &message })
}

fn not_found(what: &str, id: &str) -> Error {
    let message = format!("There is no {what} {id}, or it is not yours.");
    Error::new(Reason::ResourceNotFound, message).with("resource", id)
}
