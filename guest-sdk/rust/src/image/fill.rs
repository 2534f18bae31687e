//! Filling with one value by copying: in a component a copy is one instruction, whatever its length,
//! and a loop has a check of the clock in every turn.

use super::four::BLOCK;

/// So many values are filled one by one; they are copied from then on.
const FIRST: usize = 1024;

/// As `slice::fill`.
pub(super) fn fill<T: Copy>(values: &mut [T], value: T) {
    let first = values.len().min(FIRST);
    let (blocks, rest) = values[..first].as_chunks_mut::<BLOCK>();
    blocks.iter_mut().for_each(|block| *block = [value; BLOCK]);
    rest.fill(value);
    for start in (first..values.len()).step_by(FIRST) {
        values.copy_within(..FIRST.min(values.len() - start), start);
    }
}

/// Adds a value until there are so many.
pub(super) fn fill_to<T: Copy>(values: &mut Vec<T>, length: usize, value: T) {
    let start = values.len();
    values.extend(std::iter::repeat_n(value, length.saturating_sub(start).min(FIRST)));
    while values.len() < length {
        values.extend_from_within(start..start + FIRST.min(length - values.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_is_filled() {
        for length in [0, 1, 15, 16, 17, 1023, 1024, 1025, 5000] {
            let mut values = vec![[0.0; 3]; length];
            fill(&mut values, [1.0, 2.0, 3.0]);
            assert_eq!(values, vec![[1.0, 2.0, 3.0]; length]);
            let mut values = vec![7];
            fill_to(&mut values, length, 8);
            assert_eq!(values.len(), length.max(1));
            assert!(values[0] == 7 && values[1..].iter().all(|&value| value == 8));
        }
    }
}
