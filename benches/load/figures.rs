//! Medians and other figures of samples.

/// The value below which a part of the samples lies; 0 without samples.
pub(crate) fn percentile(mut samples: Vec<f64>, part: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let at = (samples.len() as f64 * part) as usize;
    let at = at.min(samples.len().saturating_sub(1));
    samples.get(at).copied().unwrap_or_default()
}

/// The middle one, or the mean of the two in the middle; `None` without samples.
pub(crate) fn median(samples: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut samples: Vec<_> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    let (middle, is_odd) = (samples.len() / 2, samples.len() % 2 == 1);
    match samples.get(middle) {
        Some(&upper) if is_odd => Some(upper),
        Some(&upper) => Some((samples[middle - 1] + upper) / 2.0),
        None => None,
    }
}
