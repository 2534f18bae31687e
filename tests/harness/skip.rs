//! Says aloud what is not tested, and why: past the test harness, which hides what passing tests print.

use std::{env, io::Write};

/// Something that setting up gives is missing: in CI that is a failure.
pub fn skip(why: &str) {
    assert!(env::var_os("CI").is_none(), "missing in CI: {why}");
    skip_here(why);
}

/// This machine, or what lies beside the checkout, is not such that it can be tested: nobody's fault,
/// in CI neither.
pub fn skip_here(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}
