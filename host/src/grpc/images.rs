//! `NumpyImage` as a tensor, and back.

use bytes::Bytes;
use tonic::Status;

use crate::nn::{DType, Tensor};

use super::{proto::server::NumpyImage, status};

const DTYPES: [(&str, DType, u64); 3] =
    [("uint8", DType::U8, 1), ("float32", DType::F32, 4), ("float64", DType::F64, 8)];

/// The image's pixels, not copied: shape [h, w], or [h, w, c] for more than one channel.
pub fn from_proto(image: Option<NumpyImage>) -> Result<Tensor, Status> {
    let bad = |message: String| Err(Status::invalid_argument(message));
    let Some(image) = image else {
        return bad("the request has no image".into());
    };
    let NumpyImage { height, width, channels, data, dtype } = image;
    let Some((name, dtype, size)) = DTYPES.into_iter().find(|row| row.0 == dtype) else {
        let dtype = status::escape(&dtype);
        return bad(format!("the image's dtype is `{dtype}`: uint8, float32 or float64"));
    };
    let dimension = |n: i32| u64::try_from(n).ok().filter(|n| *n > 0);
    let (Some(h), Some(w), Some(c)) = (dimension(height), dimension(width), dimension(channels))
    else {
        return bad(format!(
            "the image's height, width and channels are {height}, {width}, {channels}: each must \
             be at least 1"
        ));
    };
    let wanted = u128::from(h) * u128::from(w) * u128::from(c) * u128::from(size);
    if wanted != data.len() as u128 {
        let has = data.len();
        if let Some(format) = encoded(&data) {
            return bad(format!(
                "the image's data is a {format} file of {has} bytes: decode it and send its \
                 pixels, here {h} x {w} x {c} of {name}, {wanted} bytes"
            ));
        }
        return bad(format!(
            "the image's data has {has} bytes, but {h} x {w} x {c} of {name} are {wanted}"
        ));
    }
    let shape = match c {
        1 => vec![h, w],
        _ => vec![h, w, c],
    };
    Tensor::new(dtype, shape, data).map_err(|e| Status::invalid_argument(status::fit(e)))
}

/// A tensor as an image, if it has the shape and type of one.
pub fn to_proto(tensor: &Tensor) -> Option<NumpyImage> {
    let (name, ..) = DTYPES.into_iter().find(|row| row.1 == tensor.dtype())?;
    let (h, w, c) = match *tensor.shape() {
        [h, w] => (h, w, 1),
        [h, w, c] => (h, w, c),
        _ => return None,
    };
    let dimension = |n: u64| i32::try_from(n).ok();
    Some(NumpyImage {
        height: dimension(h)?,
        width: dimension(w)?,
        channels: dimension(c)?,
        data: tensor.data().clone(),
        dtype: name.into(),
    })
}

/// The format of an encoded picture, by its first bytes.
fn encoded(data: &Bytes) -> Option<&'static str> {
    const MAGIC: [(&[u8], &str); 5] = [
        (b"\xff\xd8\xff", "JPEG"),
        (b"\x89PNG\r\n", "PNG"),
        (b"GIF8", "GIF"),
        (b"RIFF", "WebP"),
        (b"BM", "BMP"),
    ];
    MAGIC.into_iter().find(|(magic, _)| data.starts_with(magic)).map(|(_, name)| name)
}
