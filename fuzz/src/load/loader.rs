//! The loader, on one folder of models that is written anew for each input. A second model lies
//! beside the one that is tried: whatever that one is, its neighbour is served.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tms::{
    config::{ServeArgs, Settings, Threads},
    config::{limits::LimitSettings, values::Time},
    data::Input,
    models::Call,
    repository::{self, Catalogue},
    sandbox::Compiling,
    schedule::{WorkerId, Workers},
};
use tokio::runtime::Runtime;

use super::case::{COMPONENT, Case};
use crate::world;

const NEIGHBOUR: &str = "neighbour";
/// Of a call and of a start: changed code may not end.
const SHORT: Duration = Duration::from_millis(300);
/// Longer than loading takes, on a machine that is busy with a build.
const LONG: Duration = Duration::from_secs(20);
/// Words of the host, which no message holds.
const HOST: [&str; 4] = [".rs:", "/rustc/", "/root/", "/home/"];

pub struct Loader {
    folder: PathBuf,
    runtime: Runtime,
    workers: Arc<Workers>,
    /// Compiled code of the neighbour.
    kept: BTreeSet<OsString>,
}

impl Loader {
    pub fn get() -> &'static Self {
        static LOADER: OnceLock<Loader> = OnceLock::new();
        LOADER.get_or_init(Self::start)
    }

    fn start() -> Self {
        let folder = world::folder("load");
        world::place(&folder.join("models").join(NEIGHBOUR), &[(COMPONENT, "model.wasm")]);
        fs::write(folder.join("tms.toml"), "").expect("the operator's file can be written");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let mut loader = Self {
            runtime: runtime.expect("a runtime starts"),
            workers: Workers::start(1).expect("a worker starts"),
            kept: BTreeSet::new(),
            folder,
        };
        let settings = loader.settings().expect("no settings are right");
        let catalogue = loader.catalogue(settings).expect("the neighbour loads");
        assert!(catalogue.get(NEIGHBOUR).is_ok(), "the neighbour is served");
        loader.kept = files(&loader.cache()).expect("the compiled code is there");
        loader
    }

    /// Loads the case and calls what became ready.
    pub fn load(&self, input: &[u8], case: &Case) {
        let models = self.folder.join("models");
        if self.clear().and_then(|()| case.write(&models)).is_err() {
            return;
        }
        let operator = fs::write(self.folder.join("tms.toml"), &case.operator);
        operator.expect("the operator's file can be written");
        let says = |message: &str| self.judge(input, message);
        let settings = match self.settings() {
            Ok(settings) => settings,
            Err(e) => return says(&e.to_string()),
        };
        let catalogue = match self.catalogue(settings) {
            Ok(catalogue) => catalogue,
            Err(e) => {
                // A device that is not there is a reason to stop, a broken model is none.
                let may = !case.operator.is_empty() || e.to_string().starts_with("graph ");
                assert!(may, "one model keeps the server from starting: {e}");
                return says(&e.to_string());
            }
        };
        let served = catalogue.get(NEIGHBOUR).is_ok();
        assert!(served || !case.operator.is_empty(), "one model takes its neighbour along");
        for (_, reason) in catalogue.failed() {
            says(reason);
        }
        self.call(&catalogue, input, &case.name);
    }

    /// As `tms serve --config` reads them.
    fn settings(&self) -> Result<Settings, tms::config::ConfigError> {
        let mut settings = Settings::resolve(ServeArgs {
            models: Some(self.folder.join("models")),
            workers: Threads::new(1),
            cache: Some(self.cache()),
            config: Some(self.folder.join("tms.toml")),
            ..ServeArgs::default()
        })?;
        shorten(&mut settings.limits);
        settings.model.values_mut().for_each(|model| shorten(&mut model.limits));
        Ok(settings)
    }

    fn catalogue(&self, settings: Settings) -> Result<Arc<Catalogue>, repository::StartError> {
        let workers = self.workers.clone();
        let loading = self.workers.spawn(WorkerId(0), async move {
            let (catalogue, plans) = repository::load::begin(&settings)?;
            let into = catalogue.clone();
            let (native, here) = (world::native(), Compiling::Here);
            repository::load::load(into, plans, &settings, native, workers, here).await?;
            Ok(catalogue)
        });
        self.runtime.block_on(async {
            let loaded = tokio::time::timeout(LONG, loading).await.expect("loading ends");
            loaded.expect("a worker lives on")
        })
    }

    fn call(&self, catalogue: &Arc<Catalogue>, input: &[u8], name: &str) {
        let Ok(model) = catalogue.get(name) else {
            return;
        };
        let model = model.clone();
        let calling = self.workers.spawn(WorkerId(0), async move {
            let deadline = Instant::now() + SHORT;
            let call = Call { home: WorkerId(0), deadline, args: "{}", details: None, chain: None };
            let answer = model.run(Input::Text("text".into()), call).await;
            answer.map(|_| ()).map_err(|e| e.to_string())
        });
        let answer = self.runtime.block_on(async {
            let answer = tokio::time::timeout(LONG, calling).await.expect("a call ends");
            answer.expect("a worker lives on")
        });
        if let Err(message) = answer {
            assert!(!message.contains(char::is_control), "control characters: {message:?}");
            self.judge(input, &message);
        }
    }

    /// A message may speak of what lies in the folder of models, and of nothing else of the host's.
    fn judge(&self, input: &[u8], message: &str) {
        let own = self.folder.display().to_string();
        let message = message.replace(&own, "");
        if let Some(word) = world::betrays(&message, input, &HOST) {
            panic!("the message tells `{word}`: {message}");
        }
        // TOML's messages show the line that is wrong.
        let shows = message.contains("TOML parse error");
        let odd = |c: char| c.is_control() && c != '\n' && c != '\t';
        assert!(!message.contains(odd), "control characters: {message:?}");
        assert!(shows || !message.contains('\n'), "more than one line: {message}");
    }

    fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    /// Removes what the case before left.
    fn clear(&self) -> io::Result<()> {
        let models = self.folder.join("models");
        for name in files(&models)? {
            if name != NEIGHBOUR {
                fs::remove_dir_all(models.join(name))?;
            }
        }
        for name in files(&self.cache())?.difference(&self.kept) {
            fs::remove_file(self.cache().join(name))?;
        }
        Ok(())
    }
}

fn shorten(limits: &mut LimitSettings) {
    let short = |limit: &mut Option<Time>| {
        if limit.is_none_or(|limit| Duration::from(limit) > SHORT) {
            let millis = format!("\"{}ms\"", SHORT.as_millis());
            *limit = serde_json::from_str(&millis).ok();
        }
    };
    short(&mut limits.timeout);
    short(&mut limits.cpu);
    short(&mut limits.init);
}

fn files(folder: &Path) -> io::Result<BTreeSet<OsString>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
}
