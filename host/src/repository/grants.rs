//! What a model asks for against what the operator grants: only what both name is given.

use crate::{
    config::{self, manifest::Asks},
    sandbox::Grants,
};

/// The grants of one model, and both lists in words, for the log.
#[derive(Debug, Default)]
pub struct Decided {
    pub grants: Grants,
    /// Names of the metadata that it sees of a call, in lower case.
    pub metadata: Vec<String>,
    pub given: Vec<String>,
    pub withheld: Vec<String>,
}

/// Fails where the operator grants what the model does not ask for, or what is not there: either is
/// a mistake in tms.toml.
pub fn decide(asks: &Asks, granted: &config::Grants) -> Result<Decided, String> {
    let mut decided = Decided::default();
    let mut hosts = Vec::new();
    let unasked = |what: &str| {
        Err(format!("tms.toml grants {what}, which model.toml does not ask for ([asks])"))
    };
    for guest in &asks.folders {
        match granted.folders.get(guest) {
            Some(host) if host.is_dir() => {
                decided.given.push(format!("reads {guest} (the folder {})", host.display()));
                decided.grants.folders.push((guest.clone(), host.clone()));
            }
            Some(host) => {
                return Err(format!(
                    "tms.toml grants {guest} as {}, which is not a folder",
                    host.display()
                ));
            }
            None => decided.withheld.push(format!("folder {guest}")),
        }
    }
    for name in &asks.env {
        if !granted.env.contains(name) {
            decided.withheld.push(format!("variable {name}"));
            continue;
        }
        let value = std::env::var(name)
            .map_err(|_| format!("tms.toml grants the variable {name}, which is not set"))?;
        decided.given.push(format!("variable {name}"));
        decided.grants.env.push((name.clone(), value));
    }
    for host in &asks.hosts {
        if !granted.hosts.contains(host) {
            decided.withheld.push(format!("host {host}"));
            continue;
        }
        let parsed = host.rsplit_once(':').and_then(|(name, port)| {
            let name = name.trim_start_matches('[').trim_end_matches(']');
            Some((name.to_owned(), port.parse().ok()?)).filter(|_| !name.is_empty())
        });
        hosts.push(parsed.ok_or_else(|| format!("`{host}` is not a host: name:port"))?);
        decided.given.push(format!("connects to {host}"));
    }
    decided.grants.hosts = hosts.into();
    for name in &asks.metadata {
        if !granted.metadata.contains(name) {
            decided.withheld.push(format!("metadata {name}"));
            continue;
        }
        if name.to_ascii_lowercase().ends_with("-bin") {
            return Err(format!("the metadata {name} is binary: only texts are let through"));
        }
        decided.given.push(format!("sees the metadata {name}"));
        decided.metadata.push(name.to_ascii_lowercase());
    }
    if let Some(name) = granted.folders.keys().find(|name| !asks.folders.contains(name)) {
        return unasked(&format!("the folder {name}"));
    }
    if let Some(name) = granted.env.iter().find(|name| !asks.env.contains(name)) {
        return unasked(&format!("the variable {name}"));
    }
    if let Some(name) = granted.metadata.iter().find(|name| !asks.metadata.contains(name)) {
        return unasked(&format!("the metadata {name}"));
    }
    if let Some(name) = granted.hosts.iter().find(|name| !asks.hosts.contains(name)) {
        return unasked(&format!("the host {name}"));
    }
    Ok(decided)
}
