//! `NumpyImage` as a tensor, and back.

use bytes::Bytes;

use crate::nn::{DType, Tensor};

use super::{proto::server::NumpyImage, status};

const DTYPES: [(&str, DType, u64); 3] =
    [("uint8", DType::U8, 1), ("float32", DType::F32, 4), ("float64", DType::F64, 8)];

/// What is wrong with an image.
#[derive(Debug)]
pub struct BadImage {
    /// Of `NumpyImage`.
    pub field: &'static str,
    pub problem: String,
}

/// The image's pixels, not copied: shape [h, w], or [h, w, c] for more than one channel.
pub fn from_proto(image: NumpyImage) -> Result<Tensor, BadImage> {
    let bad = |field, problem| Err(BadImage { field, problem });
    let NumpyImage { height, width, channels, data, dtype } = image;
    let Some((name, dtype, size)) = DTYPES.into_iter().find(|row| row.0 == dtype) else {
        let dtype = status::escape(&dtype);
        return bad("dtype", format!("the image's dtype is `{dtype}`: uint8, float32 or float64"));
    };
    let dimension = |n: i32| u64::try_from(n).ok().filter(|n| *n > 0);
    let (Some(h), Some(w), Some(c)) = (dimension(height), dimension(width), dimension(channels))
    else {
        let field = match (dimension(height), dimension(width)) {
            (None, _) => "height",
            (_, None) => "width",
            _ => "channels",
        };
        let problem = format!(
            "the image's height, width and channels are {height}, {width}, {channels}: each must \
             be at least 1"
        );
        return bad(field, problem);
    };
    let wanted = u128::from(h) * u128::from(w) * u128::from(c) * u128::from(size);
    if wanted != data.len() as u128 {
        let has = data.len();
        if let Some(format) = encoded(&data) {
            let problem = format!(
                "the image's data is a {format} file of {has} bytes: decode it and send its \
                 pixels, here {h} x {w} x {c} of {name}, {wanted} bytes"
            );
            return bad("data", problem);
        }
        let problem =
            format!("the image's data has {has} bytes, but {h} x {w} x {c} of {name} are {wanted}");
        return bad("data", problem);
    }
    let shape = match c {
        1 => vec![h, w],
        _ => vec![h, w, c],
    };
    let tensor = Tensor::new(dtype, shape, data);
    tensor.map_err(|e| BadImage { field: "data", problem: status::fit(e) })
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
