//! Tries a graph with made-up inputs: whether rows of one run leave each other alone, so that calls
//! can be batched, and what that gains.

use std::time::{Duration, Instant};

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use super::{
    DType, NnError, Tensor, TensorInfo,
    backend::Session,
    cancel::Cancel,
    check::{Signature, quoted},
};
use crate::text::Shape;

/// What open inner dimensions may want to be: lengths of texts, sides of pictures.
const SIZES: [u64; 7] = [16, 32, 64, 128, 224, 256, 1];
/// How far integers of one input may go: numbers of words, classes, flags.
const RANGES: [u64; 4] = [1000, 100, 10, 2];
/// How far rows of one run may differ from the same rows alone, as a part of the output's largest
/// value: sums in another order stay far below, quantisation over all rows is above.
const TOLERANCE: f64 = 2e-4;
/// The same for half precision.
const HALF_TOLERANCE: f64 = 1e-2;
/// In place of a seed: all integers are as large as they may be.
const LARGEST: u64 = u64::MAX;
/// How long a number of rows is measured for.
const MEASURED: Duration = Duration::from_millis(200);

/// A graph whose calls can be batched, with the inputs that it was tried with.
#[derive(Clone, Debug)]
pub struct Batchable {
    /// The size of open inner dimensions.
    open: u64,
    /// For each input, integers are below this.
    ranges: Vec<u64>,
}

/// Native runs of a number of rows.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Gain {
    pub rows: usize,
    /// The median.
    pub run: Duration,
}

impl Batchable {
    /// Checks that f([a; b]) is [f(a); f(b)] within the tolerance; a dynamic first dimension alone
    /// proves nothing. Otherwise says why not.
    pub fn verify(session: &mut dyn Session, signature: &Signature) -> Result<Self, String> {
        if signature.inputs.is_empty() {
            return Err("it has no inputs".into());
        }
        let fixed = |info: &&TensorInfo| info.shape.first() != Some(&-1);
        if let Some(info) = signature.inputs.iter().find(fixed) {
            let (name, shape) = (quoted(&info.name), Shape(&info.shape));
            return Err(format!("the first dimension of input {name} is not open: {shape}"));
        }
        let mut batchable = Self { open: 1, ranges: vec![2; signature.inputs.len()] };
        batchable.find_size(session, signature)?;
        batchable.find_ranges(session, signature);
        // Rows of very different size show what is scaled over all rows.
        for scale in [1.0, 20.0] {
            let (a, b) = (batchable.row(signature, 1, 1.0), batchable.row(signature, 2, scale));
            let both = below(&a, &b)?;
            let alone = [run(session, signature, &a)?, run(session, signature, &b)?];
            let together = run(session, signature, &both)?;
            for (at, info) in signature.outputs.iter().enumerate() {
                let of =
                    |outputs: &[Tensor]| outputs.get(at).cloned().ok_or("an output is missing");
                let rows = [of(&alone[0])?, of(&alone[1])?];
                compare(&quoted(&info.name), &rows, &of(&together)?)?;
            }
        }
        Ok(batchable)
    }

    /// Runs `rows` rows once: backends prepare themselves for a size.
    pub fn warm(
        &self,
        session: &mut dyn Session,
        signature: &Signature,
        rows: usize,
    ) -> Result<(), String> {
        run(session, signature, &self.sample(signature, rows as u64, 1, 1.0)).map(drop)
    }

    /// Measures runs of so many rows.
    pub fn measure(
        &self,
        session: &mut dyn Session,
        signature: &Signature,
        rows: usize,
    ) -> Result<Gain, String> {
        let input = self.sample(signature, rows as u64, 1, 1.0);
        run(session, signature, &input)?;
        let (started, mut times) = (Instant::now(), Vec::new());
        while started.elapsed() < MEASURED || times.len() < 3 {
            let began = Instant::now();
            run(session, signature, &input)?;
            times.push(began.elapsed());
        }
        times.sort();
        Ok(Gain { rows, run: times[times.len() / 2] })
    }

    /// Finds a size of the open inner dimensions that the graph runs with.
    fn find_size(
        &mut self,
        session: &mut dyn Session,
        signature: &Signature,
    ) -> Result<(), String> {
        let inner = |info: &TensorInfo| info.shape.iter().skip(1).any(|dim| *dim < 0);
        let sizes = if signature.inputs.iter().any(inner) { &SIZES[..] } else { &SIZES[..1] };
        let mut last = String::new();
        for &open in sizes {
            self.open = open;
            match self.makes_sense(session, signature) {
                Ok(()) => return Ok(()),
                Err(reason) => last = reason,
            }
        }
        Err(format!("it does not run on made-up inputs: {last}"))
    }

    /// Finds how far the integers of each input may go: rows that hardly differ prove little.
    fn find_ranges(&mut self, session: &mut dyn Session, signature: &Signature) {
        for at in 0..self.ranges.len() {
            for range in RANGES {
                self.ranges[at] = range;
                if self.makes_sense(session, signature).is_ok() {
                    break;
                }
            }
        }
    }

    /// The graph runs on such inputs, and what it gives are numbers: anything equals nothing.
    fn makes_sense(&self, session: &mut dyn Session, signature: &Signature) -> Result<(), String> {
        for seed in [1, LARGEST] {
            let outputs = run(session, signature, &self.sample(signature, 1, seed, 1.0))?;
            if outputs.iter().filter_map(floats).flatten().any(|value| value.is_nan()) {
                return Err("it gives NaN".into());
            }
        }
        Ok(())
    }

    fn row(&self, signature: &Signature, seed: u64, scale: f64) -> Vec<(usize, Tensor)> {
        self.sample(signature, 1, seed, scale)
    }

