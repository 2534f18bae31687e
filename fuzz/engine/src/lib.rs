//! Nothing of its own: building it compiles libFuzzer, an archive that the fuzz targets link.

pub use libfuzzer_sys as _;
