//! What a caller sends as samples.

use tms_guest::{Result, Tensors, bail_caller};

/// The samples of a request, -1 to 1.
pub fn given(tensors: &Tensors) -> Result<Vec<f32>> {
    let has = |name| tensors.iter().any(|(given, _)| given == name);
    let samples: Vec<f32> = match (has("audio"), has("pcm")) {
        (true, false) => tensors.array::<f32>("audio")?.into_iter().collect(),
        (false, true) => tensors.array::<i16>("pcm")?.into_iter().map(from_pcm).collect(),
        _ => bail_caller!("send the samples as `audio` or as `pcm`"),
    };
    // The network would remember them, and answer nothing else from then on.
    if !samples.iter().all(|sample| sample.is_finite()) {
        bail_caller!("tensor audio: a sample is not finite");
    }
    Ok(samples)
}

/// A 16-bit sample as the network takes it.
pub fn from_pcm(sample: i16) -> f32 {
    f32::from(sample) / 32768.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use tms_guest::ndarray::{Array1, array};
    use tms_guest::{Fault, Tensor};

    #[test]
    fn either_kind_of_samples() {
        let pcm = Tensors::new([("pcm", array![i16::MIN, 0, 16384])]);
        assert_eq!(given(&pcm).unwrap(), [-1.0, 0.0, 0.5]);
        let audio = Tensors::new([("audio", array![-1.0f32, 0.25])]);
        assert_eq!(given(&audio).unwrap(), [-1.0, 0.25]);
        assert!(given(&Tensors::new([("audio", Array1::<f32>::zeros(0))])).unwrap().is_empty());
    }

    #[test]
    fn others_are_the_callers_fault() {
        let refused = |tensors: Tensors| {
            let error = given(&tensors).unwrap_err();
            assert_eq!(error.fault(), Fault::Caller);
            error.message().to_owned()
        };
        let audio = || Tensor::from(array![0.0f32]);
        let pcm = || Tensor::from(array![0i16]);
        let message = "send the samples as `audio` or as `pcm`";
        assert_eq!(refused(Tensors::new([("audio", audio()), ("pcm", pcm())])), message);
        assert_eq!(refused(Tensors::new([("sound", audio())])), message);
        let message = "tensor audio: the tensor is i16, not f32";
        assert_eq!(refused(Tensors::new([("audio", pcm())])), message);
        for wrong in [f32::NAN, f32::INFINITY] {
            let message = "tensor audio: a sample is not finite";
            assert_eq!(refused(Tensors::new([("audio", array![0.0, wrong])])), message);
        }
    }
}
