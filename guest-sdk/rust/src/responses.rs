//! Parts of a result, given to the caller before the end.

#[cfg(not(target_arch = "wasm32"))]
use crate::host::collect;
use crate::{Output, Result, host};

/// Whether the caller takes parts: whether [`emit`] can succeed in this call.
pub fn streaming() -> bool {
    host::streaming()
}

/// Gives the caller a part of the result; what `run` returns is the last part, or none where it is empty.
/// Waits while the caller is slow.
///
/// Fails, as the caller's fault, where the caller takes one answer only.
pub fn emit(part: Output) -> Result<()> {
    host::emit(part)
}

/// For a model's unit tests: runs `call` as one whose caller takes parts, and gives its result with
/// what it emitted.
#[cfg(not(target_arch = "wasm32"))]
pub fn collected<T>(call: impl FnOnce() -> T) -> (T, Vec<Output>) {
    collect(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_collected() {
        let count = || (0..3).try_for_each(|i| emit(Output::json(&i)?));
        let (result, parts) = collected(count);
        result.unwrap();
        let parts: Vec<_> = parts.iter().map(|part| part.as_json().unwrap()).collect();
        assert_eq!(parts, ["0", "1", "2"]);
        assert!(!streaming());
        assert!(count().is_err(), "nobody takes parts");
    }
}
