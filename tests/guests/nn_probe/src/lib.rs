//! Speaks `wasi:nn` and the raw interface, without the SDK's trait: as a guest in another language
//! would, and doing what the SDK would not let through.
//!
//! Named tensors and the argument `{"graph": name}`: runs that graph through a wasi:nn execution
//! context and gives its outputs; with `"through": "graphs"` through our own interface, which has all
//! types. With `"runs": n` the first output of each run is the first input of the next. Where one of them
//! fails, `"then": "read"` reads the first run's output, which was held all along, and `"then": "give"`
//! gives it away as the result. Text is a probe, see [`probe`].

#[cfg(target_arch = "wasm32")]
mod guest {
    use tms_guest::bindings::export_component;
    use tms_guest::bindings::exports::tms::model::guest::{
        Description, Error, Guest, Input, Output,
    };
    use tms_guest::bindings::tms::model::tensors::{NamedTensor, TensorInfo};
    use tms_guest::bindings::tms::model::{graphs, types};
    use tms_guest::bindings::wasi::nn::{errors, graph, tensor};
    use tms_guest::serde_json::{self, Value, json};

    struct NnProbe;

    impl Guest for NnProbe {
        fn init() -> Result<(), Error> {
            Ok(())
        }

        fn describe() -> Description {
            let accepts = types::AcceptedKinds::TEXT | types::AcceptedKinds::TENSORS;
            Description { accepts, ..Description::default() }
        }

        fn run(input: Input, args: String) -> Result<Output, Error> {
            if input.kind == types::Kind::Text {
                return Ok(Output { json: Some(probe(&input.text)), ..Output::default() });
            }
            let args: Value = serde_json::from_str(&args).map_err(|error| model(&error))?;
            let name = args["graph"].as_str().unwrap_or("model");
            let graph = graph::load_by_name(name).map_err(|error| model(&error.data()))?;
            let through_graphs = args["through"] == "graphs";
            let mut tensors = compute(&graph, input.tensors, through_graphs)?;
            let shared = |(name, tensor): &NamedTensor| (name.clone(), tensor.share());
            let first: Vec<NamedTensor> = tensors.iter().map(shared).collect();
            for _ in 1..args["runs"].as_u64().unwrap_or(1) {
                let inputs = graphs::inputs(&graph).into_iter().map(|info| info.name);
                let outputs = tensors.into_iter().map(|(_, tensor)| tensor);
                tensors = match compute(&graph, inputs.zip(outputs).collect(), through_graphs) {
                    Ok(outputs) => outputs,
                    Err(error) => match args["then"].as_str() {
                        Some("read") => {
                            first.iter().for_each(|(_, tensor)| drop(tensor.read(0, 1)));
                            return Err(model(&"it was there all the same"));
                        }
                        Some("give") => return Ok(Output { tensors: first, ..Output::default() }),
                        _ => return Err(error),
                    },
                };
            }
            Ok(Output { tensors, ..Output::default() })
        }

        fn run_batch(inputs: Vec<Input>, args: String) -> Result<Vec<Output>, Error> {
            inputs.into_iter().map(|input| Self::run(input, args.clone())).collect()
        }
    }

    /// One run, through our own interface or through a wasi:nn execution context.
    fn compute(
        graph: &graph::Graph,
        inputs: Vec<NamedTensor>,
        through_graphs: bool,
    ) -> Result<Vec<NamedTensor>, Error> {
        if through_graphs {
            return graphs::compute(graph, inputs, &[]);
        }
        let mut converted = Vec::new();
        for (name, tensor) in &inputs {
            converted.push((name.clone(), graphs::to_nn(tensor)?));
        }
        let context = graph.init_execution_context().map_err(|error| model(&error.data()))?;
        let outputs = context.compute(converted).map_err(|error| model(&error.data()))?;
        Ok(outputs.iter().map(|(name, tensor)| (name.clone(), graphs::from_nn(tensor))).collect())
    }

    /// What a text asks for, as `probe` or `probe:argument`; the answer is JSON.
    fn probe(text: &str) -> String {
        let (probe, argument) = text.split_once(':').unwrap_or((text, ""));
        match probe {
            // A graph from bytes of the guest's, which no guest may load.
            "load" => {
                let bytes = vec![argument.as_bytes().to_vec()];
                let loaded =
                    graph::load(&bytes, graph::GraphEncoding::Onnx, graph::ExecutionTarget::Cpu);
                refusal(loaded.map(drop))
            }
            // A graph by its name: what it takes and gives.
            "graph" => match graph::load_by_name(argument) {
                Ok(graph) => {
                    let inputs = infos(graphs::inputs(&graph));
                    json!({"inputs": inputs, "outputs": infos(graphs::outputs(&graph))}).to_string()
                }
                Err(error) => refusal(Err(error)),
            },
            // A run without any input.
            "empty run" => {
                let run = graph::load_by_name(argument)
                    .and_then(|graph| graph.init_execution_context())
                    .and_then(|context| context.compute(vec![]));
                refusal(run.map(drop))
            }
            // A wasi:nn tensor, there and back.
            "tensor" => {
                let data = [1.0f32, 2.0].map(f32::to_le_bytes).concat();
                let made = tensor::Tensor::new(&vec![2, 1], tensor::TensorType::Fp32, &data);
                let ours = graphs::from_nn(&made);
                let same = made.data() == data && ours.read(0, 8) == data;
                json!({"dimensions": made.dimensions(), "shape": ours.shape(), "same": same})
                    .to_string()
            }
            // A tensor that is not what its shape says, which must trap.
            "short tensor" => {
                tensor::Tensor::new(&vec![2, 1], tensor::TensorType::Fp32, &[0; 4]);
                "\"no trap\"".into()
            }
            _ => json!("no such probe").to_string(),
        }
    }

    fn infos(infos: Vec<TensorInfo>) -> Vec<Value> {
        let describe = |info: TensorInfo| json!({"name": info.name, "dtype": format!("{:?}", info.dtype), "shape": info.shape});
        infos.into_iter().map(describe).collect()
    }

    fn refusal(result: Result<(), errors::Error>) -> String {
        match result {
            Ok(()) => "\"ok\"".into(),
            Err(error) => {
                json!({"code": format!("{:?}", error.code()), "data": error.data()}).to_string()
            }
        }
    }

    fn model(message: &dyn std::fmt::Display) -> Error {
        Error { fault: types::Fault::Model, message: message.to_string() }
    }

    export_component!(NnProbe with_types_in tms_guest::bindings);
}
