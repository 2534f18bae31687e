//! Does what its text says, with all that the interface has: `emit:3` gives parts, `context` tells what it knows
//! of the call, `call:MODEL:TEXT` calls another model, `count` counts calls in its own memory. An image comes back
//! with its mean, a file with its length and its sum, tensors as they are, unless one is named `command`.

use std::thread;
use std::time::Duration;

use tms_guest::prelude::*;
use tms_guest::responses;
use tms_guest::serde_json::{Value, json};

#[derive(Default)]
struct Commands {
    count: u64,
}

impl Model for Commands {
    fn init() -> Result<Self> {
        info!("starts");
        Ok(Self::default())
    }

    fn describe(&self) -> Description {
        Description::text()
            .and_image()
            .and_tensors(vec![], vec![])
            .and_encoded(&["application/octet-stream", "image/png"])
            .streaming()
            .with_sequences()
            .about("Does what its text says.")
            .text_means("A command and its arguments, with colons between them.")
            .args_mean("None.")
            .json_means("The command's answer.")
            .tensor_means("x", "Anything.")
    }

    fn run(&mut self, input: Input, _args: &Args) -> Result<Output> {
        match input {
            Input::Text(text) => self.command(&text),
            Input::Image(image) => {
                let bytes = image.tensor().read(0..image.tensor().byte_length())?;
                let sum: f64 = bytes.iter().map(|&byte| f64::from(byte)).sum();
                let mean = sum / bytes.len() as f64;
                Output::image(image.into_tensor())?.with_json(&mean)
            }
            // A command by the Open Inference Protocol; other tensors come back.
            Input::Tensors(tensors) => match tensors.get("command") {
                Ok(command) => self.command(&command.to_vec::<String>()?.concat()),
                Err(_) => Ok(Output::tensors(tensors)),
            },
            Input::Encoded(file) => {
                let sum: u64 = file.to_vec()?.iter().map(|&byte| u64::from(byte)).sum();
                let said =
                    json!({"media_type": file.media_type(), "length": file.len(), "sum": sum});
                Output::encoded(file).with_json(&said)
            }
        }
    }
}

impl Commands {
    fn command(&mut self, text: &str) -> Result<Output> {
        let (command, rest) = text.split_once(':').unwrap_or((text, ""));
        let (name, last) = rest.split_once(':').unwrap_or((rest, ""));
        match command {
            "upper" => Output::json(&rest.to_uppercase()),
            "context" => Output::json(&known()),
            "emit" => emit_parts(rest, "0"),
            // Milliseconds between the parts.
            "slowly" => emit_parts(name, last),
            "large" => emit_large(rest),
            "share" => share(rest),
            "fail" => Err(failure(rest)),
            // A part first.
            "fail_late" => {
                emit(Output::json("a part")?)?;
                Err(failure(rest))
            }
            "trap_late" => {
                emit(Output::json("a part")?)?;
                panic!("as told")
            }
            "wrong_part" => {
                let error = emit(Output::encoded(Encoded::new("nonsense", b"x")?)).unwrap_err();
                Output::json(error.message())
            }
            "names" => Output::json(&models::names()),
            "call" => models::run(name, Input::Text(last.into()), &()),
            "batch" => {
                let texts = last.split(',').map(|text| Input::Text(text.into())).collect();
                let outputs = models::run_batch(name, texts, &())?;
                let answers = outputs.iter().filter_map(Output::as_json);
                Output::json(&answers.map(serde_json).collect::<Result<Vec<_>>>()?)
            }
            "pass" => {
                let tensors = Tensors::new([("x", Tensor::new(&[4], &[1_u8, 2, 3, 4])?)]);
                models::run(rest, Input::Tensors(tensors), &())
            }
            // A tensor of this many MiB.
            "pass_large" => {
                let bytes = vec![7_u8; number(last)? << 20];
                let tensors = Tensors::new([("x", Tensor::new(&[bytes.len()], &bytes)?)]);
                drop(bytes);
                models::run(name, Input::Tensors(tensors), &())
            }
            "sleep" => {
                thread::sleep(Duration::from_millis(number(rest)? as u64));
                Output::json("slept")
            }
            "count" => {
                self.count += 1;
                Output::json(&self.count)
            }
            "trap" => panic!("as told"),
            _ => Err(Error::caller("unknown command")),
        }
    }
}

fn number(text: &str) -> Result<usize> {
    text.parse().map_err(Error::caller)
}

fn serde_json(text: &str) -> Result<Value> {
    Ok(tms_guest::serde_json::from_str(text)?)
}

fn failure(whose: &str) -> Error {
    match whose {
        "caller" => Error::caller("said so"),
        "server" => Error::server("said so"),
        _ => Error::model("said so"),
    }
}

fn emit_parts(count: &str, pause: &str) -> Result<Output> {
    let (count, pause) = (number(count)?, number(pause)?);
    for part in 0..count {
        if pause > 0 && part > 0 {
            thread::sleep(Duration::from_millis(pause as u64));
        }
        let bytes = [part as u8; 2];
        emit(Output::json(&part)?.with_tensor("x", Tensor::new(&[2], &bytes)?))?;
    }
    Ok(Output::default())
}

/// Parts of one MiB each.
fn emit_large(count: &str) -> Result<Output> {
    let bytes = vec![1_u8; 1 << 20];
    for _ in 0..number(count)? {
        emit(Output::tensors([("x", Tensor::new(&[bytes.len()], &bytes)?)]))?;
    }
    Output::json("end")
}

fn share(count: &str) -> Result<Output> {
    let tensor = Tensor::new(&[3], &[1_u8, 2, 3])?;
    for _ in 0..number(count)? {
        emit(Output::tensors([("x", tensor.share())]))?;
    }
    Output::tensors([("x", tensor)]).with_json("end")
}

fn known() -> Value {
    let sequence = context::sequence();
    let trace = context::trace();
    json!({
        "request_id": context::request_id(),
        "model": context::model_name(),
        "version": context::model_version(),
        "time_left": context::time_left().as_micros() as u64,
        "sequence": sequence.map(|s| json!({"id": s.id, "start": s.start, "end": s.end})),
        "parameters": context::parameters().as_str(),
        "metadata": context::metadata(),
        "trace": trace.map(|t| json!({"parent": t.parent, "state": t.state})),
        "streaming": responses::streaming(),
    })
}

tms_guest::export!(Commands);
