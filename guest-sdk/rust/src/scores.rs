//! From a network's scores to an answer.

/// Scores as probabilities that sum to 1.
pub fn softmax(scores: &[f32]) -> Vec<f32> {
    // Less the largest, so that the exponentials cannot overflow.
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut exponentials: Vec<f32> = scores.iter().map(|score| (score - largest).exp()).collect();
    let total: f32 = exponentials.iter().sum();
    for value in &mut exponentials {
        *value /= total;
    }
    exponentials
}

/// The `count` largest scores and their places, largest first; of equals, the first.
pub fn top_k(scores: &[f32], count: usize) -> Vec<(usize, f32)> {
    let mut places: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    let order = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count < places.len() {
        places.select_nth_unstable_by(count, order);
        places.truncate(count);
    }
    places.sort_unstable_by(order);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_survives_large_scores() {
        assert_eq!(softmax(&[1000.0, 1000.0]), [0.5, 0.5]);
        assert!(softmax(&[]).is_empty());
    }

    #[test]
    fn top_k_is_ordered_and_takes_any_count() {
        let scores = [0.1, 0.7, 0.1, 0.7];
        assert_eq!(top_k(&scores, 3), [(1, 0.7), (3, 0.7), (0, 0.1)]);
        assert_eq!(top_k(&scores, 9).len(), 4);
        assert!(top_k(&scores, 0).is_empty());
        assert_eq!(top_k(&[f32::NAN, 1.0], 2).len(), 2);
    }
}
