//! Generated from wit/: the traits that the host implements and the calls into a guest.

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "tms:model/model",
        imports: {
            "tms:model/tensors.[constructor]tensor": async | trappable,
            "tms:model/tensors.[method]tensor.rows": async | trappable,
            "tms:model/tensors.[method]tensor.read": async | trappable,
            "wasi:nn/tensor.[method]tensor.data": async | trappable,
            "tms:model/graphs.compute": async | trappable,
            "wasi:nn/inference.[method]graph-execution-context.compute": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "tms:model/tensors.tensor": crate::sandbox::host::resources::HostTensor,
            "wasi:nn/tensor.tensor": crate::sandbox::host::resources::HostTensor,
            "wasi:nn/graph.graph": crate::sandbox::host::resources::NnGraph,
            "wasi:nn/inference.graph-execution-context": crate::sandbox::host::resources::NnContext,
            "wasi:nn/errors.error": crate::sandbox::host::resources::NnError,
        },
    });
}

/// What a component of the world `model` exports, and the same before it is instantiated.
pub use generated::{Model as GuestExports, ModelPre as GuestExportsPre};
pub use generated::{tms, wasi};
