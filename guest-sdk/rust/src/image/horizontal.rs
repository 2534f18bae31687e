//! The pass along the rows: four rows of the picture become four rows of the new width.

use super::Sample;
use super::four::{Four, Pairs};
use super::pairs::Pair;
use super::taps::Taps;

/// So many pairs are added up without a loop.
const TURN: usize = 10;

/// How the columns of four rows become fewer, or more.
pub(super) struct Horizontal<A: Four> {
    channels: usize,
    /// The left pixel of each pair, where there is one pair for each output column: in any other
    /// case all the pixels are paired, from the first on.
    lefts: Option<Vec<usize>>,
    /// The first pair of each output column.
    firsts: Vec<usize>,
    /// The weights of `most` pairs for each output column.
    weights: Vec<A::PairWeights>,
    most: usize,
    /// The number of pairs with pixels in them, and of all that are looked at.
    paired: usize,
    pairs: usize,
}

impl<A: Four> Horizontal<A> {
    /// Along rows of `width` pixels of up to four channels.
    pub(super) fn new(taps: &Taps, width: usize, channels: usize) -> Self {
        let two = taps.iter().all(|(_, weights)| weights.len() <= 2);
        // Pixels of an odd place are the right ones of a pair.
        let odd = |first: usize| if two { 0 } else { first % 2 };
        let count = |(first, weights): (usize, &[f64])| (odd(first) + weights.len()).div_ceil(2);
        let most = taps.iter().map(count).max().unwrap_or(1);
        let mut weights = Vec::with_capacity(taps.len() * most);
        for (first, taps) in taps.iter() {
            let at = |at: usize| at.checked_sub(odd(first)).and_then(|at| taps.get(at)).copied();
            let pair = |pair: usize| [2 * pair, 2 * pair + 1].map(|tap| at(tap).unwrap_or(0.0));
            weights.extend((0..most).map(|at| A::pair_weights(pair(at))));
        }
        let firsts = taps.iter().map(|(first, _)| first);
        match two {
            true => Self {
                channels,
                lefts: Some(firsts.collect()),
                firsts: (0..taps.len()).collect(),
                weights,
                most,
                paired: taps.len(),
                pairs: taps.len(),
            },
            false => Self {
                channels,
                lefts: None,
                firsts: firsts.map(|first| first / 2).collect(),
                weights,
                most,
                paired: width.div_ceil(2),
                // Whole turns are looked at, wherever they begin.
                pairs: width.div_ceil(2) + most.next_multiple_of(TURN),
            },
        }
    }

    /// Room for the pairs of four rows.
    pub(super) fn room(&self) -> Vec<Pairs<A>> {
        vec![[A::Pair::default(); 4]; self.pairs]
    }

    /// Four rows to `line`; `pairs` is the room for the way.
    pub(super) fn shrink<T: Sample + Pair<Arithmetic = A>>(
        &self,
        rows: [&[T]; 4],
        pairs: &mut [Pairs<A>],
        line: &mut [A::Settled],
    ) {
        match &self.lefts {
            Some(lefts) => match self.channels {
                1 => T::gather::<1>(rows, lefts, pairs),
                2 => T::gather::<2>(rows, lefts, pairs),
                3 => T::gather::<3>(rows, lefts, pairs),
                _ => T::gather::<4>(rows, lefts, pairs),
            },
            None => {
                let pairs = &mut pairs[..self.paired];
                match self.channels {
                    1 => T::pair::<1>(rows, pairs),
                    2 => T::pair::<2>(rows, pairs),
                    3 => T::pair::<3>(rows, pairs),
                    _ => T::pair::<4>(rows, pairs),
                }
            }
        }
        // Three channels at once, as most pictures have; any others one by one.
        let mut channel = 0;
        if self.channels >= 3 {
            self.sum_channels::<3>(pairs, 0, line);
            channel = 3;
        }
        for channel in channel..self.channels {
            self.sum_channels::<1>(pairs, channel, line);
        }
    }

    /// Weighted sums of `COUNT` channels, from `channel` on.
    fn sum_channels<const COUNT: usize>(
        &self,
        pairs: &[Pairs<A>],
        channel: usize,
        line: &mut [A::Settled],
    ) {
        // From here on a pair's place is that of its first channel.
        let pairs = pairs.as_flattened().get(channel..).unwrap_or_default();
        let line = line.get_mut(channel..).unwrap_or_default();
        match self.lefts {
            Some(_) => self.sum_each::<COUNT>(pairs, line),
            None if self.most <= TURN => self.sum::<COUNT>(pairs, line),
            None => self.sum_many::<COUNT>(pairs, line),
        }
    }

