//! docs/bounds.md against the code: whatever others write has a row that says what bounds it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use prost::Message;
use prost_types::{FileDescriptorSet, field_descriptor_proto::Type};

use crate::harness::repository;

fn document(name: &str) -> String {
    fs::read_to_string(repository().join("docs").join(name)).unwrap()
}

/// What stands in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn each_field_of_a_request_has_a_row() {
    let files = FileDescriptorSet::decode(tms::grpc::proto::DESCRIPTORS).unwrap();
    let mut messages = BTreeMap::new();
    let mut requests = Vec::new();
    for file in &files.file {
        let mut of_file: Vec<_> = file.message_type.iter().collect();
        while let Some(message) = of_file.pop() {
            messages.insert(message.name().to_owned(), message);
            of_file.extend(&message.nested_type);
        }
        let methods = file.service.iter().flat_map(|service| &service.method);
        requests.extend(methods.map(|method| last(method.input_type())));
    }
    // And the messages in them.
    let mut seen = BTreeSet::new();
    let mut fields = BTreeSet::new();
    while let Some(name) = requests.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let message = messages[&name];
        for field in &message.field {
            let is_map_entry = message.options.as_ref().is_some_and(|options| options.map_entry());
            if !is_map_entry {
                fields.insert(format!("{name}.{}", field.name()));
            }
            if field.r#type() == Type::Message {
                requests.push(last(field.type_name()));
            }
        }
    }
    assert!(fields.len() > 30, "{fields:?}");
    let document = document("bounds.md");
    let named: BTreeSet<_> = quoted(&document).map(str::to_owned).collect();
    let missing: Vec<_> = fields.difference(&named).collect();
    assert!(missing.is_empty(), "docs/bounds.md says nothing of {missing:?}");
}

fn last(name: &str) -> String {
    name.rsplit('.').next().unwrap().to_owned()
}

#[test]
fn each_limit_has_a_row() {
    let configuration = document("configuration.md");
    let rows = configuration.lines().skip_while(|line| !line.starts_with("| `memory` | 512 MiB"));
    let keys = rows.take_while(|line| line.starts_with("| `"));
    let keys: BTreeSet<_> = keys.map(|line| quoted(line).next().unwrap()).collect();
    assert!(keys.len() > 15, "{keys:?}");
    let document = document("bounds.md");
    let named: BTreeSet<_> = quoted(&document).collect();
    // It bounds no memory and no time of a call: it is what is done about failures.
    let missing: Vec<_> = keys.difference(&named).filter(|key| **key != "max_failures").collect();
    assert!(missing.is_empty(), "docs/bounds.md says nothing of {missing:?}");
}

#[test]
fn each_function_of_a_component_has_a_row() {
    let wit = fs::read_to_string(repository().join("wit/model.wit")).unwrap();
    let mut interface = "guest";
    let mut functions = BTreeSet::new();
    for line in wit.lines().map(str::trim) {
        let mut words = line.split([' ', ':', '(']).filter(|word| !word.is_empty());
        match words.next() {
            Some("interface") => interface = words.next().unwrap(),
            Some("constructor") => drop(functions.insert(format!("{interface}.constructor"))),
            // What only tells of a tensor that is there, takes nothing.
            Some("dtype" | "shape" | "byte-length") => {}
            Some(name) if line.contains(": func(") => {
                functions.insert(format!("{interface}.{name}"));
            }
            _ => {}
        }
    }
    assert!(functions.len() > 12, "{functions:?}");
    let document = document("bounds.md");
    let named: BTreeSet<_> = quoted(&document).map(str::to_owned).collect();
    let missing: Vec<_> = functions.difference(&named).collect();
    assert!(missing.is_empty(), "docs/bounds.md says nothing of {missing:?}");
}

#[test]
fn what_the_rows_name_is_there() {
    let document = document("bounds.md");
    let mut rows = 0;
    for row in document.lines().filter(|line| line.starts_with("| ") && line.contains("host/src")) {
        rows += 1;
        let place = row.trim_end_matches('|').rsplit(" | ").next().unwrap();
        let (files, constants): (Vec<_>, Vec<_>) =
            quoted(place).partition(|name| name.contains('/'));
        let sources: Vec<_> = files
            .iter()
            .map(|file| fs::read_to_string(repository().join(file)).expect(file))
            .collect();
        for constant in constants {
            let is_there = |source: &String| source.contains(&format!("const {constant}: "));
            assert!(sources.iter().any(is_there), "{constant} is not in {files:?}");
        }
    }
    assert!(rows > 30, "{rows}");
}
