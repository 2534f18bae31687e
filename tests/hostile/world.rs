//! Components of the world `model` from text, for what Rust's tools would not make: lies about
//! memory, other types, traps before `init`.

use crate::harness::Setup;

use super::HOSTILE;

/// The core module of a model that does nothing: its parts, for an attack to replace.
pub struct Core {
    /// Fields of the module besides memory and functions.
    pub fields: String,
    /// Body of `init`: gives the address of a `result<_, error>`; zeros are Ok.
    pub init: String,
    /// Body of `run`, with the parameters of its lowered signature: kind, text, length of the text,
    /// tensors, their number, arguments, their length. Gives the address of a
    /// `result<output, error>`; zeros are Ok, without JSON and tensors.
    pub run: String,
    /// Body of `cabi_realloc`: where the host may put this many bytes, its last parameter.
    pub realloc: String,
}

impl Default for Core {
    fn default() -> Self {
        Self {
            fields: String::new(),
            init: "i32.const 0".into(),
            run: "i32.const 0".into(),
            // Always the same place: the first page's second half.
            realloc: "i32.const 32768".into(),
        }
    }
}

impl Core {
    /// A component of the whole world around it, as text.
    pub fn text(&self) -> String {
        let Self { fields, init, run, realloc } = self;
        let core = format!(
            r#"
            (memory (export "memory") 1)
            (data (i32.const 1024) "\01") ;; a description: takes text, no inputs, no outputs
            {fields}
            (func (export "init") (result i32) {init})
            (func (export "describe") (result i32) i32.const 1024)
            (func (export "get-input-shape") (result i32) i32.const 0)
            (func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32) {run})
            (func (export "run-batch") (param i32 i32 i32 i32) (result i32) i32.const 0)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
            "#
        );
        WORLD.replace("CORE", &core)
    }

    /// The component as the model that attacks.
    pub fn setup(&self, limits: &str) -> Setup {
        component(assemble(&self.text()), limits)
    }
}

/// A component as the model that attacks.
pub fn component(bytes: impl AsRef<[u8]>, limits: &str) -> Setup {
    Setup::new()
        .file(&format!("{HOSTILE}/model.wasm"), bytes)
        .config(&format!("[model.hostile.limits]\n{limits}"))
}

pub fn assemble(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// A section of a component as bytes, for what the text format refuses.
pub fn section(id: u8, content: &[u8]) -> Vec<u8> {
    let mut section = vec![id];
    let mut length = content.len();
    while length > 0x7f {
        section.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    section.push(length as u8);
    section.extend(content);
    section
}

/// The world, as far as its exports go.
const WORLD: &str = r#"(component
  (import "tms:model/tensors@0.1.0" (instance $tensors
    (export "tensor" (type (sub resource)))))
  (alias export $tensors "tensor" (type $tensor))

  (core module $core CORE)
  (core instance $i (instantiate $core))
  (alias core export $i "memory" (core memory $memory))
  (alias core export $i "cabi_realloc" (core func $realloc))

  (type $dtype0 (enum "bool" "u8" "u16" "u32" "u64" "s8" "s16" "s32" "s64" "fp16" "bf16" "fp32"
    "fp64" "bytes"))
  (export $dtype "dtype" (type $dtype0))
  (type $info0 (record (field "name" string) (field "dtype" $dtype) (field "shape" (list s64))))
  (export $info "tensor-info" (type $info0))
  (type $kind0 (enum "text" "image" "tensors"))
  (export $kind "kind" (type $kind0))
  (type $kinds0 (flags "text" "image" "tensors"))
  (export $kinds "kinds" (type $kinds0))
  (type $named (list (tuple string (own $tensor))))
  (type $input0 (record (field "kind" $kind) (field "text" string) (field "tensors" $named)))
  (export $input "input" (type $input0))
  (type $output0 (record (field "json" (option string)) (field "tensors" $named)))
  (export $output "output" (type $output0))
  (type $description0 (record (field "accepts" $kinds) (field "inputs" (list $info))
    (field "outputs" (list $info))))
  (export $description "description" (type $description0))
  (type $fault0 (enum "caller" "model" "server"))
  (export $fault "fault" (type $fault0))
  (type $error0 (record (field "fault" $fault) (field "message" string)))
  (export $error "error" (type $error0))

  (func (export "init") (result (result (error $error)))
    (canon lift (core func $i "init") (memory $memory)))
  (func (export "describe") (result $description)
    (canon lift (core func $i "describe") (memory $memory)))
  (func (export "get-input-shape") (result (option (list u32)))
    (canon lift (core func $i "get-input-shape") (memory $memory)))
  (func (export "run") (param "input" $input) (param "args" string)
    (result (result $output (error $error)))
    (canon lift (core func $i "run") (memory $memory) (realloc $realloc)))
  (func (export "run-batch") (param "inputs" (list $input)) (param "args" string)
    (result (result (list $output) (error $error)))
    (canon lift (core func $i "run-batch") (memory $memory) (realloc $realloc)))
)"#;
