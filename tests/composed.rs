//! Models that their author composed of several components: served like any other.

use tonic::Code;

use crate::{
    harness::Setup,
    hostile::world::{Core, assemble},
};

/// The types that the world's functions name, and what the text of the world calls them.
const TYPES: [(&str, &str); 9] = [
    ("dtype", "dtype"),
    ("info", "tensor-info"),
    ("kind", "kind"),
    ("kinds", "kinds"),
    ("input", "input"),
    ("output", "output"),
    ("description", "description"),
    ("fault", "fault"),
    ("error", "error"),
];

/// A component that answers what another one computes, both put into a third, as composing tools do:
/// wasmtime puts an adapter between them, a core instance that is not in the file.
fn composed() -> Vec<u8> {
    let run = r#"
        (i32.store8 (i32.const 2052) (i32.const 1))    ;; there is JSON
        (i32.store (i32.const 2056) (i32.const 3000))  ;; here
        (i32.store (i32.const 2060) (i32.const 1))     ;; of so many bytes: a digit
        (i32.store8 (i32.const 3000) (i32.add (i32.const 48) (call $twice (i32.const 4))))
        i32.const 2048"#;
    let text = Core { run: run.into(), ..Core::default() }.text();
    let types = text.find("(type $dtype0").unwrap();
    let functions = text.find(r#"(func (export "init") (result (result"#).unwrap();
    let types = &text[types..functions];
    // The types are the outer component's: the inner one takes them.
    let mut taken = types.to_owned();
    let mut given = String::new();
    for (id, name) in TYPES {
        taken = taken.replace(
            &format!(r#"(export ${id} "{name}" (type ${id}0))"#),
            &format!(r#"(import "{name}" (type ${id} (eq ${id}0)))"#),
        );
        given += &format!(r#"(with "{name}" (type ${id}))"#);
    }
    let import = r#"(component $model (import "twice" (func $of (param "of" u32) (result u32)))"#;
    let core = r#"(core module $core
        (import "library" "twice" (func $twice (param i32) (result i32)))"#;
    let instance = r#"(core func $lowered (canon lower (func $of)))
        (core instance $i (instantiate $core
          (with "library" (instance (export "twice" (func $lowered))))))"#;
    let model = text
        .replace(types, &taken)
        .replacen("(component", import, 1)
        .replace("(core module $core", core)
        .replace("(core instance $i (instantiate $core))", instance);
    let exports = ["init", "describe", "get-input-shape", "run", "run-batch"]
        .map(|name| format!(r#"(export "{name}" (func $m "{name}"))"#))
        .concat();
    assemble(&format!(
        r#"(component
          (import "tms:model/tensors@0.1.0" (instance $tensors
            (export "tensor" (type (sub resource)))))
          (alias export $tensors "tensor" (type $tensor))
          {types}
          (component $library
            (core module $m (memory 1)
              (func (export "twice") (param i32) (result i32)
                (i32.mul (local.get 0) (i32.const 2))))
            (core instance $i (instantiate $m))
            (func (export "twice") (param "of" u32) (result u32)
              (canon lift (core func $i "twice"))))
          {model}
          (instance $l (instantiate $library))
          (instance $m (instantiate $model
            (with "tms:model/tensors@0.1.0" (instance $tensors))
            (with "twice" (func $l "twice"))
            {given}))
          {exports})"#
    ))
}

#[tokio::test]
async fn a_composed_model_is_served_alone() {
    let server = start!(Setup::new().file("composed/model.wasm", composed()));
    for _ in 0..3 {
        assert_eq!(server.caller().await.text("composed", "", "").await.unwrap(), 8);
    }
}

#[tokio::test]
async fn a_composed_model_is_not_snapshotted() {
    let setup = Setup::new()
        .guest("echo")
        .file("composed/model.wasm", composed())
        .file("composed/model.toml", "snapshot = true");
    let server = start!(setup);
    let why = "it cannot be snapshotted: it is composed of several components, and a snapshot holds \
               the memory of one: set snapshot = false";
    server.logged(why).await;
    let answer = server.caller().await.text("composed", "", "").await;
    assert_eq!(answer.unwrap_err().code(), Code::Unavailable);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
