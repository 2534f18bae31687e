//! The component's interface, generated from `wit/`. For what the rest of the crate does not wrap,
//! such as the raw `wasi:nn`.

wit_bindgen::generate!({
    path: "../../wit",
    world: "connected-model",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_component",
});

use tms::model::types;

/// Nothing.
impl Default for types::Output {
    fn default() -> Self {
        Self { json: None, tensors: Vec::new(), media_type: None }
    }
}

/// Nothing said.
impl Default for types::Meaning {
    fn default() -> Self {
        Self {
            model: String::new(),
            text: String::new(),
            args: String::new(),
            json: String::new(),
            tensors: Vec::new(),
        }
    }
}

/// Takes nothing and gives nothing.
impl Default for types::Description {
    fn default() -> Self {
        Self {
            accepts: types::AcceptedKinds::empty(),
            media_types: Vec::new(),
            input_shape: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            streams: false,
            sequences: false,
            meaning: types::Meaning::default(),
        }
    }
}
