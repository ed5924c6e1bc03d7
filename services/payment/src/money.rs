//! Amounts of one currency, as whole numbers of its smallest part (atoms).

use contracts::r#type::v1::{Amount, Reason};
use kit::{Error, amount};

/// What a payment is counted in. Its decimals are those with which the order wrote the total, so that nothing has to be
/// asked of the catalog: orders write every decimal that their currency has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Currency {
    /// Its code, such as `USD`.
    pub code: String,
    /// How many decimals an atom is worth.
    pub scale: u8,
}

impl Currency {
    /// The currency of an amount that is written out.
    pub fn of(amount: &Amount) -> Self {
        let decimals = amount.value.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let scale = u8::try_from(decimals).unwrap_or(amount::SCALE_MAX).min(amount::SCALE_MAX);
        Self { code: amount.unit.clone(), scale }
    }

    /// Reads a positive amount of this currency as atoms.
    ///
    /// # Errors
    /// `UNIT_MISMATCH`, `SCALE_EXCEEDED`, `AMOUNT_OUT_OF_RANGE`, `INVALID_FIELD`.
    pub fn parse(&self, amount: &Amount) -> Result<i64, Error> {
        if amount.unit != self.code {
            let message = format!("The payment is in {}. Name an amount of the same unit.", self.code);
            return Err(Error::new(Reason::UnitMismatch, message).with("unit", &self.code));
        }
        let atoms = amount::parse(&amount.value, self.scale).map_err(|error| error.with("unit", &self.code))?;
        if atoms <= 0 {
            let message = "The amount must be more than zero.";
            return Err(Error::new(Reason::AmountOutOfRange, message).with("unit", &self.code));
        }
        Ok(atoms)
    }

    /// Writes atoms as an amount.
    pub fn show(&self, atoms: i64) -> Amount {
        Amount { value: amount::format(atoms, self.scale), unit: self.code.clone() }
    }
}
