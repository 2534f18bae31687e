//! `tms check`: what is wrong with models' folders, and whether calls of their graphs can be batched,
//! with what that gains here.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use crate::{
    config::{ServeArgs, Settings, Threads},
    nn::{self, Gain},
    repository::{
        folder::{self, Folder},
        plan,
    },
};

#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Models' folders, or folders of models
    #[arg(default_value = "models")]
    pub folders: Vec<PathBuf>,

    /// Rows of the largest run to try
    #[arg(long, default_value_t = 32)]
    pub max_batch: usize,

    /// The operator's file [default: tms.toml where it is there]
    #[arg(long, env = "TMS_CONFIG")]
    pub config: Option<PathBuf>,

    /// ONNX Runtime's library, or its folder [default: looked for, see docs]
    #[arg(long, env = "TMS_ONNXRUNTIME")]
    pub onnxruntime: Option<PathBuf>,

    /// Threads of native inference [default: cores]
    #[arg(long, env = "TMS_THREADS")]
    pub threads: Option<Threads>,
}

/// What there is to say of the folders has been said; this many of them have something wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} of the models cannot be served as they are")]
    Problems(usize),
    #[error("`{}` cannot be read: {problem}", folder.display())]
    Folder { folder: PathBuf, problem: std::io::Error },
    #[error("`{}` is no model's folder and holds none", .0.display())]
    Empty(PathBuf),
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error(transparent)]
    Native(#[from] nn::StartError),
}

/// Prints what there is to say of each model.
pub fn check(args: &CheckArgs) -> Result<(), Error> {
    let settings = Settings::resolve(ServeArgs {
        config: args.config.clone(),
        onnxruntime: args.onnxruntime.clone(),
        threads: args.threads,
        ..ServeArgs::default()
    })?;
    let runtime = nn::Runtime::start(&nn::Options {
        onnxruntime: settings.onnxruntime.clone(),
        threads: Some(settings.threads),
        ..nn::Options::default()
    })?;
    let mut problems = 0;
    for folder in &args.folders {
        for folder in models(folder)? {
            let mut report = format!("{}\n", folder.name);
            let fine = one(folder, &settings, &runtime, args.max_batch, &mut report);
            problems += usize::from(!fine);
            // Whoever reads it may have seen enough.
            let _ = write!(std::io::stdout(), "{report}");
        }
    }
    if problems > 0 { Err(Error::Problems(problems)) } else { Ok(()) }
}

/// The folder itself where it is a model, else the models in it.
fn models(folder: &Path) -> Result<Vec<Folder>, Error> {
    let fail = |problem| Error::Folder { folder: folder.to_owned(), problem };
    let path = folder.canonicalize().map_err(fail)?;
    let itself = folder::read(&path).map_err(fail)?;
    // A folder of models may have a Cargo.toml too, for all of them.
    let (itself, source) = match itself {
        Some(model) if model.component.is_none() && model.graphs.is_empty() => (None, Some(model)),
        itself => (itself, None),
    };
    if let Some(itself) = itself {
        return Ok(vec![itself]);
    }
    let mut found = folder::scan(&path).map_err(fail)?;
    if found.is_empty() {
        found.extend(source);
    }
    if found.is_empty() { Err(Error::Empty(folder.to_owned())) } else { Ok(found) }
}

/// Reports on one model. False where it cannot be served.
fn one(
    folder: Folder,
    settings: &Settings,
    runtime: &nn::Runtime,
    rows: usize,
    report: &mut String,
) -> bool {
    let plan = match plan::plan(folder, settings) {
        Ok(plan) => plan,
        Err(problem) => {
            let _ = writeln!(report, "    not served: {problem}");
            return false;
        }
    };
    let mut fine = true;
    if plan.component.is_some() {
        let _ = writeln!(report, "    model.wasm: a component for this server");
    }
    for (name, path) in &plan.folder.graphs {
        let tried = plan::options(&plan, name)
            .and_then(|options| Ok((options.batch, try_batches(runtime, path, &options, rows)?)));
        let line = match tried {
            Ok((Some(_), Err(reason))) => {
                fine = false;
                format!("not served: batch = true, but it cannot be batched: {reason}")
            }
            Ok((None, Err(reason))) => format!("cannot be batched: {reason}"),
            Ok((set, Ok(gains))) => verdict(set.is_some(), &gains),
            Err(problem) => {
                fine = false;
                format!("not served: {problem}")
            }
        };
        let _ = writeln!(report, "    {name}: {line}");
    }
    fine
}

type Tried = Result<Vec<Gain>, String>;

fn try_batches(
    runtime: &nn::Runtime,
    path: &Path,
    options: &nn::GraphOptions,
    rows: usize,
) -> Result<Tried, String> {
    runtime.try_batches(path, options, rows).map_err(|e| e.to_string())
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
