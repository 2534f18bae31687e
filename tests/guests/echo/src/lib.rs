//! Gives back what it was given: text as JSON, an image as an image, tensors under their names,
//! each without a byte entering the guest. Arguments come back too: with `{"args": true}` among
//! them a text's answer is `{"text": …, "args": …}`, and an image or tensors get JSON beside them.

use tms_guest::prelude::*;
use tms_guest::serde_json::{Value, json};

struct Echo;

impl Model for Echo {
    fn init() -> Result<Self> {
        Ok(Self)
    }

    fn describe(&self) -> Description {
        // No names: any tensors are taken.
        Description::text().and_image().and_tensors(vec![], vec![])
    }

    fn run(&mut self, input: Input, args: &Args) -> Result<Output> {
        let args: Value = args.get()?;
        let wanted = args.get("args").is_some();
        let output = match input {
            Input::Text(text) if wanted => {
                return Output::json(&json!({"text": text, "args": args}));
            }
            Input::Text(text) => return Output::json(&text),
            Input::Image(image) => Output::image(image.into_tensor())?,
            Input::Tensors(tensors) => Output::tensors(tensors),
            Input::Encoded(file) => Output::encoded(file),
        };
        if wanted { output.with_json(&args) } else { Ok(output) }
    }
}

tms_guest::export!(Echo);
