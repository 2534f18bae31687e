//! Tests of batches: which calls go together, and that each gets its own rows back.

use std::time::Instant;

use tokio::sync::oneshot;

use super::*;
use crate::{fair::Flow, nn::DType};

fn tensor(shape: &[u64], first: u8) -> Tensor {
    let data: Vec<u8> = (0..shape.iter().product::<u64>()).map(|i| first + i as u8).collect();
    Tensor::new(DType::U8, shape, data.into()).unwrap()
}

fn job(inputs: &[&[u64]], outputs: &[usize], first: u8) -> Job {
    let inputs = inputs.iter().enumerate().map(|(at, shape)| (at, tensor(shape, first)));
    let (reply, _) = oneshot::channel();
    Job {
        flow: Flow::ALONE,
        deadline: Instant::now(),
        inputs: inputs.collect(),
        outputs: outputs.to_vec(),
        may_stay: false,
        reply,
        cancel: Default::default(),
    }
}

fn chosen(batching: Batching, jobs: &[Job]) -> Vec<usize> {
    batching.choose(jobs.iter().enumerate())
}

const FOUR: Batching = Batching { rows: 4, bytes: 1000, elements: 1000, inputs: 2, powers: false };

#[test]
fn as_many_go_together_as_fit() {
    let jobs: Vec<_> = (0..6).map(|i| job(&[&[1, 3]], &[0], i)).collect();
    assert_eq!(chosen(FOUR, &jobs), [0, 1, 2, 3]);
    assert_eq!(chosen(Batching::NONE, &jobs), [0]);
    let tight = Batching { bytes: 6, ..FOUR };
    assert_eq!(chosen(tight, &jobs), [0, 1], "memory ends it");
    let few = Batching { elements: 10, ..FOUR };
    assert_eq!(chosen(few, &jobs), [0, 1, 2], "elements end it");
    assert_eq!(chosen(FOUR, &[]), [0; 0]);
}

#[test]
fn ragged_calls_wait_for_the_next_run() {
    let jobs = [
        job(&[&[1, 3]], &[0], 0),
        job(&[&[1, 4]], &[0], 0),       // another width
        job(&[&[1, 3]], &[1], 0),       // other outputs
        job(&[&[1, 3], &[1]], &[0], 0), // another number of inputs
        job(&[&[2, 3]], &[0], 0),
        job(&[&[2, 3]], &[0], 0), // five rows
        job(&[&[1, 3]], &[0], 0),
    ];
    assert_eq!(chosen(FOUR, &jobs), [0, 4, 6]);
}

#[test]
fn calls_that_have_no_rows_run_alone() {
    for odd in [&[&[][..]][..], &[&[0, 3]], &[&[1, 3], &[2, 3]], &[&[9, 3]], &[]] {
        let jobs = [job(odd, &[0], 0), job(odd, &[0], 0)];
        assert_eq!(chosen(FOUR, &jobs), [0], "{odd:?}");
    }
}

#[test]
fn calls_with_inputs_that_were_not_tried_run_alone() {
    // The third input has a default; whether its rows mix, nobody knows.
    let jobs = [(); 2].map(|()| job(&[&[1, 3], &[1], &[1]], &[0], 0));
    assert_eq!(chosen(FOUR, &jobs), [0]);
    let all = Batching { inputs: 3, ..FOUR };
    assert_eq!(chosen(all, &jobs), [0, 1]);
}

#[test]
fn some_backends_want_powers_of_two() {
    let powers = Batching { rows: 8, powers: true, ..FOUR };
    let jobs: Vec<_> = (0..7).map(|i| job(&[&[1, 3]], &[0], i)).collect();
    assert_eq!(chosen(powers, &jobs), [0, 1, 2, 3]);
    let jobs: Vec<_> = [3u64, 1, 1].iter().map(|rows| job(&[&[*rows, 3]], &[0], 0)).collect();
    assert_eq!(chosen(powers, &jobs), [0, 1]);
    let jobs: Vec<_> = [3u64, 3].iter().map(|rows| job(&[&[*rows, 3]], &[0], 0)).collect();
    assert_eq!(chosen(powers, &jobs), [0]);
}

#[test]
fn each_gets_its_own_rows_back() {
    let jobs = [job(&[&[1, 2], &[1]], &[0], 10), job(&[&[2, 2], &[2]], &[0], 20)];
    let joined = join(&jobs).unwrap();
    assert_eq!(joined[0].1.shape(), [3, 2]);
    assert_eq!(joined[0].1.data()[..], [10, 11, 20, 21, 22, 23]);
    assert_eq!((joined[1].0, &joined[1].1.data()[..]), (1, &[10, 20, 21][..]));
    let outputs = [joined[0].1.clone(), tensor(&[3], 1)];
    let parts = split(&outputs, &jobs).unwrap();
    assert_eq!(parts[0], [tensor(&[1, 2], 10), tensor(&[1], 1)]);
    assert_eq!(parts[1], [tensor(&[2, 2], 20), tensor(&[2], 2)]);
    let total = split(&[tensor(&[1], 0)], &jobs).unwrap_err().to_string();
    assert_eq!(total, "the graph gave an output of shape [1] for 3 rows");
}
