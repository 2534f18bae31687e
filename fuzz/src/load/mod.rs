//! A folder of models and the operator's file into the loader: texts of settings, a component's
//! bytes, what lies in a folder and how it is called. Graph files are fixed: they are trusted, and
//! reading them is not this project's code.
//!
//! - [`case`]: from an input to files
//! - [`text`]: settings that are nearly right
//! - [`loader`]: the loader on them, and what must hold

mod case;
mod loader;
mod text;

use arbitrary::Unstructured;

/// One input.
pub fn run(input: &[u8]) -> bool {
    let Ok(case) = case::Case::read(&mut Unstructured::new(input)) else {
        return false;
    };
    loader::Loader::get().load(input, &case);
    true
}
