//! What a list of times comes to.

/// Median and spread of repeated measurements, in the unit of the samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Samples taken.
    pub count: usize,
    /// The middle sample, or the mean of the two in the middle.
    pub median: f64,
    /// A tenth of the samples lies below.
    pub p10: f64,
    /// A tenth of the samples lies above.
    pub p90: f64,
}

impl Summary {
    /// Summarises `samples`; `None` if there is none, or one is NaN.
    pub fn of(samples: &[f64]) -> Option<Self> {
        if samples.is_empty() || samples.iter().any(|sample| sample.is_nan()) {
            return None;
        }
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            count: sorted.len(),
            median: quantile(&sorted, 0.5),
            p10: quantile(&sorted, 0.1),
            p90: quantile(&sorted, 0.9),
        })
    }
}

/// Linear between the two samples next to the place `fraction · (n − 1)`.
fn quantile(sorted: &[f64], fraction: f64) -> f64 {
    let place = fraction * (sorted.len() - 1) as f64;
    let (low, weight) = (place.floor() as usize, place.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + weight * (sorted[high] - sorted[low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_samples() {
        let samples: Vec<f64> = (0..=10).rev().map(f64::from).collect();
        let summary = Summary::of(&samples).unwrap();
        assert_eq!(
            (summary.p10, summary.median, summary.p90, summary.count),
            (1.0, 5.0, 9.0, 11)
        );
        let summary = Summary::of(&[4.0, 1.0]).unwrap();
        assert_eq!((summary.p10, summary.median), (1.3, 2.5));
    }

    #[test]
    fn one_outlier_moves_no_quantile_far() {
        let mut samples = vec![10.0; 99];
        samples.push(1e9);
        let summary = Summary::of(&samples).unwrap();
        assert_eq!(
            (summary.p10, summary.median, summary.p90),
            (10.0, 10.0, 10.0)
        );
    }

    #[test]
    fn nothing_comes_of_nothing() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
    }
}
