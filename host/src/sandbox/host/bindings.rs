//! Generated from wit/: the traits that the host implements and the calls into a guest.

wasmtime::component::bindgen!({
    path: "../wit",
    world: "tms:model/model",
    imports: {
        "tms:model/graphs.compute": async | trappable,
        "wasi:nn/inference.[method]graph-execution-context.compute": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "tms:model/tensors.tensor": crate::sandbox::host::tensors::HostTensor,
        "wasi:nn/tensor.tensor": crate::sandbox::host::tensors::HostTensor,
        "wasi:nn/graph.graph": crate::sandbox::host::wasi_nn::NnGraph,
        "wasi:nn/inference.graph-execution-context": crate::sandbox::host::wasi_nn::NnContext,
        "wasi:nn/errors.error": crate::sandbox::host::wasi_nn::NnError,
    },
});
