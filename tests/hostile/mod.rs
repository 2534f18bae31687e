//! Attacks, one a file: what a model's component, its files or its callers can try. Each file holds
//! the attacker's code and the test; README.md lists them all.
//!
//! - [`attack`]: the frame: two servers, the attack stopped on one and at work on the other
//! - [`neighbour`]: another model's caller, who must not notice
//! - [`calm`]: what must be true afterwards
//! - [`world`]: components from text, for what Rust's tools would not make
//! - [`bombs`]: components that take long to compile, or much memory
//! - `component.rs`: the hostile guest, of which the attacks' files are part; not of this crate

mod attack;
pub mod bombs;
mod calm;
mod neighbour;
pub mod world;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use self::attack::{
    Attack, HOSTILE, assert_not_served, assert_serves, assert_stopped, attack, health, hostile,
    under_attack,
};
use crate::harness::{LONG, Server, Setup, raw, repository, until};

mod allocation_bomb;
mod big_reads;
mod cache_altered;
mod cache_open;
mod cache_planted;
mod call_flood;
mod compile_memory;
mod compile_time;
mod compute_dtype;
mod compute_elements;
mod compute_extra;
mod compute_misnamed;
mod compute_missing;
mod compute_shape;
mod compute_twice;
mod core_module;
mod deep_arguments;
mod deep_json;
mod deep_recursion;
mod deep_types;
mod dims_overflow;
mod doubling;
mod endless_allocator;
mod endless_init;
mod forged_log;
mod forged_message;
mod graph_names;
mod handle_doubled;
mod handle_dropped;
mod handle_dropped_twice;
mod handle_given_away;
mod handle_guessed;
mod handle_leak;
mod handle_of_another_kind;
mod huge_component;
mod huge_description;
mod huge_error;
mod huge_json;
mod huge_names;
mod huge_random;
mod infinite_loop;
mod invalid_utf8;
mod leave_a_folder;
mod load_bytes;
mod log_bytes;
mod log_lines;
mod loop_in_the_host;
mod lying_allocator;
mod lying_pointers;
mod many_contexts;
mod many_dimensions;
mod many_memories;
mod many_timers;
mod million_tensors;
mod missing_imports;
mod not_a_graph;
mod not_json;
mod overlapping_lists;
mod read_arguments_and_stdin;
mod read_environment;
mod read_files;
mod read_past_the_end;
mod short_deadlines;
mod sleep;
mod sleeping_init;
mod slow_leak;
mod sockets;
mod stdout_flood;
mod string_rows;
mod table_growth;
mod tensor_bomb;
mod tiny_grows;
mod trap_before_init;
mod trap_in_every_call;
mod trap_in_every_tenth_call;
mod trap_in_init;
mod truncated_file;
mod wrong_byte_count;
mod wrong_count;
mod wrong_exports;
mod wrong_views;

/// A file that is not in the table, or a row without its file, is an error: so is a file without a
/// test, whose `mod` is missing above.
#[test]
fn the_table_has_every_attack() {
    let folder = repository().join("tests/hostile");
    let table = fs::read_to_string(folder.join("README.md")).unwrap();
    let mut expected: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .filter_map(|path| row(&path))
        .collect();
    expected.sort();
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| [")).collect();
    assert_eq!(rows, expected, "the table must be:\n{}\n", expected.join("\n"));
    let own = include_str!("mod.rs");
    for row in rows {
        let name = row.trim_start_matches("| [").split(']').next().unwrap();
        assert!(own.contains(&format!("\nmod {name};")), "no `mod {name};` in mod.rs");
    }
}

/// An attack's row: its name, and the three parts of what its file says first, as in "A loop without
/// an end: stopped by `cpu`, DEADLINE_EXCEEDED." None for the frame's files.
fn row(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).unwrap();
    let words = text.lines().map_while(|line| line.strip_prefix("//! ")).collect::<Vec<_>>();
    let words = words.join(" ");
    let (what, rest) = words.split_once(": stopped by ")?;
    let (by, status) = rest.strip_suffix('.')?.rsplit_once(", ")?;
    let name = file.file_stem()?.to_str()?;
    Some(format!("| [{name}]({name}.rs) | {what} | {by} | {status} |"))
}

/// The files of a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
