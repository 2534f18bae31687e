//! Several texts as one input of the network: filled up to the longest of them.

use tms_guest::{Result, Tensor};

/// So many pieces, filled-up ones among them, are one run of the network at most: a bound for memory.
const MOST: usize = 8192;

/// The inputs of one run.
pub struct Batch {
    pub inputs: [(&'static str, Tensor); 3],
    /// The number of pieces of the longest text.
    pub width: usize,
}

impl Batch {
    /// The texts, each as the numbers of its pieces.
    pub fn new(texts: &[Vec<u32>]) -> Result<Self> {
        let width = width(texts);
        let shape = [texts.len(), width];
        let mut ids = vec![0i64; texts.len() * width];
        let mut mask = vec![0i64; texts.len() * width];
        for (row, text) in texts.iter().enumerate() {
            for (at, &piece) in text.iter().enumerate() {
                ids[row * width + at] = piece.into();
                mask[row * width + at] = 1;
            }
        }
        // There is only one kind of sentence: a single one.
        let kinds = vec![0i64; texts.len() * width];
        let inputs = [
            ("input_ids", Tensor::new(&shape, &ids)?),
            ("attention_mask", Tensor::new(&shape, &mask)?),
            ("token_type_ids", Tensor::new(&shape, &kinds)?),
        ];
        Ok(Self { inputs, width })
    }
}

/// The texts in as few runs as the bound allows, in their order: the shortest first, so that little
/// is filled up.
pub fn batches(texts: &[Vec<u32>]) -> impl Iterator<Item = &[Vec<u32>]> {
    let mut rest = texts;
    std::iter::from_fn(move || {
        let fits = |&count: &usize| count * width(&rest[..count]) <= MOST;
        let count = (1..=rest.len()).take_while(fits).last()?;
        let (batch, others) = rest.split_at(count);
        rest = others;
        Some(batch)
    })
}

fn width(texts: &[Vec<u32>]) -> usize {
    texts.iter().map(Vec::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_texts_are_filled_up() {
        let batch = Batch::new(&[vec![101, 7, 8, 102], vec![101, 102]]).unwrap();
        let values: Vec<Vec<i64>> =
            batch.inputs.iter().map(|(_, tensor)| tensor.to_vec().unwrap()).collect();
        assert_eq!(values[0], [101, 7, 8, 102, 101, 102, 0, 0]);
        assert_eq!(values[1], [1, 1, 1, 1, 1, 1, 0, 0]);
        assert_eq!(values[2], [0; 8]);
        assert_eq!((batch.width, batch.inputs[0].1.shape()), (4, vec![2, 4]));
    }

    #[test]
    fn runs_are_bounded_and_keep_the_order() {
        let text = |length: usize| vec![length as u32; length];
        assert_eq!(batches(&[]).count(), 0);
        assert_eq!(batches(&vec![text(10); 500]).count(), 1);
        let mut texts = vec![text(5); 10];
        texts.extend(vec![text(256); 100]);
        let runs: Vec<_> = batches(&texts).collect();
        assert_eq!(runs.iter().map(|run| run.len()).collect::<Vec<_>>(), [32, 32, 32, 14]);
        assert_eq!(runs.concat(), texts);
    }
}
