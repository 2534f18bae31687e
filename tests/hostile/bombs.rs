//! Components that take long to compile, or much memory, for their size.

use std::fmt::Write;

use super::world::{self, Core};

/// Loops in each other, with many variables that all of them may change: what is known of each variable
/// at the start of each loop is the product of both. 300 and 5000 are 48 KB, gigabytes and minutes.
pub fn nested_loops(depth: usize, variables: usize) -> Vec<u8> {
    let mut body = function(variables, "i32");
    body += &"loop ".repeat(depth);
    for (at, next) in (0..variables).zip(1..) {
        let next = next % variables;
        let _ = write!(body, "local.get {at} local.get {next} i32.add local.set {at} ");
    }
    body += &"local.get 0 br_if 0 end ".repeat(depth);
    with(&(body + "local.get 0)"))
}

/// Blocks in each other, each of which gives and takes many values.
pub fn many_results(depth: usize, values: usize) -> Vec<u8> {
    let types = "i32 ".repeat(values);
    let mut text = format!("(type $many (func (param {types}) (result {types}))) ");
    text += &function(values, "i32");
    for at in 0..values {
        let _ = write!(text, "local.get {at} ");
    }
    text += &"loop (type $many) ".repeat(depth);
    text += &"local.get 0 br_if 0 end ".repeat(depth);
    for at in 0..values {
        let _ = write!(text, "local.set {at} ");
    }
    with(&(text + "local.get 0)"))
}

/// Many functions, each of which takes some time.
pub fn many_functions(functions: usize) -> Vec<u8> {
    let mut body = function(60, "i64");
    body += &"loop ".repeat(30);
    for (at, next) in (0..60).zip(1..) {
        let _ = write!(body, "local.get {at} local.get {} i64.mul local.set {at} ", next % 60);
    }
    body += &"local.get 0 i32.wrap_i64 br_if 0 end ".repeat(30);
    with(&(body + "local.get 0)").repeat(functions))
}

/// One function without a branch, in which all variables are in use all the time.
pub fn straight_line(rounds: usize, kind: &str, operation: &str) -> Vec<u8> {
    const VARIABLES: usize = 200;
    let mut body = function(VARIABLES, kind);
    for round in 0..rounds {
        let (at, other) = (round % VARIABLES, round * 7 % VARIABLES);
        let _ = write!(body, "local.get {at} local.get {other} {operation} local.set {at} ");
    }
    for at in 1..VARIABLES {
        let _ = write!(body, "local.get 0 local.get {at} {operation} local.set 0 ");
    }
    with(&(body + "local.get 0)"))
}

/// The start of a function that gives its first variable.
fn function(variables: usize, kind: &str) -> String {
    let variables = format!("{kind} ").repeat(variables);
    format!("(func (result {kind}) (local {variables}) ")
}

/// A model that does nothing, with these functions, which nobody calls.
fn with(functions: &str) -> Vec<u8> {
    let core = Core { fields: functions.into(), ..Core::default() };
    world::assemble(&core.text())
}
