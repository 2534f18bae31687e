//! How a session multiplies int8 values, so that no sum of them overflows without a word.
//!
//! Processors before VNNI add pairs of products in 16 bits, and more than fits is cut off. ONNX Runtime
//! avoids that where it is asked to, at a quarter of the speed, but then cannot load a graph whose nodes
//! share a quantised weight. Where it need not be avoided, asking changes nothing.

use ort::session::builder::SessionBuilder;

/// How the sums of int8 products are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Int8Sums {
    Exact,
    /// Values are dequantised first, where a graph says how: exact too, and slower.
    InFloat,
    /// As the processor does it.
    MayOverflow,
}

impl Int8Sums {
    /// Best first.
    pub const ALL: [Int8Sums; 3] = [Int8Sums::Exact, Int8Sums::InFloat, Int8Sums::MayOverflow];

    pub fn set(self, builder: SessionBuilder) -> Result<SessionBuilder, String> {
        let builder = match self {
            Int8Sums::MayOverflow => return Ok(builder),
            // What is not to be dequantised stays exact.
            Int8Sums::Exact | Int8Sums::InFloat => builder.with_precise_qmm(),
        };
        let builder = builder.map_err(|e| e.to_string())?;
        match self {
            Int8Sums::InFloat => builder.with_quant_qdq(false).map_err(|e| e.to_string()),
            _ => Ok(builder),
        }
    }

    /// What that means for the answers of a graph; `None` where there is nothing to say.
    pub fn warning(self) -> Option<String> {
        let here = if has_vnni() { "this processor has it" } else { "as this one" };
        match self {
            Int8Sums::Exact => None,
            Int8Sums::InFloat => Some(
                "its int8 operators compute in float: the answers are right, but take longer"
                    .to_string(),
            ),
            Int8Sums::MayOverflow => Some(format!(
                "on a processor without VNNI ({here}), int8 sums can overflow, and answers differ from \
                 those elsewhere"
            )),
        }
    }
}

fn has_vnni() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    true
}
