//! A price that wanders. A random walk built from coarse to fine, as Lévy built Brownian motion: the sum of noises of
//! ever shorter periods, each with an amplitude that goes with the root of its period. The walk at an instant is so a
//! function of the instant and the seed: every replica sees the same price, a restart does not make it jump, yesterday's
//! price is known, and it can never leave its band. Integers only. Pure.

use kit::{
    Timestamp,
    amount::{Rounding, divide},
};

/// The longest period is 2^19 s, about six days; the shortest is one second.
const OCTAVES: u32 = 20;
/// Noise runs from -ONE to ONE.
const ONE: i128 = 1 << 30;
/// The root of one half, out of 256: what an octave has of the amplitude of the next longer one.
const ROOT_OF_HALF: i128 = 181;
const PER_BPS: i128 = 10_000;
/// A swing beyond this could take a price to zero, since the octaves together reach 3.5 times as far.
const SWING_MAX_BPS: u32 = 2_000;
/// Prices are shown with seven significant digits.
const DIGITS: u32 = 7;

/// The walk of one price.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    start: i64,
    swing_bps: u32,
    seed: u64,
}

impl Walk {
    /// A walk around `start`, in atoms. `swing_bps` is the amplitude of the longest octave, cut to 2,000. Walks of
    /// different names share nothing but the seed.
    pub fn new(seed: u64, name: &str, start: i64, swing_bps: u32) -> Self {
        let named = name.bytes().fold(seed, |hash, byte| mix(hash ^ u64::from(byte)));
        Self { start: start.max(1), swing_bps: swing_bps.min(SWING_MAX_BPS), seed: named }
    }

    /// The price at `time`, in atoms, never below one.
    pub fn price(&self, time: Timestamp) -> i64 {
        let mut amplitude = i128::from(self.swing_bps) * ONE;
        let mut offset = 0;
        for octave in (0..OCTAVES).rev() {
            offset += amplitude * self.noise(octave, time) / ONE;
            amplitude = amplitude * ROOT_OF_HALF / 256;
        }
        let start = i128::from(self.start);
        let price = start + divide(start * offset, ONE * PER_BPS, Rounding::HalfEven);
        to_tick(price, self.start, Rounding::HalfEven)
    }

    /// The noise of an octave, a straight line between two drawn values.
    fn noise(&self, octave: u32, time: Timestamp) -> i128 {
        let period = 1_000_000_i64 << octave;
        let (index, into) = (time.micros().div_euclid(period), time.micros().rem_euclid(period));
        let (from, to) = (self.drawn(octave, index), self.drawn(octave, index + 1));
        from + (to - from) * i128::from(into) / i128::from(period)
    }

    fn drawn(&self, octave: u32, index: i64) -> i128 {
        let bits = mix(mix(self.seed ^ u64::from(octave)) ^ index.cast_unsigned());
        i128::from(bits >> 33) - ONE
    }
}

/// What one may sell and buy at around `price`, half of `spread_bps` away on either side and never together.
pub fn spread(price: i64, spread_bps: u32) -> (i64, i64) {
    let half = i128::from(price) * i128::from(spread_bps.clamp(1, 5_000));
    let middle = i128::from(price) * 2 * PER_BPS;
    let bid = divide(middle - half, 2 * PER_BPS, Rounding::Down);
    let ask = divide(middle + half, 2 * PER_BPS, Rounding::Up);
    (to_tick(bid, price, Rounding::Down), to_tick(ask, price, Rounding::Up))
}

/// `price` as a multiple of the step that gives a price like `alike` seven significant digits.
fn to_tick(price: i128, alike: i64, rounding: Rounding) -> i64 {
    let step = 10_i128.pow(alike.max(1).ilog10().saturating_sub(DIGITS - 1));
    let rounded = divide(price, step, rounding) * step;
    i64::try_from(rounded.max(1)).unwrap_or(i64::MAX)
}

/// The finalizer of SplitMix64: every bit of the input moves every bit of the output.
fn mix(input: u64) -> u64 {
    let mut bits = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: i64 = 6_725_000_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + seconds)
    }

    #[test]
    fn the_same_seed_gives_the_same_walk_and_another_seed_or_name_another() {
        let path = |seed, name| (0..50).map(|s| Walk::new(seed, name, START, 400).price(at(s))).collect::<Vec<_>>();
        assert_eq!(path(7, "BTC"), path(7, "BTC"));
        assert_ne!(path(7, "BTC"), path(8, "BTC"));
        assert_ne!(path(7, "BTC"), path(7, "ETH"));
    }

    #[test]
    fn a_price_moves_every_second_a_little_and_over_days_a_lot() {
        let walk = Walk::new(7, "BTC", START, 400);
        let prices: Vec<i64> = (0..10_000).map(|s| walk.price(at(s))).collect();
        let step_max = prices.windows(2).map(|pair| (pair[1] - pair[0]).abs()).max().unwrap();
        assert!(prices.windows(2).filter(|pair| pair[0] != pair[1]).count() > 9_900);
        assert!(step_max < START / 1_000, "no second moves a price by 10 bps: {step_max}");
        let days: Vec<i64> = (0..60).map(|day| walk.price(at(day * 86_400))).collect();
        assert!(days.iter().max().unwrap() - days.iter().min().unwrap() > START / 50);
    }

    #[test]
    fn a_spread_keeps_bid_and_ask_apart() {
        assert_eq!(spread(START, 10), (6_721_637_000_000, 6_728_363_000_000));
        assert_eq!(spread(1_000, 10), (999, 1_001));
        assert_eq!(spread(1, 10), (1, 2));
    }

    #[test]
    fn prices_have_seven_significant_digits() {
        let walk = Walk::new(7, "BTC", START, 400);
        assert!((0..1_000).all(|s| walk.price(at(s)) % 1_000_000 == 0));
    }

    proptest! {
        #[test]
        fn a_price_never_leaves_its_band(seed: u64, start in 1..=i64::MAX / 4, swing in 0u32..=5_000, micros: i64) {
            let price = Walk::new(seed, "X", start, swing).price(Timestamp::from_micros(micros));
            let band = i128::from(start) * i128::from(swing.min(SWING_MAX_BPS)) * 35 / 100_000 + i128::from(start) / 100;
            prop_assert!(price >= 1);
            prop_assert!((i128::from(price) - i128::from(start)).abs() <= band + 2);
        }

        #[test]
        fn bid_is_below_ask_whatever_the_price(price in 1..=i64::MAX / 4, bps in 0u32..=20_000) {
            let (bid, ask) = spread(price, bps);
            prop_assert!(1 <= bid && bid < ask);
            prop_assert!(bid <= price && price <= ask);
        }
    }
}
