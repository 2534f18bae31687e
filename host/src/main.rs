//! The binary `tms`: arguments in, exit code out.

use std::io::Write;

use clap::Parser;
use tms::{cli::Cli, logging};

fn main() -> ! {
    keep_quiet();
    let code = match Cli::parse().run() {
        Ok(()) => 0,
        Err(error) => {
            logging::complain(&error);
            1
        }
    };
    leave(code)
}

/// Ends the process at once, all of ours being closed by now. An ordinary exit would clean up
/// ONNX Runtime's statics under the feet of its threads, which may be reading a graph or running one
/// that nobody waits for, and crash.
fn leave(code: i32) -> ! {
    logging::finish();
    // Whoever started the program may have closed it.
    let _ = std::io::stdout().flush();
    // SAFETY: it takes no pointer and does not return.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(code)
    }
}

/// Tells ONNX Runtime to report nothing to its makers, as its published libraries do from 1.29 on
/// unless the environment says so before they are loaded.
fn keep_quiet() {
    const SETTING: &str = "ORT_DISABLE_TELEMETRY";
    if std::env::var_os(SETTING).is_none() {
        // SAFETY: this is the first thing that the process does: there are no other threads, which might
        // read the environment at the same time.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var(SETTING, "1");
        }
    }
}
