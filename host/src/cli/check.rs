//! `tms check`: what is wrong with models' folders, and whether calls of their graphs can be batched,
//! with what that gains here.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;

use super::sizing::{self, ModelSize};
use crate::{
    child::Nursery,
    config::{MOST_MEMORY, ServeArgs, Settings, Threads},
    nn::{self, Gain, GraphOptions},
    repository::{
        Catalogue, StartError,
        folder::{self, Contents, Folder},
        load,
        plan::{self, Plan},
    },
    sandbox::{Children, Compiling},
    schedule::Workers,
};

#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Models' folders, or folders of models [default: the server's folder of models]
    pub folders: Vec<PathBuf>,

    /// Rows of the largest run to try
    #[arg(long, default_value_t = 32)]
    pub max_batch: usize,

    /// The server's own settings: a model is checked as the server would have it.
    #[command(flatten)]
    pub serve: ServeArgs,
}

impl CheckArgs {
    /// Hides, in `--help`, the settings that change nothing here.
    pub fn shown(arg: clap::Arg) -> clap::Arg {
        const SHOWN: [&str; 7] =
            ["folders", "max_batch", "config", "onnxruntime", "threads", "stack", "cache"];
        match arg.get_id().as_str() {
            "memory" => arg
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value(NOT_SAID)
                .help("Say what memory a server of these models wants, of the size given, or of its own"),
            shown if SHOWN.contains(&shown) => arg,
            _ => arg.hide(true),
        }
    }
}

/// In place of a size of memory: the most that can be given.
const NOT_SAID: &str = "1 PiB";

