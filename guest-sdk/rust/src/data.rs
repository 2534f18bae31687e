//! What a request carries and what a model answers.

use ndarray::ArrayD;
use serde::Serialize;

use crate::host::RawTensor;
use crate::{Element, Error, Fault, Image, Result, Tensor};

/// One request's data.
#[derive(Debug)]
pub enum Input {
    /// Text.
    Text(String),
    /// One image.
    Image(Image),
    /// Named tensors, from the Open Inference Protocol.
    Tensors(Tensors),
    /// A file, such as a JPEG or a WAV, which the model decodes.
    Encoded(Encoded),
}

impl Input {
    /// The text; another kind is the caller's fault.
    pub fn text(self) -> Result<String> {
        match self {
            Input::Text(text) => Ok(text),
            _ => Err(Error::caller("this model takes text")),
        }
    }

    /// The image; another kind is the caller's fault.
    pub fn image(self) -> Result<Image> {
        match self {
            Input::Image(image) => Ok(image),
            _ => Err(Error::caller("this model takes an image")),
        }
    }

    /// The named tensors; another kind is the caller's fault.
    pub fn tensors(self) -> Result<Tensors> {
        match self {
            Input::Tensors(tensors) => Ok(tensors),
            _ => Err(Error::caller("this model takes named tensors")),
        }
    }

    /// The file; another kind is the caller's fault.
    pub fn encoded(self) -> Result<Encoded> {
        match self {
            Input::Encoded(encoded) => Ok(encoded),
            _ => Err(Error::caller("this model takes a file")),
        }
    }
}

/// A file. Its bytes stay in the host until they are asked for.
#[derive(Debug)]
pub struct Encoded {
    media_type: String,
    bytes: Tensor,
}

impl Encoded {
    /// A file of this media type, such as `image/png`.
    pub fn new(media_type: impl Into<String>, bytes: &[u8]) -> Result<Self> {
        Ok(Self::of_tensor(media_type.into(), Tensor::new(&[bytes.len()], bytes)?))
    }

    /// The same of bytes that are a tensor already, of type `u8` and of one dimension.
    pub fn of_tensor(media_type: String, bytes: Tensor) -> Self {
        Self { media_type, bytes }
    }

    /// What the caller says that it is: in lower case, without parameters.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.bytes.byte_length()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the bytes into the model.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        self.bytes.to_vec()
    }

    /// The bytes as a tensor, of type `u8` and of one dimension.
    pub fn into_tensor(self) -> Tensor {
        self.bytes
    }
}

/// Named tensors: a request's inputs or a graph's outputs.
#[derive(Debug)]
pub struct Tensors {
    tensors: Vec<(String, Tensor)>,
    /// Who is to blame for a missing name or a wrong type: the caller for a request's tensors, the
    /// model for a graph's.
    fault: Fault,
}

impl Tensors {
    /// A request's tensors, for a model's unit tests.
    pub fn new<N: Into<String>, T: Into<Tensor>>(
        tensors: impl IntoIterator<Item = (N, T)>,
    ) -> Self {
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.into(), tensor.into()));
        Self { tensors: tensors.collect(), fault: Fault::Caller }
    }

    pub(crate) fn from_raw(tensors: Vec<(String, RawTensor)>, fault: Fault) -> Self {
        let tensors = tensors.into_iter().map(|(name, raw)| (name, Tensor::from_raw(raw)));
        Self { tensors: tensors.collect(), fault }
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        let found = self.tensors.iter().find(|(known, _)| known == name);
        found.map(|(_, tensor)| tensor).ok_or_else(|| {
            let names: Vec<&str> = self.iter().map(|(name, _)| name).collect();
            Error::new(self.fault, format!("no tensor {name}; there are: {}", names.join(", ")))
        })
    }

    /// The tensor of this name as an array of `T`.
    pub fn array<T: Element>(&self, name: &str) -> Result<ArrayD<T>> {
        let array = self.get(name)?.to_array();
        array.map_err(|error| error.with_fault(self.fault).context(format_args!("tensor {name}")))
    }

    /// All names and tensors, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }
}

