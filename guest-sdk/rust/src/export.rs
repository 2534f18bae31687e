//! The macro that makes a component of a model, and what it expands to.

/// Makes the crate a component: `tms_guest::export!(MyModel);`, once a crate.
///
/// Natively it only checks that the type is a [`Model`](crate::Model).
#[macro_export]
macro_rules! export {
    ($model:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static MODEL: $crate::export::Slot<$model> = const { $crate::export::Slot::new() };
            }

            struct Component;

            use $crate::bindings::exports::tms::model::guest;

            impl guest::Guest for Component {
                fn init() -> ::core::result::Result<(), guest::Error> {
                    MODEL.with($crate::export::Slot::init)
                }

                fn describe() -> guest::Description {
                    MODEL.with($crate::export::Slot::describe)
                }

                fn run(
                    input: guest::Input,
                    args: ::std::string::String,
                ) -> ::core::result::Result<guest::Output, guest::Error> {
                    MODEL.with(|model| model.run(input, args))
                }

                fn run_batch(
                    inputs: ::std::vec::Vec<guest::Input>,
                    args: ::std::string::String,
                ) -> ::core::result::Result<::std::vec::Vec<guest::Output>, guest::Error> {
                    MODEL.with(|model| model.run_batch(inputs, args))
                }
            }

    $crate::bindings::export_component!(Component with_types_in $crate::bindings);
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn is_a_model<M: $crate::Model>() {}
            is_a_model::<$model>();
        };
    };
}

#[cfg(target_arch = "wasm32")]
pub use component::Slot;

#[cfg(target_arch = "wasm32")]
mod component {
    //! One instance's model, and the ways between the interface's types and ours.

    use std::cell::RefCell;

    use crate::bindings::tms::model::{log as host_log, types};
    use crate::data::Encoded;
    use crate::host::{RawTensor, error_into};
    use crate::{Args, Error, Fault, Image, Input, Model, Result, Tensors};

    /// Where the model lives between calls.
    pub struct Slot<M>(RefCell<Option<M>>);

    impl<M: Model> Slot<M> {
        /// Empty until `init`.
        #[allow(clippy::new_without_default)]
        pub const fn new() -> Self {
            Self(RefCell::new(None))
        }

        /// Makes the model.
        pub fn init(&self) -> Result<(), types::Error> {
            observe();
            *self.0.borrow_mut() = Some(M::init().map_err(error_into)?);
            Ok(())
        }

        /// What the model says about itself; nothing where there is none.
        pub fn describe(&self) -> types::Description {
            let model = self.0.borrow();
            let description = model.as_ref().map(Model::describe).unwrap_or_default();
            let input_shape = model.as_ref().and_then(Model::input_shape);
            types::Description { input_shape, ..description.into() }
        }

        /// See [`Model::run`].
        pub fn run(
            &self,
            input: types::Input,
            args: String,
        ) -> Result<types::Output, types::Error> {
            let answer = |model: &mut M| model.run(input.try_into()?, &Args::new(args));
            self.with(answer).map(Into::into).map_err(error_into)
        }

        /// See [`Model::run_batch`].
        pub fn run_batch(
            &self,
            inputs: Vec<types::Input>,
            args: String,
        ) -> Result<Vec<types::Output>, types::Error> {
            let answer = |model: &mut M| {
                let inputs = inputs.into_iter().map(Input::try_from).collect::<Result<_>>()?;
                model.run_batch(inputs, &Args::new(args))
            };
            let outputs = self.with(answer).map_err(error_into)?;
            Ok(outputs.into_iter().map(Into::into).collect())
        }

        fn with<T>(&self, call: impl FnOnce(&mut M) -> Result<T>) -> Result<T> {
            // Both cannot happen with a host that keeps to the interface.
            let mut model = self.0.try_borrow_mut()?;
            call(model.as_mut().ok_or_else(|| Error::server("the model was not initialised"))?)
        }
    }

    impl TryFrom<types::Input> for Input {
        type Error = Error;

        fn try_from(input: types::Input) -> Result<Self> {
            let mut tensors =
                input.tensors.into_iter().map(|(name, tensor)| (name, RawTensor(tensor)));
            let mut only = || tensors.next().map(|(_, raw)| crate::Tensor::from_raw(raw));
            Ok(match input.kind {
                types::Kind::Text => Input::Text(input.text),
                types::Kind::Image => match only() {
                    Some(pixels) => Input::Image(Image::new(pixels)?),
                    None => return Err(Error::server("an image without pixels")),
                },
                types::Kind::Encoded => match only() {
                    Some(bytes) => Input::Encoded(Encoded::of_tensor(input.media_type, bytes)),
                    None => return Err(Error::server("a file without bytes")),
                },
                types::Kind::Tensors => {
                    Input::Tensors(Tensors::from_raw(tensors.collect(), Fault::Caller))
                }
            })
        }
    }

    impl From<crate::Description> for types::Description {
        fn from(description: crate::Description) -> Self {
            let mut accepts = types::AcceptedKinds::empty();
            accepts.set(types::AcceptedKinds::TEXT, description.text);
            accepts.set(types::AcceptedKinds::IMAGE, description.image);
            accepts.set(types::AcceptedKinds::TENSORS, description.tensors);
            accepts.set(types::AcceptedKinds::ENCODED, description.encoded);
            Self {
                accepts,
                media_types: description.media_types,
                input_shape: None,
                inputs: description.inputs.into_iter().map(Into::into).collect(),
                outputs: description.outputs.into_iter().map(Into::into).collect(),
                streams: description.streams,
                sequences: description.sequences,
                meaning: types::Meaning {
                    model: description.about,
                    text: description.text_means,
                    args: description.args_mean,
                    json: description.json_means,
                    tensors: description.tensors_mean,
                },
            }
        }
    }

    /// Sends log records and panics to the host's log.
    fn observe() {
        // A second `init` finds the logger set, which is as good.
        if log::set_logger(&HostLog).is_ok() {
            // The host decides what is shown; a model may lower this to save the calls.
            log::set_max_level(log::LevelFilter::Trace);
        }
        std::panic::set_hook(Box::new(|panic| {
            host_log::log(host_log::Level::Error, &panic.to_string());
        }));
    }

    struct HostLog;

    impl log::Log for HostLog {
        fn enabled(&self, _: &log::Metadata) -> bool {
            true
        }

        fn log(&self, record: &log::Record) {
            let level = match record.level() {
                log::Level::Trace => host_log::Level::Trace,
                log::Level::Debug => host_log::Level::Debug,
                log::Level::Info => host_log::Level::Info,
                log::Level::Warn => host_log::Level::Warn,
                log::Level::Error => host_log::Level::Error,
            };
            match record.args().as_str() {
                Some(message) => host_log::log(level, message),
                None => host_log::log(level, &record.args().to_string()),
            }
        }

        fn flush(&self) {}
    }
}
