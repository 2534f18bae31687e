//! The smallest image model: names two objects whatever it is shown, without reading a pixel.

use tms_guest::prelude::*;

struct ExampleImage;

impl Model for ExampleImage {
    fn init() -> Result<Self> {
        Ok(Self)
    }

    fn describe(&self) -> Description {
        Description::image()
    }

    fn input_shape(&self) -> Option<Vec<u32>> {
        Some(vec![1080, 1920, 3])
    }

    fn run(&mut self, input: Input, _args: &Args) -> Result<Output> {
        input.image()?;
        Output::json(&[("object1", 0.3), ("object2", 0.5)])
    }
}

tms_guest::export!(ExampleImage);

#[cfg(test)]
mod tests {
    use super::*;
    use tms_guest::ndarray::Array3;

    #[test]
    fn the_answer_is_fixed() {
        let image = Image::new(Array3::<u8>::zeros((4, 4, 3))).unwrap();
        let output = ExampleImage.run(Input::Image(image), &Args::default()).unwrap();
        assert_eq!(output.as_json(), Some(r#"[["object1",0.3],["object2",0.5]]"#));
    }
}
