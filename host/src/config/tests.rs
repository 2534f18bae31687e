//! docs/configuration.md against the code: its examples parse, its tables hold.

use clap::{CommandFactory, Parser};

use super::{Manifest, ServeArgs, limits::ModelLimits, server::File};

const DOCS: &str = include_str!("../../../docs/configuration.md");

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    _serve: ServeArgs,
}

/// The document's TOML examples, in order.
fn examples() -> Vec<&'static str> {
    let blocks = DOCS.split("```toml\n").skip(1);
    blocks.filter_map(|rest| rest.split("```").next()).collect()
}

/// The cells of the table row that starts with this cell.
fn row(first: &str) -> Vec<&'static str> {
    let start = format!("| {first} |");
    let line = DOCS.lines().find(|line| line.starts_with(&start));
    let line = line.unwrap_or_else(|| panic!("no row for {first}"));
    line.trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn the_examples_are_read() {
    let examples = examples();
    assert_eq!(examples.len(), 2);
    toml::from_str::<File>(examples[0]).unwrap();
    toml::from_str::<Manifest>(examples[1]).unwrap();
}

#[test]
fn every_flag_has_a_row_with_its_variable_and_key() {
    for arg in Cli::command().get_arguments() {
        let Some(flag) = arg.get_long().filter(|flag| *flag != "help") else {
            continue;
        };
        if flag == "config" {
            continue;
        }
        let row = row(&format!("`--{flag}`"));
        let variable = arg.get_env().unwrap().to_str().unwrap();
        assert_eq!(row[1], format!("`{variable}`"));
        assert_eq!(variable, format!("TMS_{}", flag.to_uppercase().replace('-', "_")));
        assert!(row[2].starts_with(&format!("`{}`", flag.replace('-', "_"))), "{row:?}");
    }
}

#[test]
fn the_limits_are_what_the_table_says() {
    let limits = ModelLimits::default();
    let mebibytes = |bytes: usize| format!("{} MiB", bytes >> 20);
    let instance = limits.instance;
    for (key, default) in [
        ("memory", mebibytes(instance.memory)),
        ("timeout", format!("{}s", instance.timeout.as_secs())),
        ("handles", instance.handles.to_string()),
        ("max_reply", mebibytes(instance.reply)),
        ("log_lines", instance.log_lines.to_string()),
        ("max_instances", limits.max_instances.to_string()),
        ("max_queue", limits.max_queue.to_string()),
    ] {
        assert_eq!(row(&format!("`{key}`"))[1], default, "{key}");
    }
}

#[test]
fn an_unknown_key_is_named() {
    for text in ["prot = 1", "[limits]\nmemroy = '1GB'", "[model.x]\ndevice = 'cpu'"] {
        let error = toml::from_str::<File>(text).unwrap_err().to_string();
        assert!(error.contains("unknown field"), "{error}");
    }
    let error = toml::from_str::<Manifest>("[graphs.g]\ndevices = 'cpu'").unwrap_err();
    assert!(error.to_string().contains("unknown field `devices`"), "{error}");
}
