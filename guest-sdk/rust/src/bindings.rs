//! The component's interface, generated from `wit/`. For what the rest of the crate does not wrap,
//! such as the raw `wasi:nn`.

wit_bindgen::generate!({
    path: "../../wit",
    world: "model",
    generate_all,
    pub_export_macro: true,
    export_macro_name: "export_component",
});
