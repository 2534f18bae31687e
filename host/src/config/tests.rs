//! docs/configuration.md against the code: its examples parse, its tables hold.

use std::{collections::BTreeSet, fmt::Write};

use clap::{CommandFactory, Parser};

use super::{Manifest, ServeArgs, limits, manifest, settings, settings::File};

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

/// Fails with the table that should stand in the document, where it does not.
fn assert_documented<const COLUMNS: usize>(
    head: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) {
    let mut table = format!("| {} |\n|{}\n", head.join(" | "), " --- |".repeat(COLUMNS));
    for row in rows {
        // Writing to a string does not fail.
        let _ = writeln!(table, "| {} |", row.join(" | "));
    }
    // Nothing before or after it.
    let whole = format!("\n\n{table}\n");
    assert!(DOCS.contains(&whole), "docs/configuration.md is to have this table:\n\n{table}");
}

/// A name as the document writes it.
fn code(name: &str) -> String {
    format!("`{name}`")
}

#[test]
fn the_examples_are_read() {
    let examples = examples();
    let (server, model): (Vec<&str>, _) =
        examples.into_iter().partition(|example| example.contains("tms.toml"));
    assert_eq!((server.len(), model.len()), (3, 2));
    for example in server {
        toml::from_str::<File>(example).unwrap();
    }
    for example in model {
        toml::from_str::<Manifest>(example).unwrap();
    }
}

#[test]
fn every_setting_has_a_row() {
    let rows = settings::rows().into_iter().map(|row| {
        let flag = format!("--{}", row.key.replace('_', "-"));
        [code(&flag), code(row.variable), code(row.key), row.default.to_owned(), row.what]
    });
    assert_documented(["flag", "variable", "key in tms.toml", "default", "what"], rows);
}

#[test]
fn every_limit_and_every_graph_setting_has_a_row() {
    for rows in [limits::rows(), manifest::rows()] {
        let rows = rows.into_iter().map(|row| {
            let what = row.what.trim_end_matches('.').to_owned();
            [code(row.key), row.default, what]
        });
        assert_documented(["key", "default", "what"], rows);
    }
}

#[test]
fn names_follow_from_the_key() {
    for row in settings::rows() {
        assert_eq!(row.variable, format!("TMS_{}", row.key.to_uppercase()));
    }
    // What clap makes of the list.
    let flags: BTreeSet<_> = Cli::command()
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .filter_map(|arg| Some((arg.get_long()?.to_owned(), arg.get_env()?.to_owned())))
        .collect();
    let listed = settings::rows().into_iter();
    let mut expected: BTreeSet<_> =
        listed.map(|row| (row.key.replace('_', "-"), row.variable.into())).collect();
    expected.insert(("config".to_owned(), "TMS_CONFIG".into()));
    assert_eq!(flags, expected);
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
