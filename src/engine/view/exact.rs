//! A sum of floats without an error: what was added and taken away again leaves no trace, and the same numbers give the
//! same bits in whatever order they came.
//!
//! After J. R. Shewchuk, "Adaptive Precision Floating-Point Arithmetic and Fast Robust Geometric Predicates" (1997): the
//! sum is kept as floats that do not overlap, from the smallest to the largest; rounded once, as in Python's `math.fsum`.

use crate::engine::sabotage::sabotaged;

/// An exact sum. Values are at most 2⁵³ in size (`Value::number`), so nothing here overflows.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum(Vec<f64>);

impl Sum {
    /// Adds a number; a negative one takes it away.
    pub(super) fn add(&mut self, number: f64) {
        let mut carried = number;
        let mut kept = 0;
        for at in 0..self.0.len() {
            let (sum, rest) = two_sum(carried, self.0[at]);
            if rest != 0.0 {
                self.0[kept] = rest;
                kept += 1;
            }
            carried = sum;
        }
        self.0.truncate(kept);
        if carried != 0.0 {
            self.0.push(carried);
        }
        if sabotaged!(FigureDrift) {
            self.0 = vec![self.rounded()];
        }
    }

    /// Returns the float nearest to the sum, the even one of two.
    pub(super) fn rounded(&self) -> f64 {
        let mut parts = self.0.iter().rev().copied();
        let mut sum = parts.next().unwrap_or(0.0);
        let mut rest = 0.0;
        for part in parts.by_ref() {
            (sum, rest) = two_sum(sum, part);
            if rest != 0.0 {
                break;
            }
        }
        // Half-way between two floats, what is still smaller decides.
        if let Some(next) = parts.next()
            && ((rest < 0.0 && next < 0.0) || (rest > 0.0 && next > 0.0))
        {
            let doubled = rest * 2.0;
            let up = sum + doubled;
            #[expect(clippy::float_cmp, reason = "equal to the last bit is what is asked")]
            if doubled == up - sum {
                return up;
            }
        }
        sum
    }
}

/// The sum of two floats, rounded, and what the rounding lost: together they are exact.
fn two_sum(one: f64, other: f64) -> (f64, f64) {
    let sum = one + other;
    let virtual_other = sum - one;
    let virtual_one = sum - virtual_other;
    (sum, (one - virtual_one) + (other - virtual_other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(numbers: &[f64]) -> Sum {
        let mut sum = Sum::default();
        for number in numbers {
            sum.add(*number);
        }
        sum
    }

    #[test]
    fn what_is_lost_in_plain_addition_is_kept() {
        assert_eq!(sum(&[0.1; 10]).rounded().to_bits(), 1.0_f64.to_bits());
        assert_eq!(sum(&[9e15, 0.1, -9e15]).rounded().to_bits(), 0.1_f64.to_bits());
        assert_eq!(sum(&[]).rounded().to_bits(), 0.0_f64.to_bits());
        assert_eq!(sum(&[5e-324, 1.0, -1.0]).rounded().to_bits(), 5e-324_f64.to_bits());
    }

    #[test]
    fn a_half_is_rounded_by_what_is_smaller_still() {
        let (one, half, tiny) = (1.0_f64, 2.0_f64.powi(-53), 2.0_f64.powi(-110));
        assert_eq!(sum(&[one, half]).rounded().to_bits(), one.to_bits());
        assert_eq!(sum(&[one, half, tiny]).rounded().to_bits(), (one + f64::EPSILON).to_bits());
        assert_eq!(sum(&[one, half, -tiny]).rounded().to_bits(), one.to_bits());
        assert_eq!(sum(&[-one, -half, -tiny]).rounded().to_bits(), (-one - f64::EPSILON).to_bits());
    }

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            -9_007_199_254_740_991.0..9_007_199_254_740_991.0,
            -1.0..1.0_f64,
            (-9i32..9, -900i32..50).prop_map(|(n, power)| f64::from(n) * 2.0_f64.powi(power)),
        ]
    }

    proptest! {
        #[test]
        fn the_order_of_adding_and_taking_away_changes_no_bit(
            kept in proptest::collection::vec(number(), 0..40),
            gone in proptest::collection::vec(number(), 0..40),
        ) {
            let mut other = sum(&gone);
            for number in kept.iter().rev().copied().chain(gone.iter().map(|number| -number)) {
                other.add(number);
            }
            prop_assert_eq!(other.rounded().to_bits(), sum(&kept).rounded().to_bits());
        }

        #[test]
        fn whole_numbers_sum_as_whole_numbers_do(numbers in proptest::collection::vec(-9_007_199_254_740_991i64..9_007_199_254_740_991, 0..60)) {
            #[expect(clippy::cast_precision_loss)]
            let floats: Vec<f64> = numbers.iter().map(|number| *number as f64).collect();
            #[expect(clippy::cast_precision_loss)] // the cast rounds to the nearest, even on ties, as the sum must
            let expected = numbers.iter().map(|number| i128::from(*number)).sum::<i128>() as f64;
            prop_assert_eq!(sum(&floats).rounded().to_bits(), (expected + 0.0).to_bits());
        }
    }
}
