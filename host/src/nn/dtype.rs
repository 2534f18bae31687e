//! The types that a tensor's elements can have, with their sizes and names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The type of a tensor's elements. Numbers are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DType {
    /// One byte an element, 0 or 1.
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an `F32`.
    BF16,
    F32,
    F64,
    /// Byte strings: each element is its length as a 32-bit number, then its bytes.
    Bytes,
}

/// Every type with the name in our messages, the name in the Open Inference Protocol and the size
/// of an element in bytes.
const TABLE: [(DType, &str, &str, Option<usize>); 14] = [
    (DType::Bool, "bool", "BOOL", Some(1)),
    (DType::U8, "u8", "UINT8", Some(1)),
    (DType::U16, "u16", "UINT16", Some(2)),
    (DType::U32, "u32", "UINT32", Some(4)),
    (DType::U64, "u64", "UINT64", Some(8)),
    (DType::I8, "i8", "INT8", Some(1)),
    (DType::I16, "i16", "INT16", Some(2)),
    (DType::I32, "i32", "INT32", Some(4)),
    (DType::I64, "i64", "INT64", Some(8)),
    (DType::F16, "fp16", "FP16", Some(2)),
    (DType::BF16, "bf16", "BF16", Some(2)),
    (DType::F32, "fp32", "FP32", Some(4)),
    (DType::F64, "fp64", "FP64", Some(8)),
    (DType::Bytes, "bytes", "BYTES", None),
];

impl DType {
    /// All types, in the order of the enumeration.
    pub fn all() -> impl Iterator<Item = DType> {
        TABLE.iter().map(|row| row.0)
    }

    /// The size of an element in bytes; `None` for `Bytes`, whose elements differ.
    pub fn size(self) -> Option<usize> {
        TABLE[self as usize].3
    }

    /// The name in messages and logs, such as `fp32`.
    pub fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// The name in the Open Inference Protocol, such as `FP32`.
    pub fn oip_name(self) -> &'static str {
        TABLE[self as usize].2
    }

    /// The type with this name in the Open Inference Protocol.
    pub fn from_oip_name(name: &str) -> Option<DType> {
        TABLE.iter().find(|row| row.2 == name).map(|row| row.0)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_the_order_of_the_enumeration() {
        for (i, dtype) in DType::all().enumerate() {
            assert_eq!(dtype as usize, i);
            assert_eq!(DType::from_oip_name(dtype.oip_name()), Some(dtype));
        }
    }
}
