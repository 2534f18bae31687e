//! The smallest text model: gives the text back with a suffix.

use tms_guest::prelude::*;

struct ExampleText;

impl Model for ExampleText {
    fn init() -> Result<Self> {
        Ok(Self)
    }

    fn describe(&self) -> Description {
        Description::text()
    }

    fn run(&mut self, input: Input, _args: &Args) -> Result<Output> {
        Output::json(&(input.text()? + "_processed"))
    }
}

tms_guest::export!(ExampleText);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_as_json() {
        let answer = |text: &str| {
            let output = ExampleText.run(Input::Text(text.into()), &Args::default()).unwrap();
            output.as_json().unwrap().to_owned()
        };
        assert_eq!(answer("text"), r#""text_processed""#);
        assert_eq!(answer("\"ü\n"), r#""\"ü\n_processed""#);
    }
}
