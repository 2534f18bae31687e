//! docs/configuration.md against the code: its examples parse, its tables hold.

use clap::{CommandFactory, Parser};

use crate::config::limits::Limits;

use super::{Manifest, ServeArgs, server::File};

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
    let (server, model): (Vec<&str>, _) =
        examples.into_iter().partition(|example| example.contains("tms.toml"));
    assert_eq!((server.len(), model.len()), (2, 2));
    for example in server {
        toml::from_str::<File>(example).unwrap();
    }
    for example in model {
        toml::from_str::<Manifest>(example).unwrap();
    }
}

#[test]
fn every_flag_has_a_row_with_its_variable_and_key() {
    for arg in Cli::command().get_arguments() {
        let Some(flag) = arg.get_long().filter(|flag| *flag != "help") else {
            continue;
        };
        if flag == "config" || arg.is_hide_set() {
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
    let rows = Limits::default().rows();
    for (key, default) in &rows {
        assert_eq!(row(&format!("`{key}`"))[1], default, "{key}");
    }
    let table = DOCS.split("\n## Limits").nth(1).unwrap().split("\n\nOne figure").next().unwrap();
    let documented = table.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(documented, rows.len(), "every row is a limit");
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