impl IntoIterator for Tensors {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.tensors.into_iter()
    }
}

/// One request's result, or a part of it: JSON, an image, a file, named tensors, or any combination.
#[derive(Debug, Default)]
pub struct Output {
    pub(crate) json: Option<String>,
    pub(crate) tensors: Vec<(String, Tensor)>,
    pub(crate) media_type: Option<String>,
}

impl Output {
    /// Any value that serde can serialise, as JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        Self::default().with_json(value)
    }

    /// An image: `[height, width]` or `[height, width, channels]` of `u8`, `f32` or `f64`.
    pub fn image(pixels: impl Into<Tensor>) -> Result<Self> {
        Self::default().with_image(pixels)
    }

    /// Named tensors.
    pub fn tensors<N: Into<String>, T: Into<Tensor>>(
        tensors: impl IntoIterator<Item = (N, T)>,
    ) -> Self {
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.into(), tensor.into()));
        Self { tensors: tensors.collect(), ..Self::default() }
    }

    /// A file.
    pub fn encoded(file: Encoded) -> Self {
        Self::default().with_encoded(file)
    }

    /// Adds JSON, in the place of any before.
    pub fn with_json<T: Serialize + ?Sized>(self, value: &T) -> Result<Self> {
        Ok(Self { json: Some(serde_json::to_string(value)?), ..self })
    }

    /// Adds an image.
    pub fn with_image(self, pixels: impl Into<Tensor>) -> Result<Self> {
        let image = Image::new(pixels.into()).map_err(|error| error.with_fault(Fault::Model))?;
        Ok(self.with_tensor("image", image.into_tensor()))
    }

    /// Adds a file, where there is none before.
    pub fn with_encoded(self, file: Encoded) -> Self {
        let Encoded { media_type, bytes } = file;
        Self { media_type: Some(media_type), ..self.with_tensor("encoded", bytes) }
    }

    /// Adds a named tensor.
    pub fn with_tensor(mut self, name: impl Into<String>, tensor: impl Into<Tensor>) -> Self {
        self.tensors.push((name.into(), tensor.into()));
        self
    }

    /// The JSON text, if there is any.
    pub fn as_json(&self) -> Option<&str> {
        self.json.as_deref()
    }

    /// The tensors, an image and a file's bytes among them.
    pub fn as_tensors(&self) -> &[(String, Tensor)] {
        &self.tensors
    }

    /// The tensors, to be handed on.
    pub fn into_tensors(self) -> Tensors {
        Tensors { tensors: self.tensors, fault: Fault::Model }
    }

    /// The media type of the file, where there is one.
    pub fn media_type(&self) -> Option<&str> {
        self.media_type.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, array};

    #[test]
    fn a_wrong_tensor_is_named() {
        let tensors = Tensors::new([("x", array![1.0f32])]);
        assert_eq!(tensors.array::<f32>("x").unwrap().len(), 1);
        let missing = tensors.get("y").unwrap_err();
        assert_eq!(
            (missing.fault(), missing.message()),
            (Fault::Caller, "no tensor y; there are: x")
        );
        let wrong = tensors.array::<i64>("x").unwrap_err();
        assert_eq!(wrong.message(), "tensor x: the tensor is f32, not i64");
    }

    #[test]
    fn an_output_combines() {
        let output = Output::image(Array3::<u8>::zeros((2, 2, 3))).unwrap();
        let output = output.with_tensor("boxes", array![[0.5f32]]).with_json("two").unwrap();
        assert_eq!(output.as_json(), Some("\"two\""));
        let names: Vec<_> = output.as_tensors().iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["image", "boxes"]);
        assert!(Output::image(array![1u8]).is_err());
    }
}
