//! A loaded component: compiled, linked, with the graphs it may open and the limits of its
//! instances.

use std::sync::Arc;

use crate::{config::limits::Limits, fair::Flow, ledger::Tenant};

use super::{
    account::Usage,
    compile::{Bounds, Source},
    engine::Sandbox,
    error::{CallError, LoadError, cause},
    exports::ExportsPre,
    host::grants::Grants,
    instance::Instance,
    snapshot,
    store::{Graphs, Maker},
};

/// What a component is loaded with.
pub struct GuestOptions {
    pub name: String,
    pub graphs: Graphs,
    /// The model among those that share graphs.
    pub flow: Flow,
    /// The model among those that the server's memory is divided between.
    pub tenant: Arc<Tenant>,
    pub limits: Limits,
    pub grants: Grants,
    /// An instance answers one call only.
    pub fresh: bool,
    /// Instances start from a snapshot taken after `init`.
    pub snapshot: bool,
    /// Names what `init` may have seen besides the component, if that can be named: the snapshot is
    /// kept with the compiled code under it.
    pub snapshot_key: Option<String>,
}

/// Which of a call's details a component can ask for: the others need not be found out.
#[derive(Clone, Copy, Debug)]
pub struct Asks {
    /// It imports `context`.
    pub context: bool,
    /// It imports `models`.
    pub models: bool,
}

/// A component that instances are made from.
pub struct Guest {
    maker: Maker,
    pre: ExportsPre,
    /// Whether it asks what is known of a call, and whether it calls other models.
    pub asks: Asks,
    /// An instance answers one call only.
    fresh: bool,
    /// Its code starts where `init` ended: an instance needs no `init` any more.
    initialised: bool,
}

impl Guest {
    /// Compiles a component, or takes the code compiled earlier, and links it. Takes seconds for a
    /// large one, and does not block.
    pub async fn load(
        sandbox: &Sandbox,
        source: Source,
        options: GuestOptions,
    ) -> Result<Self, LoadError> {
        let maker = Maker {
            name: options.name.into(),
            graphs: options.graphs,
            flow: options.flow,
            limits: options.limits,
            grants: options.grants,
            usage: Arc::default(),
            tenant: options.tenant,
            engine: sandbox.engine.clone(),
            ticker: sandbox.ticker.clone(),
            interruptible: sandbox.interruptible,
        };
        let compiler = &sandbox.compiler;
        let component = match options.snapshot {
            true => snapshot::compile(compiler, &maker, source, options.snapshot_key).await?,
            false => compiler.compile_shared(source, Bounds::of(&maker.limits)).await?,
        };
        let pre = compiler.link(&component)?;
        let imports = |interface| pre.imports(&maker.engine, interface);
        let asks = Asks { context: imports("context"), models: imports("models") };
        Ok(Self { pre, asks, maker, fresh: options.fresh, initialised: options.snapshot })
    }

    /// A fresh instance with a store of its own, after its `init`.
    pub async fn instantiate(&self) -> Result<Instance, CallError> {
        let mut store = self.maker.store()?;
        let clock = store.data().clock.clone();
        let start = async {
            let begin = async {
                let (_, exports) = self.pre.instantiate(&mut store).await?;
                let init = match self.initialised {
                    true => Ok(()),
                    false => exports.init(&mut store).await?,
                };
                wasmtime::Result::Ok((exports, init))
            };
            let begun = begin.await;
            begun.map_err(|error| cause(error, store.data().no_room))
        };
        let (exports, init) = self.maker.starting(&clock, start).await?;
        init.map_err(|said| CallError::from(said).or_no_room(store.data().no_room))?;
        Ok(Instance::new(store, exports, self.maker.name.clone(), self.fresh))
    }

    /// Whether an instance answers one call only.
    pub fn fresh(&self) -> bool {
        self.fresh
    }

    /// What its instances use and have used, together.
    pub fn usage(&self) -> &Usage {
        &self.maker.usage
    }
}
