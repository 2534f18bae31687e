//! Which values along a line make each value of a smaller or larger one, and how much each counts. A
//! blur and the linear interpolation after it are one set of weights: only what is kept is blurred.

/// The values that make one: as many as there are weights, from `first` on.
#[derive(Debug, Clone, PartialEq)]
pub struct Tap {
    pub first: usize,
    pub weights: Vec<f32>,
}

/// From a line of `from` values, blurred by `kernel`, to one of `to`. None of them is 0.
pub fn taps(from: usize, to: usize, kernel: &[f64]) -> Vec<Tap> {
    let ratio = from as f64 / to as f64;
    let tap = |at: usize| {
        // The ends of both lines are at the same place, not the middles of their last values.
        let place = ((at as f64 + 0.5) * ratio - 0.5).clamp(0.0, (from - 1) as f64);
        let (before, part) = (place as usize, place.fract());
        let mut counts = blurred(before, 1.0 - part, from, kernel);
        if part > 0.0 {
            counts.extend(blurred(before + 1, part, from, kernel));
        }
        gathered(&counts)
    };
    (0..to).map(tap).collect()
}

/// A place of a line, and how much its value counts.
struct Count {
    place: usize,
    weight: f64,
}

/// The places that a blurred value is made of; beyond the ends the line is mirrored.
fn blurred(place: usize, weight: f64, length: usize, kernel: &[f64]) -> Vec<Count> {
    let first = place as isize - (kernel.len() / 2) as isize;
    let counts = kernel.iter().zip(first..).map(|(blur, place)| {
        let place = mirrored(place, length);
        Count { place, weight: weight * blur }
    });
    counts.collect()
}

/// The place before an end that is as far from it as `place` is beyond.
fn mirrored(place: isize, length: usize) -> usize {
    let last = length - 1;
    let place = place.rem_euclid((2 * last).max(1) as isize) as usize;
    if place > last { 2 * last - place } else { place }
}

/// One weight for each place, although several may count for it.
fn gathered(counts: &[Count]) -> Tap {
    let places = || counts.iter().map(|count| count.place);
    let (first, last) = (places().min().unwrap_or(0), places().max().unwrap_or(0));
    let mut weights = vec![0.0; last - first + 1];
    for count in counts {
        weights[count.place - first] += count.weight;
    }
    Tap { first, weights: weights.into_iter().map(|weight| weight as f32).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tap(first: usize, weights: &[f32]) -> Tap {
        Tap { first, weights: weights.to_vec() }
    }

    #[test]
    fn half_and_double_the_size() {
        let half = taps(4, 2, &[1.0]);
        assert_eq!(half, [tap(0, &[0.5, 0.5]), tap(2, &[0.5, 0.5])]);
        let double = taps(2, 4, &[1.0]);
        let between = [tap(0, &[0.75, 0.25]), tap(0, &[0.25, 0.75])];
        assert_eq!(double[1..3], between);
        assert_eq!((&double[0], &double[3]), (&tap(0, &[1.0]), &tap(1, &[1.0])));
    }

    #[test]
    fn a_blur_is_mirrored_at_the_ends() {
        let blurred = taps(3, 3, &[0.25, 0.5, 0.25]);
        let ends = [tap(0, &[0.5, 0.5]), tap(0, &[0.25, 0.5, 0.25]), tap(1, &[0.5, 0.5])];
        assert_eq!(blurred, ends);
        // Mirrored several times.
        assert_eq!(taps(2, 2, &[0.2; 5])[0], tap(0, &[0.6, 0.4]));
        assert_eq!(taps(1, 1, &[0.25; 4])[0], tap(0, &[1.0]));
    }

    #[test]
    fn both_in_one() {
        let both = taps(8, 4, &[0.25, 0.5, 0.25]);
        assert_eq!(both[1], tap(1, &[0.125, 0.375, 0.375, 0.125]));
        for tap in taps(100, 37, &[0.1, 0.2, 0.4, 0.2, 0.1]) {
            assert!((tap.weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            assert!(tap.first + tap.weights.len() <= 100);
        }
    }
}
