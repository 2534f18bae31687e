//! What libFuzzer runs, input by input; scripts/fuzz.sh builds and starts it.
//!
//! - [`grpc`]: requests into the services, against real models
//! - [`child`]: what a process of native code sends
//! - [`load`]: folders of models and settings into the loader
//! - [`world`]: the models and temporary folders of both
//!
//! A panic, of the host's code or of an assertion here, ends the process: that is a finding, and
//! libFuzzer keeps its input.

// An assertion is how a fuzz target speaks.
#![allow(clippy::panic, clippy::expect_used)]

pub mod child;
pub mod grpc;
pub mod load;
mod world;

use std::process;

/// Makes `$run` what libFuzzer calls with each input; `false` says that the input is of no use.
#[macro_export]
macro_rules! target {
    ($run:path) => {
        /// Called once, before the first input.
        #[unsafe(no_mangle)]
        #[allow(unsafe_code)] // the only function of this name: libFuzzer's interface
        pub extern "C" fn LLVMFuzzerInitialize(_: *const i32, _: *const *const *const i8) -> i32 {
            $crate::prepare();
            0
        }

        /// Called with each input.
        ///
        /// # Safety
        ///
        /// `data` holds `size` bytes, which stay as they are for the call: libFuzzer's promise.
        #[unsafe(no_mangle)]
        #[allow(unsafe_code)] // the only function of this name: libFuzzer's interface
        pub unsafe extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> i32 {
            if size == 0 {
                return -1;
            }
            // SAFETY: as above.
            let input = unsafe { std::slice::from_raw_parts(data, size) };
            if $run(input) { 0 } else { -1 }
        }
    };
}

/// What holds for all targets.
pub fn prepare() {
    // Otherwise the host would catch some panics, and others would end one task.
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        process::abort();
    }));
    // Log lines are formatted, and read by nobody.
    let log = tracing_subscriber::fmt().with_env_filter("off,tms=trace,model=trace");
    log.with_writer(std::io::sink).init();
}
