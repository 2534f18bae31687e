//! Built for version 0.1.0 of the interface, whose components are still served: a text comes back in capitals, an
//! image and tensors as they are, each through a handle of its own.

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../wit/deps/wasi-nn", "../../../wit/0.1.0"],
        world: "tms:model/model",
        generate_all,
    });
}

use bindings::tms::model::{log, tensors::Tensor, types};

struct Older;

impl bindings::Guest for Older {
    fn init() -> Result<(), types::Error> {
        log::log(log::Level::Info, "an older guest starts");
        Ok(())
    }

    fn describe() -> types::Description {
        let accepts = types::Kinds::TEXT | types::Kinds::IMAGE | types::Kinds::TENSORS;
        types::Description { accepts, inputs: Vec::new(), outputs: Vec::new() }
    }

    fn get_input_shape() -> Option<Vec<u32>> {
        Some(vec![4, 6, 3])
    }

    fn run(input: types::Input, args: String) -> Result<types::Output, types::Error> {
        if input.text == "fail" {
            let message = format!("told to, with {args}");
            return Err(types::Error { fault: types::Fault::Caller, message });
        }
        let json = match input.kind {
            types::Kind::Text => Some(format!("{:?}", input.text.to_uppercase())),
            types::Kind::Image | types::Kind::Tensors => None,
        };
        let again = |(name, tensor): (String, Tensor)| {
            let shape = tensor.shape();
            let bytes = tensor.read(0, tensor.byte_length());
            (name, Tensor::new(tensor.dtype(), &shape, &bytes))
        };
        Ok(types::Output { json, tensors: input.tensors.into_iter().map(again).collect() })
    }

    fn run_batch(
        inputs: Vec<types::Input>,
        args: String,
    ) -> Result<Vec<types::Output>, types::Error> {
        inputs.into_iter().map(|input| Self::run(input, args.clone())).collect()
    }
}

bindings::export!(Older with_types_in bindings);
