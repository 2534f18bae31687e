//! Generated from wit/: the traits that the host implements and the calls into a guest, for each version of
//! the interface that is served.

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "tms:model/connected-model",
        imports: {
            "tms:model/tensors.[constructor]tensor": async | trappable,
            "tms:model/tensors.[method]tensor.rows": async | trappable,
            "tms:model/tensors.[method]tensor.read": async | trappable,
            "wasi:nn/tensor.[method]tensor.data": async | trappable,
            "tms:model/graphs.compute": async | trappable,
            "tms:model/responses.emit": async | trappable,
            "tms:model/models.run": async | trappable,
            "tms:model/models.run-batch": async | trappable,
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

/// The version before, whose guests are still served.
pub mod v0_1 {
    mod generated {
        wasmtime::component::bindgen!({
            path: ["../wit/deps/wasi-nn", "../wit/0.1.0"],
            world: "tms:model/model",
            imports: {
                "tms:model/tensors.[constructor]tensor": async | trappable,
                "tms:model/tensors.[method]tensor.rows": async | trappable,
                "tms:model/tensors.[method]tensor.read": async | trappable,
                "tms:model/graphs.compute": async | trappable,
                default: trappable,
            },
            exports: { default: async },
            with: {
                "tms:model/tensors.tensor": crate::sandbox::host::resources::HostTensor,
                "wasi:nn/tensor": super::super::wasi::nn::tensor,
                "wasi:nn/errors": super::super::wasi::nn::errors,
                "wasi:nn/graph": super::super::wasi::nn::graph,
                "wasi:nn/inference": super::super::wasi::nn::inference,
            },
        });
    }

    pub use generated::{
        Model, ModelPre,
        tms::model::{graphs, log, tensors, types},
    };
}

pub use generated::{ConnectedModel, ConnectedModelPre, tms::model::*, wasi};
