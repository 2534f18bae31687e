//! `tms:model/models`: other models, as far as the operator lets this one call them.

use wasmtime::{Result, component::Resource};

use crate::{
    data::{Input, Output},
    details::{InnerCall, InnerError, InnerFault, InnerInputs},
    sandbox::{
        error::CallError,
        store::{Lent, StoreData},
    },
};

use super::{
    bindings::{
        models,
        types::{self, Error, Fault},
    },
    resources::HostTensor,
};

/// Bytes of a model's name that are quoted.
const NAME: usize = 100;

impl models::Host for StoreData {
    fn names(&mut self) -> Result<Vec<String>> {
        let others = self.details().and_then(|call| call.others.as_ref());
        Ok(others.map(|others| others.names().to_vec()).unwrap_or_default())
    }

    async fn run(
        &mut self,
        model: String,
        input: types::Input,
        args: String,
    ) -> Result<Result<types::Output, Error>> {
        let mut lent = Vec::new();
        let input = match self.inner_input(input, &mut lent)? {
            Ok(input) => input,
            Err(error) => return Ok(Err(error)),
        };
        let answer = self.call_other(model, InnerInputs::One(input), args).await;
        drop(lent);
        match answer {
            Ok(outputs) => match outputs.into_iter().next() {
                Some(output) => Ok(Ok(self.give_output(output)?)),
                None => Ok(Err(server_error("the model gave no result"))),
            },
            Err(error) => Ok(Err(error)),
        }
    }

    async fn run_batch(
        &mut self,
        model: String,
        inputs: Vec<types::Input>,
        args: String,
    ) -> Result<Result<Vec<types::Output>, Error>> {
        let mut lent = Vec::new();
        let mut taken = Vec::with_capacity(inputs.len());
        let mut wrong = None;
        for input in inputs {
            // All of them are given away, whatever one of them is.
            match self.inner_input(input, &mut lent)? {
                Ok(input) => taken.push(input),
                Err(error) => wrong = wrong.or(Some(error)),
            }
        }
        if let Some(error) = wrong {
            return Ok(Err(error));
        }
        let answer = self.call_other(model, InnerInputs::Several(taken), args).await;
        drop(lent);
        match answer {
            Ok(outputs) => {
                let mut given = Vec::with_capacity(outputs.len());
                for output in outputs {
                    given.push(self.give_output(output)?);
                }
                Ok(Ok(given))
            }
            Err(error) => Ok(Err(error)),
        }
    }
}

impl StoreData {
    fn inner_input(
        &mut self,
        input: types::Input,
        lent: &mut Vec<Lent>,
    ) -> Result<Result<Input, Error>> {
        match self.take_input(input, lent) {
            Ok(input) => Ok(input.map_err(model_error)),
            Err(CallError::Model(why)) => Err(wasmtime::format_err!("{why}")),
            Err(other) => Err(wasmtime::format_err!("{other}")),
        }
    }

    async fn call_other(
        &mut self,
        model: String,
        inputs: InnerInputs,
        args: String,
    ) -> Result<Vec<Output>, Error> {
        if let Err(why) = crate::data::check_json(&args) {
            return Err(model_error(format!("the arguments are not JSON: {why}")));
        }
        let others = self.details().and_then(|call| call.others.clone());
        let Some(others) = others.filter(|others| others.names().contains(&model)) else {
            let model = crate::text::bounded(&model, NAME).escape_debug().to_string();
            return Err(model_error(format!(
                "tms.toml does not let this model call `{model}` (models)"
            )));
        };
        let call = InnerCall { model, inputs, args, deadline: self.deadline };
        others.run(call).await.map_err(|InnerError { fault, message }| {
            let fault = match fault {
                InnerFault::Caller => Fault::Caller,
                InnerFault::Model => Fault::Model,
                InnerFault::Server => Fault::Server,
            };
            Error { fault, message }
        })
    }

    /// Another model's result as this guest sees it. Its bytes count as this guest's own from now on.
    fn give_output(&mut self, output: Output) -> Result<types::Output> {
        self.batch = self.batch.max(output.batch);
        let mut tensors = Vec::with_capacity(output.tensors.len());
        for (name, tensor) in output.tensors {
            let charge = self.charge_tensor(tensor.byte_length(), tensor.shape().len())?;
            let handle: Resource<HostTensor> = self.table.push(HostTensor::new(tensor, charge))?;
            tensors.push((name, handle));
        }
        Ok(types::Output { json: output.json, tensors, media_type: output.media_type })
    }
}

fn model_error(message: String) -> Error {
    Error { fault: Fault::Model, message }
}

fn server_error(message: &str) -> Error {
    Error { fault: Fault::Server, message: message.into() }
}