    /// Inputs without meaning: numbers of up to `scale` on both sides of zero, integers from 0.
    fn sample(
        &self,
        signature: &Signature,
        rows: u64,
        seed: u64,
        scale: f64,
    ) -> Vec<(usize, Tensor)> {
        let one = |(at, info): (usize, &TensorInfo)| {
            let inner = info.shape.iter().skip(1);
            let inner = inner.map(|dim| u64::try_from(*dim).unwrap_or(self.open));
            let shape: Vec<u64> = std::iter::once(rows).chain(inner).collect();
            let count = shape.iter().product();
            let range = self.ranges.get(at).copied().unwrap_or(2);
            let random = (0..count).map(|i| match seed {
                LARGEST => range - 1,
                seed => mix((seed << 40) ^ ((at as u64) << 32) ^ i),
            });
            Some((at, filled(info.dtype, shape, random, scale, range)?))
        };
        signature.inputs.iter().enumerate().filter_map(one).collect()
    }
}

fn run(
    session: &mut dyn Session,
    signature: &Signature,
    inputs: &[(usize, Tensor)],
) -> Result<Vec<Tensor>, String> {
    let outputs: Vec<usize> = (0..signature.outputs.len()).collect();
    let outputs = session.run(inputs, &outputs, &Cancel::default());
    outputs.map_err(|e: NnError| e.to_string())
}

fn filled(
    dtype: DType,
    shape: Vec<u64>,
    random: impl Iterator<Item = u64>,
    scale: f64,
    range: u64,
) -> Option<Tensor> {
    let number = |bits: u64| (bits as u32 as f64 / f64::from(u32::MAX) * 2.0 - 1.0) * scale;
    macro_rules! bytes {
        ($of:expr) => {
            random.flat_map(|bits| $of(bits).to_le_bytes()).collect::<Vec<u8>>()
        };
    }
    let data = match dtype {
        DType::F32 => bytes!(|bits| number(bits) as f32),
        DType::F64 => bytes!(number),
        DType::F16 => bytes!(|bits| f16::from_f64(number(bits))),
        DType::BF16 => bytes!(|bits| bf16::from_f64(number(bits))),
        DType::Bool => bytes!(|bits| (bits & 1) as u8),
        DType::U8 | DType::I8 => bytes!(|bits| (bits % range.min(128)) as u8),
        DType::U16 | DType::I16 => bytes!(|bits| (bits % range) as u16),
        DType::U32 | DType::I32 => bytes!(|bits| (bits % range) as u32),
        DType::U64 | DType::I64 => bytes!(|bits| bits % range),
        DType::Bytes => {
            let words = random.map(|bits| if bits & 1 == 0 { "a" } else { "b" });
            return Tensor::from_bytes_elements(shape, words).ok();
        }
    };
    Tensor::new(dtype, shape, data.into()).ok()
}

/// A number that looks random (splitmix64's finaliser, Steele et al., 2014).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// One row below the other.
fn below(a: &[(usize, Tensor)], b: &[(usize, Tensor)]) -> Result<Vec<(usize, Tensor)>, String> {
    a.iter()
        .zip(b)
        .map(|((at, a), (_, b))| {
            let rows = std::iter::once(2).chain(a.shape().iter().skip(1).copied());
            let data = [&a.data()[..], b.data()].concat();
            let tensor = Tensor::new(a.dtype(), rows.collect::<Vec<_>>(), data.into());
            Ok((*at, tensor.map_err(|e| e.to_string())?))
        })
        .collect()
}

/// Compares an output of two rows with those of the rows alone. `name` is for messages.
fn compare(name: &str, alone: &[Tensor; 2], together: &Tensor) -> Result<(), String> {
    for (row, alone) in alone.iter().enumerate() {
        let Some(part) = together.rows(row as u64, 1).ok().filter(|_| together.shape()[0] == 2)
        else {
            let shape = Shape(together.shape());
            return Err(format!("output {name} of two rows has shape {shape}"));
        };
        if part.shape() != alone.shape() {
            let (two, one) = (Shape(together.shape()), Shape(alone.shape()));
            return Err(format!("output {name} has shape {one} for one row and {two} for two"));
        }
        let differ = difference(alone, &part);
        let allowed = match alone.dtype() {
            DType::F16 | DType::BF16 => HALF_TOLERANCE,
            _ => TOLERANCE,
        };
        if differ > allowed {
            return Err(format!(
                "rows of one run influence each other: output {name} of a row differs by {differ:.1e} \
                 of its largest value when another row is beside it ({allowed:.0e} is allowed)"
            ));
        }
    }
    Ok(())
}

/// The largest difference, as a part of the largest value; for what are no floats 0 or 1.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    let (Some(x), Some(y)) = (floats(a), floats(b)) else {
        return f64::from(u8::from(a.data() != b.data()));
    };
    let largest =
        x.iter().chain(&y).filter(|v| v.is_finite()).fold(0.0, |m: f64, v| m.max(v.abs()));
    let apart = |(x, y): (&f64, &f64)| match x == y {
        true => 0.0,
        false => (x - y).abs() / largest.max(f64::MIN_POSITIVE),
    };
    // What is no number differs from everything.
    let worst =
        |worst: f64, apart: f64| if apart.is_nan() { f64::INFINITY } else { worst.max(apart) };
    x.iter().zip(&y).map(apart).fold(0.0, worst)
}

fn floats(tensor: &Tensor) -> Option<Vec<f64>> {
    let data = tensor.data();
    Some(match tensor.dtype() {
        DType::F32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect(),
        DType::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        DType::F16 => data.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).into()).collect(),
        DType::BF16 => data.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).into()).collect(),
        _ => return None,
    })
}
