//! What a component exports, in whichever version of the interface it was built for: older ones answer by
//! today's types.

use wasmtime::{
    Engine, Result, Store,
    component::{Instance, InstancePre, types::ComponentItem},
};

use super::{
    host::bindings::{ConnectedModel, ConnectedModelPre, tensors, types, v0_1},
    store::StoreData,
};

/// What a component exports, before it is instantiated.
pub enum ExportsPre {
    Current(ConnectedModelPre<StoreData>),
    V0_1(v0_1::ModelPre<StoreData>),
}

/// What an instance exports.
pub enum Exports {
    Current(ConnectedModel),
    V0_1(v0_1::Model),
}

impl ExportsPre {
    /// Fails where the component exports neither what one version asks for nor what another does.
    pub fn new(pre: InstancePre<StoreData>) -> Result<Self> {
        // That version's functions have no interface around them.
        let old = pre
            .component()
            .get_export(None, "run")
            .is_some_and(|(item, _)| matches!(item, ComponentItem::ComponentFunc(_)));
        Ok(match old {
            true => Self::V0_1(v0_1::ModelPre::new(pre)?),
            false => Self::Current(ConnectedModelPre::new(pre)?),
        })
    }

    fn pre(&self) -> &InstancePre<StoreData> {
        match self {
            Self::Current(pre) => pre.instance_pre(),
            Self::V0_1(pre) => pre.instance_pre(),
        }
    }

    /// Whether the component imports this interface of ours.
    pub fn imports(&self, engine: &Engine, interface: &str) -> bool {
        let component = self.pre().component().component_type();
        let of_ours =
            |name: &str| name.strip_prefix("tms:model/")?.split('@').next().map(str::to_owned);
        component.imports(engine).any(|(name, _)| of_ours(name).as_deref() == Some(interface))
    }

    pub async fn instantiate(&self, store: &mut Store<StoreData>) -> Result<(Instance, Exports)> {
        let instance = self.pre().instantiate_async(&mut *store).await?;
        let exports = match self {
            Self::Current(_) => Exports::Current(ConnectedModel::new(&mut *store, &instance)?),
            Self::V0_1(_) => Exports::V0_1(v0_1::Model::new(&mut *store, &instance)?),
        };
        Ok((instance, exports))
    }
}

impl Exports {
    pub async fn init(&self, store: &mut Store<StoreData>) -> Result<Result<(), types::Error>> {
        match self {
            Self::Current(model) => model.tms_model_guest().call_init(store).await,
            Self::V0_1(model) => Ok(model.call_init(store).await?.map_err(Into::into)),
        }
    }

    pub async fn describe(&self, store: &mut Store<StoreData>) -> Result<types::Description> {
        match self {
            Self::Current(model) => model.tms_model_guest().call_describe(store).await,
            Self::V0_1(model) => {
                let description = model.call_describe(&mut *store).await?;
                let input_shape = model.call_get_input_shape(store).await?;
                Ok(description_of(description, input_shape))
            }
        }
    }

    pub async fn run(
        &self,
        store: &mut Store<StoreData>,
        input: types::Input,
        args: &str,
    ) -> Result<Result<types::Output, types::Error>> {
        match self {
            Self::Current(model) => model.tms_model_guest().call_run(store, &input, args).await,
            Self::V0_1(model) => {
                let answer = model.call_run(store, &input.into(), args).await?;
                Ok(answer.map(Into::into).map_err(Into::into))
            }
        }
    }

    pub async fn run_batch(
        &self,
        store: &mut Store<StoreData>,
        inputs: Vec<types::Input>,
        args: &str,
    ) -> Result<Result<Vec<types::Output>, types::Error>> {
        match self {
            Self::Current(model) => {
                model.tms_model_guest().call_run_batch(store, &inputs, args).await
            }
            Self::V0_1(model) => {
                let inputs: Vec<_> = inputs.into_iter().map(Into::into).collect();
                let answer = model.call_run_batch(store, &inputs, args).await?;
                let outputs = |outputs: Vec<_>| outputs.into_iter().map(Into::into).collect();
                Ok(answer.map(outputs).map_err(Into::into))
            }
        }
    }
}

impl From<types::Input> for v0_1::types::Input {
    fn from(input: types::Input) -> Self {
        let kind = match input.kind {
            types::Kind::Text => v0_1::types::Kind::Text,
            types::Kind::Image => v0_1::types::Kind::Image,
            // It never takes the fourth kind, which is refused before.
            types::Kind::Tensors | types::Kind::Encoded => v0_1::types::Kind::Tensors,
        };
        Self { kind, text: input.text, tensors: input.tensors }
    }
}

impl From<v0_1::types::Output> for types::Output {
    fn from(output: v0_1::types::Output) -> Self {
        Self { json: output.json, tensors: output.tensors, media_type: None }
    }
}

impl From<v0_1::types::Error> for types::Error {
    fn from(error: v0_1::types::Error) -> Self {
        let fault = match error.fault {
            v0_1::types::Fault::Caller => types::Fault::Caller,
            v0_1::types::Fault::Model => types::Fault::Model,
            v0_1::types::Fault::Server => types::Fault::Server,
        };
        Self { fault, message: error.message }
    }
}

impl From<v0_1::tensors::TensorInfo> for tensors::TensorInfo {
    fn from(info: v0_1::tensors::TensorInfo) -> Self {
        Self { name: info.name, dtype: info.dtype.into(), shape: info.shape }
    }
}

fn description_of(
    description: v0_1::types::Description,
    input_shape: Option<Vec<u32>>,
) -> types::Description {
    use v0_1::types::Kinds;
    let pairs = [
        (Kinds::TEXT, types::AcceptedKinds::TEXT),
        (Kinds::IMAGE, types::AcceptedKinds::IMAGE),
        (Kinds::TENSORS, types::AcceptedKinds::TENSORS),
    ];
    let accepts = pairs
        .into_iter()
        .filter(|(old, _)| description.accepts.contains(*old))
        .fold(types::AcceptedKinds::empty(), |all, (_, kind)| all | kind);
    types::Description {
        accepts,
        media_types: Vec::new(),
        input_shape,
        inputs: description.inputs.into_iter().map(Into::into).collect(),
        outputs: description.outputs.into_iter().map(Into::into).collect(),
        streams: false,
        sequences: false,
        meaning: types::Meaning {
            model: String::new(),
            text: String::new(),
            args: String::new(),
            json: String::new(),
            tensors: Vec::new(),
        },
    }
}
