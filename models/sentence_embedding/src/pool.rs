//! What the network says about each piece of a text to one vector: the mean, with length 1.

/// So many numbers describe a piece, and a text.
pub const SIZE: usize = 384;

/// The mean of the pieces' vectors, brought to length 1.
pub fn pool(states: &[f32]) -> Vec<f32> {
    let (states, _) = states.as_chunks::<SIZE>();
    let mut sum = [0.0f32; SIZE];
    for state in states {
        for (sum, value) in sum.iter_mut().zip(state) {
            *sum += value;
        }
    }
    // The mean is the sum at another length, and the length is set next.
    let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
    let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
    sum.iter().map(|value| value * scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_one() {
        let mut states = vec![0.0; 2 * SIZE];
        (states[0], states[SIZE], states[SIZE + 1]) = (1.0, 2.0, 4.0);
        let vector = pool(&states);
        assert_eq!(vector.len(), SIZE);
        assert!((vector[0] - 0.6).abs() < 1e-6 && (vector[1] - 0.8).abs() < 1e-6);
        assert!(pool(&[0.0; SIZE]).iter().all(|value| *value == 0.0));
    }
}
