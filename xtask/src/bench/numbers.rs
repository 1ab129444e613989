//! Medians and spreads.

/// Samples of one quantity.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, sample: f64) {
        self.0.push(sample);
        self.0.sort_by(f64::total_cmp);
    }

    /// The value below which that share of the samples lies; `None` where there are none.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a small count"
    )]
    fn quantile(&self, share: f64) -> Option<f64> {
        let last = self.0.len().checked_sub(1)?;
        self.0.get((share * last as f64).round() as usize).copied()
    }

    /// The middle one.
    pub fn median(&self) -> Option<f64> {
        self.quantile(0.5)
    }

    /// Half of the distance between the quartiles.
    pub fn spread(&self) -> Option<f64> {
        Some((self.quantile(0.75)? - self.quantile(0.25)?) / 2.0)
    }

    /// The largest.
    pub fn largest(&self) -> Option<f64> {
        self.quantile(1.0)
    }

    /// `12.3 ± 0.4`, with so many decimals; a dash where there are none.
    pub fn show(&self, decimals: usize) -> String {
        match (self.median(), self.spread()) {
            (Some(median), Some(spread)) => format!("{median:.decimals$} ± {spread:.decimals$}"),
            _ => "–".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_and_an_outlier_does_not_move_it() {
        let mut samples = Samples::default();
        assert_eq!(samples.show(1), "–");
        for sample in [5.0, 1.0, 900.0, 3.0, 4.0] {
            samples.push(sample);
        }
        assert_eq!((samples.median(), samples.largest()), (Some(4.0), Some(900.0)));
        assert_eq!(samples.show(1), "4.0 ± 1.0");
    }
}