/// What there is to say of the folders has been said; this many of them have something wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} of the models cannot be served as they are")]
    Problems(usize),
    #[error("`{}` cannot be read: {problem}", folder.display())]
    Folder { folder: PathBuf, problem: std::io::Error },
    #[error("`{}` is no model's folder and holds none{}", folder.display(), reason)]
    Empty { folder: PathBuf, reason: String },
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error(transparent)]
    Native(#[from] nn::LibraryError),
    /// What would keep a server from starting.
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the models cannot be tried: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Loads each model as `tms serve` does, and prints what there is to say of it.
pub fn check(args: &CheckArgs) -> Result<(), Error> {
    // Each worker has instances of its own; one is enough to try a model.
    let sizes = args.serve.memory;
    let said = sizes.filter(|size| usize::from(*size) as u64 != MOST_MEMORY);
    let served = ServeArgs { memory: said, ..args.serve.clone() };
    let as_served = Settings::resolve(served.clone())?;
    let one_worker = ServeArgs { workers: Threads::new(1), ..served };
    let settings = Settings::resolve(one_worker)?;
    let native = load::native(&settings);
    let runtime = nn::Runtime::start(&native)?;
    let mut problems = 0;
    let mut models_sizes = Vec::new();
    let chosen = match args.folders.as_slice() {
        [] => std::slice::from_ref(&settings.models),
        some => some,
    };
    for folder in chosen {
        let folders = models(folder)?;
        let names: Vec<_> = folders.iter().map(|folder| folder.name.clone()).collect();
        let folders = with_granted(folders, &settings);
        let loaded = load_all(folders, &settings, native.clone(), |plan| {
            models_sizes.push(ModelSize::of(plan, as_served.workers));
        })?;
        for name in names {
            let mut report = format!("{name}\n");
            let fine = loaded.report(&name, &runtime, args.max_batch, &mut report);
            problems += usize::from(!fine);
            // Whoever reads it may have seen enough.
            let _ = write!(std::io::stdout(), "{report}");
        }
    }
    if sizes.is_some() {
        let _ = write!(std::io::stdout(), "{}", sizing::report(&models_sizes, &as_served));
    }
    if problems > 0 { Err(Error::Problems(problems)) } else { Ok(()) }
}

/// The folder itself where it is a model, else the models in it.
fn models(path: &Path) -> Result<Vec<Folder>, Error> {
    let fail = |problem| Error::Folder { folder: path.to_owned(), problem };
    let folder = path.canonicalize().map_err(fail)?;
    // Only what cannot be read at all ends the check here: the rest is said model by model.
    std::fs::read_dir(&folder).map_err(fail)?;
    // A folder of models may have a Cargo.toml too, for all of them.
    let (itself, source, reason) = match folder::read(&folder) {
        Contents::Model(model) if model.component.is_none() && model.graphs.is_empty() => {
            (None, Some(model), String::new())
        }
        Contents::Model(model) => (Some(model), None, String::new()),
        Contents::Nothing(reason) => (None, None, format!(": {reason}")),
    };
    if let Some(itself) = itself {
        return Ok(vec![itself]);
    }
    let mut found = folder::scan(&folder).map_err(fail)?.folders;
    if found.is_empty() {
        found.extend(source);
    }
    match found.is_empty() {
        true => Err(Error::Empty { folder: path.to_owned(), reason }),
        false => Ok(found),
    }
}

/// With the models whose graphs tms.toml lets these use: they lie beside them.
fn with_granted(mut folders: Vec<Folder>, settings: &Settings) -> Vec<Folder> {
    let mut known: BTreeSet<_> = folders.iter().map(|folder| folder.name.clone()).collect();
    let mut owners = Vec::new();
    for folder in &folders {
        let granted = settings.model.get(&folder.name).map_or(&[][..], |own| &own.graphs);
        for graph in granted {
            let owner = graph.split('/').next().unwrap_or_default();
            let beside = folder.path.with_file_name(owner);
            if known.insert(owner.to_owned())
                && let Contents::Model(model) = folder::read(&beside)
            {
                owners.push(model);
            }
        }
    }
    folders.extend(owners);
    folders
}

/// How a graph is served.
struct PlannedGraph {
    model: String,
    name: String,
    path: PathBuf,
    /// Or why its settings cannot be used.
    options: Result<GraphOptions, String>,
}

/// Models as a server would have them, and the graphs to try.
struct Loaded {
    catalogue: std::sync::Arc<Catalogue>,
    graphs: Vec<PlannedGraph>,
}

fn load_all(
    folders: Vec<Folder>,
    settings: &Settings,
    native: nn::Options,
    look: impl FnMut(&Plan),
) -> Result<Loaded, Error> {
    let planned = plan::plan_each(folders, settings).collect();
    let (catalogue, plans) = load::begin_with(planned);
    plans.iter().for_each(look);
    let graphs = plans.iter().flat_map(graphs_of).collect();
    let workers = Workers::start(settings.workers)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let nursery = Arc::new(Nursery::start()?);
    let compiling = Compiling::Child(Children {
        nursery,
        program: settings.program.clone(),
        ledger: Arc::default(),
    });
    let load = load::load(catalogue.clone(), plans, settings, native, workers.clone(), compiling);
    let result = runtime.block_on(load);
    workers.stop();
    result?;
    Ok(Loaded { catalogue, graphs })
}

fn graphs_of(plan: &Plan) -> Vec<PlannedGraph> {
    let graphs = plan.folder.graphs.iter();
    let planned = graphs.map(|(name, path)| PlannedGraph {
        model: plan.folder.name.clone(),
        name: name.clone(),
        path: path.clone(),
        options: plan::graph(plan, name).map(|graph| graph.options),
    });
    planned.collect()
}

impl Loaded {
    /// Reports on one model. False where it cannot be served.
    fn report(&self, model: &str, runtime: &nn::Runtime, rows: usize, report: &mut String) -> bool {
        let failed = self.catalogue.failed().find(|(name, _)| *name == model);
        if let Some((_, reason)) = failed {
            let _ = writeln!(report, "    not served: {reason}");
        }
        if let Ok(ready) = self.catalogue.get(model) {
            if let Some(about) = &ready.about {
                let _ = writeln!(report, "    {about}");
            }
            let _ = writeln!(report, "    takes {}", ready.description.accepted());
        }
        for graph in self.graphs.iter().filter(|graph| graph.model == model) {
            if let Some(line) = graph.try_batches(runtime, rows) {
                let _ = writeln!(report, "    {}: {line}", graph.name);
            }
        }
        failed.is_none()
    }
}

impl PlannedGraph {
    /// What batching would gain. None for a graph that does not load: the model's line says why.
    fn try_batches(&self, runtime: &nn::Runtime, rows: usize) -> Option<String> {
        let options = self.options.as_ref().ok()?;
        let is_set = options.batch.is_some();
        match runtime.try_batches(&self.path, options, rows).ok()? {
            Ok(gains) => Some(verdict(is_set, &gains)),
            // Said already.
            Err(_) if is_set => None,
            Err(reason) => Some(format!("cannot be batched: {reason}")),
        }
    }
}

/// What the runs of each size cost a row, and what follows.
fn verdict(set: bool, gains: &[Gain]) -> String {
    let of_row = |gain: &Gain| gain.run.div_f64(gain.rows as f64);
    let each: Vec<_> =
        gains.iter().map(|gain| format!("{}: {}", gain.rows, short(of_row(gain)))).collect();
    let best = gains.iter().min_by_key(|gain| of_row(gain));
    let factor = gains.first().zip(best).map_or(1.0, |(one, best)| {
        of_row(one).as_secs_f64() / of_row(best).as_secs_f64().max(f64::MIN_POSITIVE)
    });
    let rows = best.map_or(1, |best| best.rows);
    let advice = match (set, factor >= 1.2) {
        (false, true) => {
            format!("{factor:.1} times the rows a second: batch = true, max_batch = {rows}")
        }
        (true, true) => format!("{factor:.1} times the rows a second, at {rows} rows; it is on"),
        (false, false) => "it would gain next to nothing".to_owned(),
        (true, false) => "it gains next to nothing, and is on".to_owned(),
    };
    format!("can be batched; time for a row, by rows in a run: {}; {advice}", each.join(", "))
}

/// Three digits and a unit.
fn short(time: Duration) -> String {
    let us = time.as_secs_f64() * 1e6;
    match us {
        _ if us >= 1e6 => format!("{:.2} s", us / 1e6),
        _ if us >= 1e3 => format!("{:.2} ms", us / 1e3),
        _ => format!("{us:.1} µs"),
    }
}
