//! From a network's scores to an answer.

use crate::vectors::*;

/// So many scores are worked on in a turn of a loop: in the sandbox a turn costs a check of the clock,
/// and a store and a load of every vector that outlives it, so turns are few and long.
const BLOCK: usize = 16;

/// Scores as probabilities that sum to 1.
pub fn softmax(scores: &[f32]) -> Vec<f32> {
    let mut exponentials = scores.to_vec();
    // Less the largest, so that the exponentials cannot overflow.
    let total = exponentiate(&mut exponentials, largest(scores));
    divide(&mut exponentials, total);
    exponentials
}

/// The largest of the numbers among some.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn largest(values: &[f32]) -> f32 {
    let (blocks, last) = values.as_chunks::<{ 2 * BLOCK }>();
    let least = [f32::NEG_INFINITY; 4];
    let mut largest = [load(&least), load(&least)];
    for block in blocks {
        if let [a, b, c, d, e, f, g, h] = block.as_chunks::<4>().0 {
            // In this order: what is no number is passed over.
            let ab = f32x4_pmax(f32x4_pmax(largest[0], load(a)), load(b));
            largest[0] = f32x4_pmax(f32x4_pmax(ab, load(c)), load(d));
            let ef = f32x4_pmax(f32x4_pmax(largest[1], load(e)), load(f));
            largest[1] = f32x4_pmax(f32x4_pmax(ef, load(g)), load(h));
        }
    }
    let mut lanes = least;
    store(&mut lanes, f32x4_pmax(largest[0], largest[1]));
    lanes.iter().chain(last).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Makes each value less `largest` its exponential; answers their sum.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn exponentiate(values: &mut [f32], largest: f32) -> f32 {
    /// Four values, and the sum of them and of what was summed before.
    #[inline(always)]
    fn four(values: &mut [f32; 4], largest: V128, total: V128) -> V128 {
        let exponentials = exp(f32x4_sub(load(values), largest));
        store(values, exponentials);
        f32x4_add(total, exponentials)
    }
    let less = f32x4_splat(largest);
    let mut total = zero();
    let (blocks, last) = values.as_chunks_mut::<{ 2 * BLOCK }>();
    for block in blocks {
        if let [a, b, c, d, e, f, g, h] = block.as_chunks_mut::<4>().0 {
            // No loop: the compiler unrolls none here.
            let mut halves = [four(a, less, total), four(b, less, zero())];
            halves = [four(c, less, halves[0]), four(d, less, halves[1])];
            halves = [four(e, less, halves[0]), four(f, less, halves[1])];
            halves = [four(g, less, halves[0]), four(h, less, halves[1])];
            total = f32x4_add(halves[0], halves[1]);
        }
    }
    let (fours, last) = last.as_chunks_mut();
    for values in fours {
        total = four(values, less, total);
    }
    // The rest as four, of which the missing ones are of exponential 0.
    let mut rest = [f32::NEG_INFINITY; 4];
    rest[..last.len()].copy_from_slice(last);
    total = four(&mut rest, less, total);
    last.copy_from_slice(&rest[..last.len()]);
    let mut lanes = [0.0; 4];
    store(&mut lanes, total);
    lanes.iter().sum()
}

/// Divides each value.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn divide(values: &mut [f32], by: f32) {
    let divisor = f32x4_splat(by);
    let (blocks, last) = values.as_chunks_mut::<BLOCK>();
    for block in blocks {
        if let [a, b, c, d] = block.as_chunks_mut::<4>().0 {
            store(a, f32x4_div(load(a), divisor));
            store(b, f32x4_div(load(b), divisor));
            store(c, f32x4_div(load(c), divisor));
            store(d, f32x4_div(load(d), divisor));
        }
    }
    last.iter_mut().for_each(|value| *value /= by);
}

/// The exponential of numbers that are not positive, to a few units in the last place.
#[inline(always)]
fn exp(x: V128) -> V128 {
    // Below, the result is less than the smallest normal number.
    let too_small = f32x4_gt(f32x4_splat(-87.0), x);
    // Adding and subtracting it rounds to a whole number, which stands in the lowest bits of the sum.
    let round = f32x4_splat(12_582_912.0);
    let sum = f32x4_add(f32x4_mul(x, f32x4_splat(std::f32::consts::LOG2_E)), round);
    let whole = f32x4_sub(sum, round);
    // ln 2 in two parts, so that the product with the first is exact.
    let rest = f32x4_sub(x, f32x4_mul(whole, f32x4_splat(0.693_359_4)));
    let rest = f32x4_sub(rest, f32x4_mul(whole, f32x4_splat(-2.121_944_4e-4)));
    // The exponential's series on -ln 2 / 2 to ln 2 / 2.
    let mut value = f32x4_splat(1.0 / 720.0);
    for term in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        value = f32x4_add(f32x4_mul(value, rest), f32x4_splat(term));
    }
    // The power of two by its exponent's bits; out of range only where it is too small.
    let power = i32x4_add(i32x4_shl(sum, 23), i32x4_splat(127 << 23));
    v128_andnot(f32x4_mul(value, power), too_small)
}

