//! Chance without state: each number is a hash of what it is about.
//!
//! So what happens to a call does not depend on which calls were made before, and two policies that are compared meet the
//! same bursts, the same stalls and the same answer times.

/// The source of a world's chance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice {
    seed: u64,
}

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// A number that depends on the seed and on all of `about`, in this order.
    pub(crate) fn number(self, about: &[u64]) -> u64 {
        about
            .iter()
            .fold(mix(self.seed), |state, part| mix(state ^ mix(*part)))
    }

    /// From 0 to 1, without either.
    pub(crate) fn unit(self, about: &[u64]) -> f64 {
        ((self.number(about) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Whether something of this probability happens.
    pub(crate) fn happens(self, probability: f64, about: &[u64]) -> bool {
        self.unit(about) < probability
    }

    /// Exponentially distributed, with this mean.
    pub(crate) fn exponential(self, mean: f64, about: &[u64]) -> f64 {
        -mean * self.unit(about).ln()
    }

    /// Log-normally distributed: half of all are below the median, two thirds within a factor of e^`spread` of it.
    pub(crate) fn log_normal(self, median: f64, spread: f64, about: &[u64]) -> f64 {
        if spread == 0.0 {
            return median;
        }
        // The transform of Box and Muller.
        let again = self.number(about);
        let (a, b) = (self.unit(about), self.unit(&[again, 1]));
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        median * (spread * normal).exp()
    }
}

/// The number of a name: it stays the same whatever else is in the pool.
pub(crate) fn number_of(name: &str) -> u64 {
    // FNV-1a.
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// The finaliser of SplitMix64.
const fn mix(number: u64) -> u64 {
    let n = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_depends_on_all_that_it_is_about_and_on_the_order() {
        let dice = Dice::new(1);
        let all = [
            dice.number(&[1, 2]),
            dice.number(&[2, 1]),
            dice.number(&[1]),
            dice.number(&[1, 2, 0]),
            Dice::new(2).number(&[1, 2]),
        ];
        for (at, number) in all.iter().enumerate() {
            assert!(!all[..at].contains(number), "{all:?}");
        }
        assert_eq!(dice.number(&[1, 2]), all[0]);
    }

    #[test]
    fn the_distributions_have_their_means_and_medians() {
        let dice = Dice::new(7);
        let n = 20_000;
        let mean = |draw: &dyn Fn(u64) -> f64| (0..n).map(draw).sum::<f64>() / n as f64;
        assert!((mean(&|i| dice.unit(&[i])) - 0.5).abs() < 0.01);
        assert!((mean(&|i| dice.exponential(3.0, &[i])) - 3.0).abs() < 0.1);
        let below = |i| f64::from(u8::from(dice.log_normal(2.0, 0.7, &[i]) < 2.0));
        assert!((mean(&below) - 0.5).abs() < 0.02);
        let log = mean(&|i| (dice.log_normal(2.0, 0.7, &[i]) / 2.0).ln().powi(2));
        assert!((log.sqrt() - 0.7).abs() < 0.02, "{log}");
    }

    #[test]
    fn neighbours_are_independent() {
        let dice = Dice::new(3);
        let n = 20_000u64;
        let both = (0..n).filter(|i| dice.happens(0.3, &[*i]) && dice.happens(0.3, &[*i + 1]));
        let share = both.count() as f64 / n as f64;
        assert!((share - 0.09).abs() < 0.01, "{share}");
    }
}
