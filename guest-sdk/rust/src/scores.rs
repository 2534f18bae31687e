//! From a network's scores to an answer.

/// So many scores are worked on at once.
const LANES: usize = 8;

/// Scores as probabilities that sum to 1.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
pub fn softmax(scores: &[f32]) -> Vec<f32> {
    // Less the largest, so that the exponentials cannot overflow.
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut exponentials = scores.to_vec();
    let mut totals = [0.0f32; LANES];
    let (blocks, last) = exponentials.as_chunks_mut::<LANES>();
    for block in blocks {
        for (value, total) in block.iter_mut().zip(&mut totals) {
            *value = exp(*value - largest);
            *total += *value;
        }
    }
    for (value, total) in last.iter_mut().zip(&mut totals) {
        *value = exp(*value - largest);
        *total += *value;
    }
    let total: f32 = totals.iter().sum();
    for value in &mut exponentials {
        *value /= total;
    }
    exponentials
}

/// The exponential of a number that is not positive, to a few units in the last place, in
/// operations that the compiler turns into vectors; the standard library's is a call.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Below, the result is less than the smallest normal number.
    const LEAST: f32 = -87.0;
    // Adding and subtracting it rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, so that the product with the first is exact.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    let whole = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let rest = (x - whole * LN_2.0) - whole * LN_2.1;
    // The exponential's series on -ln 2 / 2 to ln 2 / 2.
    let terms = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let value = terms.into_iter().fold(0.0, |value, term| value * rest + term);
    // The exponent's bits as an integer; out of range only below `LEAST`.
    let power = f32::from_bits(((whole as i32).wrapping_add(127) as u32) << 23);
    if x < LEAST { 0.0 } else { value * power }
}

/// The `count` largest scores and their places, largest first; of equals, the first.
pub fn top_k(scores: &[f32], count: usize) -> Vec<(usize, f32)> {
    /// More are sorted, not inserted one by one.
    const FEW: usize = 64;
    let places: Vec<usize> = match count {
        0 => Vec::new(),
        1..=FEW if count < scores.len() => few_largest(scores, count),
        _ => {
            let order = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
            let mut places: Vec<usize> = (0..scores.len()).collect();
            if count < places.len() {
                places.select_nth_unstable_by(count, order);
                places.truncate(count);
            }
            places.sort_unstable_by(order);
            places
        }
    };
    places.into_iter().map(|place| (place, scores[place])).collect()
}

/// The places of the largest scores: most blocks have none that is large enough, and one
/// comparison says so.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn few_largest(scores: &[f32], count: usize) -> Vec<usize> {
    const BLOCK: usize = 2 * LANES;
    // Largest first, one more than wanted while one is inserted.
    let mut best: Vec<(i32, usize)> = Vec::with_capacity(count + 1);
    for (block, scores) in scores.chunks(BLOCK).enumerate() {
        let least = |best: &Vec<(i32, usize)>| match best.len() == count {
            true => best[count - 1].0,
            false => i32::MIN,
        };
        let largest = scores.iter().fold(i32::MIN, |largest, &score| largest.max(rank(score)));
        if best.len() == count && largest <= least(&best) {
            continue;
        }
        for (at, &score) in scores.iter().enumerate() {
            let rank = rank(score);
            if best.len() < count || rank > least(&best) {
                let before = best.partition_point(|&(other, _)| other >= rank);
                best.insert(before, (rank, block * BLOCK + at));
                best.truncate(count);
            }
        }
    }
    best.into_iter().map(|(_, place)| place).collect()
}

/// A number in the order of `f32::total_cmp`.
#[inline(always)]
fn rank(score: f32) -> i32 {
    let bits = score.to_bits() as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
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
    fn softmax_of_what_is_no_number() {
        assert!(softmax(&[f32::NAN, 1.0]).iter().all(|value| value.is_nan()));
        assert_eq!(softmax(&[f32::NEG_INFINITY, 3.0, -1e30]), [0.0, 1.0, 0.0]);
    }

    #[test]
    fn few_and_many_are_the_same_order() {
        let scores: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1009 / 4) as f32 - 99.0).collect();
        let all = top_k(&scores, 1000);
        assert!(all.windows(2).all(|pair| (-pair[0].1, pair[0].0) < (-pair[1].1, pair[1].0)));
        for count in [1, 5, 64, 65, 999] {
            assert_eq!(top_k(&scores, count), all[..count]);
        }
    }

    #[test]
    fn top_k_is_ordered_and_takes_any_count() {
        let scores = [0.1, 0.7, 0.1, 0.7];
        assert_eq!(top_k(&scores, 3), [(1, 0.7), (3, 0.7), (0, 0.1)]);
        assert_eq!(top_k(&scores, 9).len(), 4);
        assert!(top_k(&scores, 0).is_empty());
        assert_eq!(top_k(&[f32::NAN, 1.0], 2).len(), 2);
        assert_eq!(top_k(&[1.0, f32::NAN, 2.0], 1)[0].0, 1);
    }
}
