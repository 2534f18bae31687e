//! From an input to files. The first byte says which parts there are; a component's bytes, or the
//! texts of both settings with a NUL between them, are the input's rest, so that libFuzzer's own ways
//! to change bytes reach them.

use std::{fs, io, path::Path};

use arbitrary::{Result, Unstructured};

use super::text;
use crate::world;

/// The graph in a folder that has one.
const GRAPH: &str = "tests/data/graphs/identity_fp32.onnx";
/// A component that loads, and has been compiled before.
pub const COMPONENT: &str = "tests/guests/counter/model.wasm";

/// A model's folder, and the operator's file.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    /// `tms.toml`; empty: there is none.
    pub operator: Vec<u8>,
    /// `model.toml`
    pub manifest: Option<Vec<u8>>,
    pub component: Component,
    graph: bool,
}

/// `model.wasm`
#[derive(Debug)]
pub enum Component {
    Given(Vec<u8>),
    Real,
    Missing,
    /// `Cargo.toml` stands in its place.
    Source,
}

impl Case {
    pub fn read(u: &mut Unstructured<'_>) -> Result<Self> {
        let bits: u8 = u.arbitrary()?;
        let set = |bit: u8| bits & bit != 0;
        if set(0b100_0000) {
            return texts(u.bytes(u.len())?);
        }
        let name = if set(0b1) { name(u)? } else { "m".into() };
        let operator = if set(0b10) { text::settings(u, &text::OPERATOR)? } else { Vec::new() };
        let manifest = match set(0b100) {
            true => Some(text::settings(u, &text::MANIFEST)?),
            false => None,
        };
        let component = match bits >> 3 & 0b11 {
            0 => Component::Given(u.bytes(u.len())?.to_vec()),
            1 => Component::Real,
            2 => Component::Missing,
            _ => Component::Source,
        };
        Ok(Self { name, operator, manifest, component, graph: set(0b10_0000) })
    }

    /// Writes the model's folder; not all names are names of a folder.
    pub fn write(&self, models: &Path) -> io::Result<()> {
        let folder = models.join(&self.name);
        fs::create_dir(&folder)?;
        if let Some(manifest) = &self.manifest {
            fs::write(folder.join("model.toml"), manifest)?;
        }
        match &self.component {
            Component::Given(bytes) => fs::write(folder.join("model.wasm"), bytes)?,
            Component::Real => world::place(&folder, &[(COMPONENT, "model.wasm")]),
            Component::Source => fs::write(folder.join("Cargo.toml"), "")?,
            Component::Missing => {}
        }
        if self.graph {
            world::place(&folder, &[(GRAPH, "graph.onnx")]);
        }
        Ok(())
    }
}

/// A model that is right, under settings as they are.
fn texts(bytes: &[u8]) -> Result<Case> {
    let mut texts = bytes.splitn(2, |byte| *byte == 0).map(<[u8]>::to_vec);
    Ok(Case {
        name: "m".into(),
        operator: texts.next().unwrap_or_default(),
        manifest: texts.next(),
        component: Component::Real,
        graph: true,
    })
}

/// A folder's name: one that is right, or any that stays inside the folder of models.
fn name(u: &mut Unstructured<'_>) -> Result<String> {
    let known = ["m", "a b", "ü", "-", ".hidden", "m\n", "m\u{1b}[31m"];
    match known.get(usize::from(u.arbitrary::<u8>()?) % (known.len() + 1)) {
        Some(name) => Ok((*name).to_owned()),
        None => Ok(u.arbitrary::<&str>()?.replace(['/', '\0'], "_")),
    }
}
