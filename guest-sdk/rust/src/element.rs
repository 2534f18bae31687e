//! The types of a tensor's elements, and how Rust's values become their bytes.

use std::borrow::Cow;
use std::fmt;

use half::slice::HalfFloatSliceExt;
use half::vec::HalfBitsVecExt;
use half::{bf16, f16};

use crate::{Error, Result};

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// `bool`: one byte, 0 or 1.
    Bool,
    /// `u8`
    U8,
    /// `u16`
    U16,
    /// `u32`
    U32,
    /// `u64`
    U64,
    /// `i8`
    I8,
    /// `i16`
    I16,
    /// `i32`
    I32,
    /// `i64`
    I64,
    /// [`half::f16`]
    F16,
    /// [`half::bf16`]
    BF16,
    /// `f32`
    F32,
    /// `f64`
    F64,
    /// [`String`] or `Vec<u8>`: byte strings of any length.
    Bytes,
}

impl DType {
    /// Bytes an element; none for [`DType::Bytes`].
    pub fn size(self) -> Option<usize> {
        match self {
            DType::Bool | DType::U8 | DType::I8 => Some(1),
            DType::U16 | DType::I16 | DType::F16 | DType::BF16 => Some(2),
            DType::U32 | DType::I32 | DType::F32 => Some(4),
            DType::U64 | DType::I64 | DType::F64 => Some(8),
            DType::Bytes => None,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// A Rust type that is the element of a tensor. Implemented for every [`DType`].
pub trait Element: Clone + sealed::Sealed + 'static {
    /// The tensor's type.
    const DTYPE: DType;

    /// The bytes of a tensor with these elements.
    #[doc(hidden)]
    fn encode(values: &[Self]) -> Cow<'_, [u8]>;

    /// The elements of a tensor with these bytes.
    #[doc(hidden)]
    fn decode(bytes: Vec<u8>) -> Result<Vec<Self>>;
}

mod sealed {
    pub trait Sealed {}
}

/// Types whose values are their bytes.
macro_rules! plain {
    ($($type:ty => $dtype:ident),+) => {$(
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
            fn encode(values: &[Self]) -> Cow<'_, [u8]> {
                Cow::Borrowed(bytemuck::cast_slice(values))
            }
            fn decode(bytes: Vec<u8>) -> Result<Vec<Self>> {
                // Without a copy where the alignment allows it, which is for u8 and i8; in one go where
                // the bytes happen to lie as the type wants it.
                Ok(bytemuck::try_cast_vec(bytes).unwrap_or_else(|(_, bytes)| {
                    match bytemuck::try_cast_slice(&bytes) {
                        Ok(values) => values.to_vec(),
                        Err(_) => bytemuck::pod_collect_to_vec(&bytes),
                    }
                }))
            }
        }
    )+};
}

plain!(u8 => U8, u16 => U16, u32 => U32, u64 => U64, i8 => I8, i16 => I16, i32 => I32, i64 => I64,
       f32 => F32, f64 => F64);

/// The half-precision types, whose bits are a `u16`.
macro_rules! halves {
    ($($type:ty => $dtype:ident),+) => {$(
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
            fn encode(values: &[Self]) -> Cow<'_, [u8]> {
                Cow::Borrowed(bytemuck::cast_slice(values.reinterpret_cast()))
            }
            fn decode(bytes: Vec<u8>) -> Result<Vec<Self>> {
                Ok(bytemuck::pod_collect_to_vec::<u8, u16>(&bytes).reinterpret_into())
            }
        }
    )+};
}

halves!(f16 => F16, bf16 => BF16);

impl sealed::Sealed for bool {}
impl Element for bool {
    const DTYPE: DType = DType::Bool;

    fn encode(values: &[Self]) -> Cow<'_, [u8]> {
        Cow::Owned(values.iter().map(|&value| u8::from(value)).collect())
    }

    fn decode(bytes: Vec<u8>) -> Result<Vec<Self>> {
        Ok(bytes.into_iter().map(|byte| byte != 0).collect())
    }
}

impl sealed::Sealed for Vec<u8> {}
impl Element for Vec<u8> {
    const DTYPE: DType = DType::Bytes;

    fn encode(values: &[Self]) -> Cow<'_, [u8]> {
        Cow::Owned(join(values))
    }

    fn decode(bytes: Vec<u8>) -> Result<Vec<Self>> {
        split(&bytes).map(|item| Ok(item?.to_vec())).collect()
    }
}

impl sealed::Sealed for String {}
impl Element for String {
    const DTYPE: DType = DType::Bytes;

    fn encode(values: &[Self]) -> Cow<'_, [u8]> {
        Cow::Owned(join(values))
    }

    fn decode(bytes: Vec<u8>) -> Result<Vec<Self>> {
        split(&bytes)
            .map(|item| match std::str::from_utf8(item?) {
                Ok(text) => Ok(text.to_owned()),
                Err(error) => Err(Error::model(error)),
            })
            .collect()
    }
}

/// Byte strings as a tensor holds them: each after its length as a 32-bit little-endian number.
fn join(values: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        let value = value.as_ref();
        bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        bytes.extend_from_slice(value);
    }
    bytes
}

/// The byte strings that [`join`] put together.
pub(crate) fn split(mut bytes: &[u8]) -> impl Iterator<Item = Result<&[u8]>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let item = bytes
            .split_first_chunk()
            .and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
        // After a broken item nothing can be trusted: stop.
        let (item, rest) = match item {
            Some((item, rest)) => (Ok(item), rest),
            None => (Err(Error::model("a tensor of byte strings is cut short")), [].as_slice()),
        };
        bytes = rest;
        Some(item)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_its_bytes() {
        fn round<T: Element + PartialEq + fmt::Debug>(values: &[T]) {
            assert_eq!(T::decode(T::encode(values).into_owned()).unwrap(), values);
        }
        round(&[true, false]);
        round(&[0u8, 255]);
        round(&[i8::MIN, 1]);
        round(&[u16::MAX, 1]);
        round(&[i64::MIN, 1]);
        round(&[1.5f32, f32::INFINITY]);
        round(&[1.5f64, -0.0]);
        round(&[f16::from_f32(1.5)]);
        round(&[bf16::from_f32(1.5)]);
        round(&["".to_owned(), "ü".to_owned()]);
        round(&[vec![0xff, 0], vec![]]);
    }

    #[test]
    fn broken_byte_strings_are_errors() {
        assert!(Vec::<u8>::decode(vec![2, 0, 0, 0, 7]).is_err());
        assert!(Vec::<u8>::decode(vec![2, 0, 0]).is_err());
        assert!(String::decode(vec![1, 0, 0, 0, 0xff]).is_err());
    }
}
