//! The hostile guest: one component that holds every attack which begins after loading. A request's
//! text names the attack, its arguments say how far it goes. Compiled only for Wasm; natively the
//! attacks' files are tests.

#![cfg(target_family = "wasm")]

pub use std::hint::black_box;

pub use tms_guest::bindings::exports::tms::model::guest::{
    Description, Error, Guest, Input, Output,
};
pub use tms_guest::bindings::tms::model::tensors::{Dtype, Tensor};
pub use tms_guest::bindings::tms::model::types::{AcceptedKinds, Fault};
pub use tms_guest::bindings::tms::model::{graphs, log};
pub use tms_guest::bindings::wasi::nn::errors::Error as NnError;
pub use tms_guest::bindings::wasi::nn::{graph, tensor as nn_tensor};
pub use tms_guest::serde_json::{self, Value, json};
pub use wasi;

/// What every attack gives, unless something stops it.
pub type Answer = Result<Output, Error>;

/// What an attack is given.
pub struct Request {
    pub input: Input,
    pub args: Value,
}

impl Request {
    /// A number among the arguments, or what stands for endless.
    pub fn number(&self, name: &str) -> u64 {
        self.args[name].as_u64().unwrap_or(u64::MAX)
    }

    /// A text among the arguments.
    pub fn text(&self, name: &str) -> &str {
        self.args[name].as_str().unwrap_or_default()
    }

    /// Whether the arguments have it.
    pub fn has(&self, name: &str) -> bool {
        !self.args[name].is_null()
    }
}

/// The attack went through.
pub fn done() -> Answer {
    answer(&json!("done"))
}

pub fn answer(json: &Value) -> Answer {
    Ok(Output { json: Some(json.to_string()), ..Output::default() })
}

/// The attack was refused, and says in which words.
pub fn refused(message: impl std::fmt::Display) -> Error {
    Error { fault: Fault::Model, message: message.to_string() }
}

/// What wasi:nn refused.
pub fn nn_refused(error: NnError) -> Error {
    refused(format_args!("{:?}: {}", error.code(), error.data()))
}

/// A tensor of bytes.
pub fn bytes(length: u64) -> Tensor {
    Tensor::new(Dtype::U8, &[length], &vec![1; length as usize])
}

/// A tensor of fp32.
pub fn floats(shape: &[u64]) -> Tensor {
    let data = vec![0; 4 * shape.iter().product::<u64>() as usize];
    Tensor::new(Dtype::Fp32, shape, &data)
}

/// Runs the graph in the model's folder.
pub fn compute(inputs: Vec<(&str, Tensor)>) -> Answer {
    let graph = graph::load_by_name("model").map_err(nn_refused)?;
    let inputs = inputs.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
    graphs::compute(&graph, inputs, &[])?;
    done()
}

thread_local! {
    /// What an attack keeps between its calls.
    pub static HELD: std::cell::RefCell<Vec<Tensor>> = const { std::cell::RefCell::new(vec![]) };
}

macro_rules! attacks {
    ($($name:ident)*) => {
        $(mod $name;)*

        fn attack(name: &str, request: Request) -> Answer {
            match name {
                "nothing" => done(),
                "end" => panic!("asked to end"),
                $(stringify!($name) => $name::attack(request),)*
                _ => Err(Error { fault: Fault::Caller, message: "no such attack".into() }),
            }
        }
    };
}

attacks! {
    allocation_bomb
    big_reads
    compute_dtype
    compute_elements
    compute_extra
    compute_misnamed
    compute_missing
    compute_shape
    compute_twice
    deep_json
    deep_recursion
    dims_overflow
    forged_log
    forged_message
    graph_names
    handle_doubled
    handle_dropped
    handle_dropped_twice
    handle_given_away
    handle_guessed
    handle_leak
    handle_of_another_kind
    huge_error
    huge_json
    huge_random
    infinite_loop
    invalid_utf8
    leave_a_folder
    load_bytes
    log_bytes
    log_lines
    loop_in_the_host
    many_contexts
    many_dimensions
    many_timers
    million_tensors
    not_json
    overlapping_lists
    read_arguments_and_stdin
    read_environment
    read_files
    read_past_the_end
    sleep
    slow_leak
    sockets
    stdout_flood
    string_rows
    tensor_bomb
    tiny_grows
    trap_in_every_call
    trap_in_every_tenth_call
    wrong_byte_count
    wrong_count
    wrong_views
}

struct Hostile;

impl Guest for Hostile {
    fn init() -> Result<(), Error> {
        // For the attack that comes before any call.
        if let Some(ms) = std::env::var("HOSTILE_INIT").ok().and_then(|ms| ms.parse().ok()) {
            std::thread::sleep(std::time::Duration::from_millis(ms));
        }
        Ok(())
    }

    fn describe() -> Description {
        let accepts = AcceptedKinds::TEXT | AcceptedKinds::TENSORS;
        Description { accepts, ..Description::default() }
    }

    fn run(input: Input, args: String) -> Answer {
        let args = serde_json::from_str(&args).map_err(refused)?;
        let name = input.text.clone();
        attack(&name, Request { input, args })
    }

    fn run_batch(inputs: Vec<Input>, args: String) -> Result<Vec<Output>, Error> {
        let outputs: Result<_, _> =
            inputs.into_iter().map(|input| Self::run(input, args.clone())).collect();
        let args = serde_json::from_str(&args).map_err(refused)?;
        Ok(wrong_count::batch(outputs?, &args))
    }
}

tms_guest::bindings::export_component!(Hostile with_types_in tms_guest::bindings);