    /// The same where there is one pair for each column.
    #[inline(never)]
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    fn sum_each<const COUNT: usize>(&self, pairs: &[A::Pair], line: &mut [A::Settled]) {
        /// So many columns a turn of the loop.
        const TURN: usize = 4;
        let channels = self.channels;
        let (turns, last) = self.weights.as_chunks::<TURN>();
        for (turn, [a, b, c, d]) in turns.iter().enumerate() {
            let (from, to) = (turn * TURN * 4, turn * TURN * channels);
            let Some(pairs) = pairs.get(from..from + 4 * (TURN - 1) + COUNT) else { break };
            let Some(values) = line.get_mut(to..to + channels * (TURN - 1) + COUNT) else { break };
            // No loop: the compiler unrolls none here.
            one::<A, COUNT>(values, pairs, a);
            one::<A, COUNT>(&mut values[channels..], &pairs[4..], b);
            one::<A, COUNT>(&mut values[2 * channels..], &pairs[8..], c);
            one::<A, COUNT>(&mut values[3 * channels..], &pairs[12..], d);
        }
        let done = turns.len() * TURN;
        for (at, weights) in last.iter().enumerate() {
            let at = done + at;
            one::<A, COUNT>(&mut line[at * channels..], &pairs[at * 4..], weights);
        }
    }

    /// The same where no column has more than `TURN` pairs.
    #[inline(never)]
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    fn sum<const COUNT: usize>(&self, pairs: &[A::Pair], line: &mut [A::Settled]) {
        let weights = self.weights.chunks_exact(self.most);
        for ((x, &place), weights) in self.firsts.iter().enumerate().zip(weights) {
            let Some(pairs) = pairs.get(4 * place..4 * (place + TURN - 1) + COUNT) else { break };
            let Some(values) = line.get_mut(x * self.channels..x * self.channels + COUNT) else {
                break;
            };
            settle::<A, COUNT>(values, add::<A, COUNT>([A::zero(); COUNT], pairs, weights));
        }
    }

    /// The same of any number of pairs.
    #[inline(never)]
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    fn sum_many<const COUNT: usize>(&self, pairs: &[A::Pair], line: &mut [A::Settled]) {
        let weights = self.weights.chunks_exact(self.most);
        for ((x, &place), weights) in self.firsts.iter().enumerate().zip(weights) {
            let mut sums = [A::zero(); COUNT];
            for (turn, weights) in weights.chunks(TURN).enumerate() {
                let place = place + turn * TURN;
                let Some(pairs) = pairs.get(4 * place..4 * (place + TURN - 1) + COUNT) else {
                    break;
                };
                sums = add::<A, COUNT>(sums, pairs, weights);
            }
            let Some(values) = line.get_mut(x * self.channels..x * self.channels + COUNT) else {
                break;
            };
            settle::<A, COUNT>(values, sums);
        }
    }
}

/// The sums with up to `TURN` weighted pairs added: `COUNT` channels of each four places.
///
/// One after the other, each with a question whether it is there: so the guest's compiler adds up what
/// it has loaded before it loads more. Without, it loads all pairs first, and has no registers for them.
#[inline(always)]
fn add<A: Four, const COUNT: usize>(
    sums: [A::Sum; COUNT],
    pairs: &[A::Pair],
    weights: &[A::PairWeights],
) -> [A::Sum; COUNT] {
    let sums = step::<A, COUNT, 0>(sums, pairs, weights);
    let sums = step::<A, COUNT, 1>(sums, pairs, weights);
    let sums = step::<A, COUNT, 2>(sums, pairs, weights);
    let sums = step::<A, COUNT, 3>(sums, pairs, weights);
    let sums = step::<A, COUNT, 4>(sums, pairs, weights);
    let sums = step::<A, COUNT, 5>(sums, pairs, weights);
    let sums = step::<A, COUNT, 6>(sums, pairs, weights);
    let sums = step::<A, COUNT, 7>(sums, pairs, weights);
    let sums = step::<A, COUNT, 8>(sums, pairs, weights);
    step::<A, COUNT, 9>(sums, pairs, weights)
}

#[inline(always)]
fn step<A: Four, const COUNT: usize, const AT: usize>(
    mut sums: [A::Sum; COUNT],
    pairs: &[A::Pair],
    weights: &[A::PairWeights],
) -> [A::Sum; COUNT] {
    if let Some(weights) = weights.get(AT) {
        for (sum, pair) in sums.iter_mut().zip(&pairs[4 * AT..]) {
            *sum = A::add(*sum, pair, weights);
        }
    }
    sums
}

/// Complete sums to a column's values.
#[inline(always)]
fn settle<A: Four, const COUNT: usize>(values: &mut [A::Settled], sums: [A::Sum; COUNT]) {
    for (value, sum) in values.iter_mut().zip(sums) {
        *value = A::settle(sum);
    }
}

/// A column of one pair.
#[inline(always)]
fn one<A: Four, const COUNT: usize>(
    values: &mut [A::Settled],
    pairs: &[A::Pair],
    weights: &A::PairWeights,
) {
    for (value, pair) in values[..COUNT].iter_mut().zip(pairs) {
        *value = A::settle(A::add(A::zero(), pair, weights));
    }
}
