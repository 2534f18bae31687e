//! Threads fit for native code. It needs real ones: a guest's stack is small, and an overflow there
//! aborts the process.

use std::{
    any::Any,
    io,
    thread::{Builder, JoinHandle},
};

use super::{LoadError, error::first_line};

/// Enough for deep recursion in graph loaders and kernels.
const STACK_BYTES: usize = 8 << 20;

/// The name of threads that load graphs and try them.
pub const LOADING: &str = "nn-load";

/// Starts a thread fit for native code.
pub fn native_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_string()).stack_size(STACK_BYTES).spawn(work)
}

/// Runs what may need the stack of native code, and may panic.
pub fn on_native_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    let thread = native_thread(LOADING, work)
        .map_err(|e| LoadError::Graph(format!("a thread cannot start: {e}")))?;
    thread.join().unwrap_or_else(|panic| {
        Err(LoadError::Graph(format!(
            "the graph cannot be read: {}",
            panic_message(panic.as_ref())
        )))
    })
}

/// The text of a panic, or its first line.
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => *text,
        (_, Some(text)) => text.as_str(),
        _ => "no message",
    };
    first_line(text)
}
