//! Exact quantities: a decimal text on the wire, a whole number of the unit's smallest part (an atom) inside. No floats.

use crate::error::Error;

/// The most decimals that any unit has.
pub const SCALE_MAX: u8 = 8;

/// How a product that falls between two atoms is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Towards positive infinity: what a customer pays.
    Up,
    /// Towards negative infinity: what a customer gets.
    Down,
    /// To the nearest, a tie to the even neighbour: what is only shown.
    HalfEven,
}

/// Reads a decimal text as atoms of a unit with `scale` decimals.
///
/// # Errors
/// `INVALID_FIELD` if the text is no plain decimal number, `SCALE_EXCEEDED` if it has more decimals than the unit,
/// `AMOUNT_OUT_OF_RANGE` if it does not fit.
pub fn parse(value: &str, scale: u8) -> Result<i64, Error> {
    let malformed = || {
        let text: String = value.chars().take(40).collect();
        Error::named("INVALID_FIELD", format!("`{text}` is not a decimal number such as `12.50`."))
    };
    let (negative, digits) = match value.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return Err(malformed()),
        Some((whole, fraction)) => (whole, fraction),
        None => (digits, ""),
    };
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(malformed());
    }
    let significant = fraction.trim_end_matches('0');
    if significant.len() > usize::from(scale) {
        let message = format!("`{value}` has more than the {scale} decimals of its unit.");
        return Err(Error::named("SCALE_EXCEEDED", message).with("scale", scale.to_string()));
    }
    let mut atoms: i128 = 0;
    let padding = usize::from(scale) - significant.len();
    for byte in whole.bytes().chain(significant.bytes()).chain(std::iter::repeat_n(b'0', padding)) {
        atoms = atoms * 10 + i128::from(byte - b'0');
        if atoms > i128::from(i64::MAX) {
            return Err(out_of_range(value));
        }
    }
    i64::try_from(if negative { -atoms } else { atoms }).map_err(|_| out_of_range(value))
}

/// Writes atoms of a unit with `scale` decimals as a decimal text, without trailing zeros beyond two decimals.
pub fn format(atoms: i64, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", atoms.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let kept = fraction.trim_end_matches('0').len().max(scale.min(2));
    let sign = if atoms < 0 { "-" } else { "" };
    match &fraction[..kept] {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}

/// The product of a quantity and a price, in atoms of a unit with `to_scale` decimals.
///
/// # Errors
/// `AMOUNT_OUT_OF_RANGE` if the product does not fit.
pub fn multiply(
    (quantity, quantity_scale): (i64, u8),
    (price, price_scale): (i64, u8),
    to_scale: u8,
    rounding: Rounding,
) -> Result<i64, Error> {
    let product = i128::from(quantity) * i128::from(price);
    let from_scale = u32::from(quantity_scale) + u32::from(price_scale);
    let to_scale = u32::from(to_scale);
    let atoms = if from_scale > to_scale {
        divide(product, 10_i128.pow((from_scale - to_scale).min(38)), rounding)
    } else {
        product.saturating_mul(10_i128.pow((to_scale - from_scale).min(38)))
    };
    i64::try_from(atoms).map_err(|_| out_of_range("The product"))
}

/// `dividend / divisor`, rounded. `divisor` must be positive.
pub fn divide(dividend: i128, divisor: i128, rounding: Rounding) -> i128 {
    let floor = dividend.div_euclid(divisor);
    let rest = dividend.rem_euclid(divisor);
    let up = match rounding {
        Rounding::Down => false,
        Rounding::Up => rest > 0,
        Rounding::HalfEven => {
            let twice = rest.saturating_mul(2);
            twice > divisor || (twice == divisor && floor % 2 != 0)
        }
    };
    floor + i128::from(up)
}

fn out_of_range(what: &str) -> Error {
    Error::named("AMOUNT_OUT_OF_RANGE", format!("{what} is too large for its unit."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimal_texts_become_atoms() {
        for (text, scale, atoms) in [
            ("0", 2, 0),
            ("12.5", 2, 1250),
            ("-12.50", 2, -1250),
            ("0.00000001", 8, 1),
            ("705.00", 0, 705),
            ("92233720368547758.07", 2, i64::MAX),
        ] {
            assert_eq!(parse(text, scale).unwrap(), atoms, "{text}");
        }
        for (text, scale, reason) in [
            ("", 2, "INVALID_FIELD"),
            ("1e5", 2, "INVALID_FIELD"),
            ("1.", 2, "INVALID_FIELD"),
            (".5", 2, "INVALID_FIELD"),
            ("+1", 2, "INVALID_FIELD"),
            ("0.001", 2, "SCALE_EXCEEDED"),
            ("92233720368547758.08", 2, "AMOUNT_OUT_OF_RANGE"),
        ] {
            assert_eq!(parse(text, scale).unwrap_err().reason(), reason, "{text}");
        }
    }

    #[test]
    fn a_product_rounds_as_told() {
        // 0.015 of something at 1.01 is 0.01515.
        let product = |rounding| multiply((15, 3), (101, 2), 2, rounding).unwrap();
        assert_eq!(product(Rounding::Up), 2);
        assert_eq!(product(Rounding::Down), 1);
        assert_eq!(product(Rounding::HalfEven), 2);
        assert_eq!(divide(-5, 2, Rounding::HalfEven), -2);
        assert_eq!(divide(-5, 2, Rounding::Down), -3);
        assert!(multiply((i64::MAX, 0), (i64::MAX, 0), 0, Rounding::Up).is_err());
    }

    proptest! {
        #[test]
        fn every_amount_survives_its_text(atoms: i64, scale in 0u8..=SCALE_MAX) {
            prop_assume!(atoms != i64::MIN);
            prop_assert_eq!(parse(&format(atoms, scale), scale).unwrap(), atoms);
        }
    }
}
