//! What a child answers, checked: it is input like any other, of a process that may be anybody's by now.

use std::sync::Arc;

use bytes::Bytes;

use super::message::{Place, Placed};
use crate::{
    child::region::{Copies, OutputRegion},
    ledger::NoRoom,
    nn::{
        DType, Tensor,
        away::{Away, Keeper},
    },
};

/// What a run may answer.
pub struct Expected<'a> {
    /// The types of its outputs, in the order wanted.
    pub dtypes: &'a [DType],
    /// Where outputs are that came back.
    pub region: Option<&'a OutputRegion>,
    /// Memory for copies.
    pub copies: &'a Copies,
    /// Whether outputs may stay with the child.
    pub may_stay: bool,
    /// Bytes of all outputs.
    pub most: usize,
}

/// Why an answer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// It is not what was asked for.
    Nonsense,
    NoRoom(NoRoom),
}

impl From<NoRoom> for NotTaken {
    fn from(no_room: NoRoom) -> Self {
        Self::NoRoom(no_room)
    }
}

/// The outputs, those in the region copied out of it. `keep` makes what fetches a tensor of this number and
/// length.
pub fn outputs(
    placed: Vec<Placed>,
    expected: &Expected<'_>,
    keep: impl Fn(u64, usize) -> Arc<dyn Keeper>,
) -> Result<Vec<Tensor>, NotTaken> {
    use NotTaken::Nonsense;
    if placed.len() != expected.dtypes.len() {
        return Err(Nonsense);
    }
    let mut tensors = Vec::with_capacity(placed.len());
    let (mut copied, mut kept) = (0usize, 0usize);
    for (Placed { dtype, shape, length, place }, wanted) in placed.into_iter().zip(expected.dtypes)
    {
        if dtype != *wanted {
            return Err(Nonsense);
        }
        let length = usize::try_from(length).map_err(|_| Nonsense)?;
        let tensor = match place {
            Place::Region { offset } => {
                // Outputs that lie on each other could be many times the region.
                copied = copied.checked_add(length).ok_or(Nonsense)?;
                if copied > expected.region.map_or(0, OutputRegion::length) {
                    return Err(Nonsense);
                }
                let data = match length {
                    0 => Bytes::new(),
                    _ => {
                        let offset = usize::try_from(offset).map_err(|_| Nonsense)?;
                        let region = expected.region.ok_or(Nonsense)?;
                        region.copy(offset, length, expected.copies)?.ok_or(Nonsense)?
                    }
                };
                Tensor::new(dtype, shape, data).map_err(|_| Nonsense)?
            }
            Place::Kept { number } => {
                kept = kept.checked_add(length).ok_or(Nonsense)?;
                if !expected.may_stay || kept > expected.most {
                    return Err(Nonsense);
                }
                let away = Away::new(length, keep(number, length));
                Tensor::elsewhere(dtype, shape, away).map_err(|_| Nonsense)?
            }
        };
        tensors.push(tensor);
    }
    Ok(tensors)
}

/// Takes bytes as what a child sent over a session's socket and over its own, and other bytes as what it left
/// in the region: for the fuzz target.
pub fn hear(sent: &[u8], left: &[u8]) {
    use super::message::{FromSession, Report};
    use crate::{
        child::{channel::Incoming, region::Target},
        nn::runner::Going,
    };

    struct Nobody;
    impl Keeper for Nobody {
        fn fetch(&self) -> Going<'_, Result<Bytes, crate::nn::NnError>> {
            Box::pin(async { Ok(Bytes::new()) })
        }
    }

    let Ok((region, file)) = OutputRegion::new(left.len(), &Arc::default()) else { return };
    if let Ok(mut target) = Target::map(&file) {
        let _ = target.write(0, left);
    }
    let (copies, all) = (Copies::default(), DType::all().collect::<Vec<_>>());
    let mut to_session = Incoming::default();
    to_session.push(sent);
    while let Ok(Some(FromSession::Outputs(placed))) = to_session.message() {
        let first = placed.first().map_or(DType::F32, |first| first.dtype);
        let of_one = vec![first; placed.len()];
        for dtypes in [&of_one, &all] {
            let (region, copies, most) = (Some(&region), &copies, 1 << 20);
            let expected = Expected { dtypes, region, copies, may_stay: true, most };
            drop(outputs(placed.clone(), &expected, |_, _| Arc::new(Nobody)));
        }
    }
    let mut to_link = Incoming::default();
    to_link.push(sent);
    while let Ok(Some(report)) = to_link.message::<Report>() {
        drop(report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::region::Target;

    fn placed(shape: &[u64], offset: u64, length: u64) -> Placed {
        Placed { dtype: DType::U8, shape: shape.to_vec(), length, place: Place::Region { offset } }
    }

    #[test]
    fn only_what_was_asked_for_is_taken() {
        let (region, file) = OutputRegion::new(1, &Arc::default()).unwrap();
        assert!(Target::map(&file).unwrap().write(64, b"abc"));
        let nobody = |_, _| -> Arc<dyn Keeper> { unreachable!("nothing stays") };
        let take = |dtype: DType, placed: Vec<Placed>| {
            let dtypes = vec![dtype; 1];
            let (region, most) = (Some(&region), 1 << 20);
            let copies = &Copies::default();
            let expected = Expected { dtypes: &dtypes, region, copies, may_stay: false, most };
            outputs(placed, &expected, nobody)
        };
        let good = take(DType::U8, vec![placed(&[3], 64, 3)]).unwrap();
        assert_eq!(good[0].data()[..], b"abc"[..]);
        let end = region.length() as u64;
        for (why, bad) in [
            ("too many", vec![placed(&[3], 64, 3), placed(&[3], 64, 3)]),
            ("too few", vec![]),
            ("past the end", vec![placed(&[3], end - 2, 3)]),
            ("far past the end", vec![placed(&[3], u64::MAX, 3)]),
            ("more than there is", vec![placed(&[end + 1], 0, end + 1)]),
            ("not its shape", vec![placed(&[4], 64, 3)]),
            ("a huge shape", vec![placed(&[1 << 40, 1 << 40], 64, 3)]),
            ("a huge rank", vec![placed(&[1; 1000], 64, 1)]),
        ] {
            assert!(take(DType::U8, bad).is_err(), "{why}");
        }
        assert!(take(DType::I8, vec![placed(&[3], 64, 3)]).is_err(), "another type");
        let flags = Placed { dtype: DType::Bool, ..placed(&[3], 64, 3) };
        assert!(take(DType::Bool, vec![flags]).is_err(), "97 is no truth");
        let stays = Placed { place: Place::Kept { number: 7 }, ..placed(&[3], 0, 3) };
        assert!(take(DType::U8, vec![stays]).is_err(), "nobody let it");
    }
}