/// The `count` largest scores and their places, largest first; of equals, the first.
pub fn top_k(scores: &[f32], count: usize) -> Vec<(usize, f32)> {
    /// More are sorted, not inserted one by one.
    const FEW: usize = 64;
    let with_score = |place: usize| (place, scores[place]);
    match count {
        0 => Vec::new(),
        1..=FEW if count < scores.len() => {
            few_largest(scores, count).into_iter().map(|(_, place)| with_score(place)).collect()
        }
        _ => {
            let order = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
            let mut places: Vec<usize> = (0..scores.len()).collect();
            if count < places.len() {
                places.select_nth_unstable_by(count, order);
                places.truncate(count);
            }
            places.sort_unstable_by(order);
            places.into_iter().map(with_score).collect()
        }
    }
}

/// Ranks and places of the largest scores: most blocks have none that is large enough, and one
/// comparison says so.
#[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
fn few_largest(scores: &[f32], count: usize) -> Vec<(i32, usize)> {
    // Until there are as many as wanted, each is one of them.
    let (early, late) = scores.split_at(count.min(scores.len()));
    let mut best = Best { count, ranks: Vec::with_capacity(count), least: i32::MIN };
    early.iter().enumerate().for_each(|(place, &score)| best.offer(score, place));
    let (blocks, last) = late.as_chunks::<{ 2 * BLOCK }>();
    for (at, block) in blocks.iter().enumerate() {
        let (halves, _) = block.as_chunks::<BLOCK>();
        // No loop: the compiler unrolls none here.
        let any = v128_or(any_above(&halves[0], best.least), any_above(&halves[1], best.least));
        if i32x4_bitmask(any) == 0 {
            continue;
        }
        for (four, scores) in block.as_chunks::<4>().0.iter().enumerate() {
            let mut above = i32x4_bitmask(above(scores, best.least));
            while above != 0 {
                let lane = above.trailing_zeros() as usize % 4;
                best.offer(scores[lane], early.len() + at * 2 * BLOCK + four * 4 + lane);
                above &= above - 1;
            }
        }
    }
    let first = scores.len() - last.len();
    last.iter().enumerate().for_each(|(at, &score)| best.offer(score, first + at));
    best.ranks
}

/// The best scores so far.
struct Best {
    /// So many are wanted.
    count: usize,
    /// Their ranks and places, largest first.
    ranks: Vec<(i32, usize)>,
    /// The smallest rank, once there are as many as wanted.
    least: i32,
}

impl Best {
    /// Takes a score if it is better than another; of equals the first is.
    fn offer(&mut self, score: f32, place: usize) {
        let rank = rank(score);
        if self.ranks.len() < self.count {
            self.ranks.push((rank, place));
        } else if let (Some(last), true) = (self.ranks.last_mut(), rank > self.least) {
            *last = (rank, place);
        } else {
            return;
        }
        // Up to its place: few steps, as few are wanted.
        let mut at = self.ranks.len() - 1;
        while at > 0 && self.ranks[at - 1].0 < rank {
            self.ranks.swap(at - 1, at);
            at -= 1;
        }
        if let (Some(&(rank, _)), true) = (self.ranks.last(), self.ranks.len() == self.count) {
            self.least = rank;
        }
    }
}

/// Whether any rank is above `least`: the highest bit of some place, or of none.
#[inline(always)]
fn any_above(scores: &[f32; BLOCK], least: i32) -> V128 {
    let (fours, _) = scores.as_chunks::<4>();
    let first = v128_or(above(&fours[0], least), above(&fours[1], least));
    v128_or(first, v128_or(above(&fours[2], least), above(&fours[3], least)))
}

/// Which of four ranks are above `least`: all bits of a place, or none.
#[inline(always)]
fn above(scores: &[f32; 4], least: i32) -> V128 {
    let bits = load(scores);
    let rank = v128_xor(bits, u32x4_shr(i32x4_shr(bits, 31), 1));
    i32x4_gt(rank, i32x4_splat(least))
}

/// A number in the order of `f32::total_cmp`.
#[inline(always)]
pub(crate) fn rank(score: f32) -> i32 {
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
