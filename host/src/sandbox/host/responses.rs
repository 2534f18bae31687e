//! `tms:model/responses`: parts of a result, given to the caller before the end.

use std::time::Instant;

use wasmtime::{Result, format_err};

use crate::sandbox::{error::CallError, store::StoreData};

use super::bindings::{
    responses,
    types::{Error, Fault, Output},
};

/// Bytes of a part that are charged: many parts may wait.
const WORTH_CHARGING: usize = 4 << 10;

impl responses::Host for StoreData {
    fn streaming(&mut self) -> Result<bool> {
        Ok(self.details().is_some_and(|call| call.parts.is_some()))
    }

    async fn emit(&mut self, output: Output) -> Result<Result<(), Error>> {
        let Some(parts) = self.details().and_then(|call| call.parts.clone()) else {
            // They are given away in any case.
            self.take_tensors(output.tensors)?;
            let message = "the model gives its result in parts, and this call takes one answer: \
                           call RunStream, RunSession or ModelStreamInfer";
            return Ok(Err(Error { fault: Fault::Caller, message: message.into() }));
        };
        let (part, bytes) = match self.take_output(output, self.deadline, WORTH_CHARGING).await {
            Ok(taken) => taken,
            Err(CallError::Model(message)) => {
                return Ok(Err(Error { fault: Fault::Model, message }));
            }
            Err(CallError::Server(message)) => {
                return Ok(Err(Error { fault: Fault::Server, message }));
            }
            Err(CallError::NoRoom(no_room)) => {
                self.no_room = Some(no_room);
                return Err(no_room.into());
            }
            Err(other) => return Err(format_err!("{other}")),
        };
        // A slow caller takes the stream's time, not the model's.
        self.extend(parts.until);
        parts.send(part, bytes).await?;
        self.next_part(Instant::now(), parts.until);
        Ok(Ok(()))
    }
}
