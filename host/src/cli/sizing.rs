//! `tms check --memory`: what memory a server of these models wants, from their limits.

use std::fmt::Write as _;

use crate::{
    config::{Settings, values::show_bytes},
    ledger::Ledger,
    machine,
    nn::files,
    repository::plan::Plan,
};

/// What one model may take.
pub struct ModelSize {
    name: String,
    /// Instances on all workers; none of a bare graph.
    instances: u64,
    /// Bytes that one of them starts with, and that it may take.
    initial: u64,
    most: u64,
    /// Bytes of its graphs' weights, which native code has.
    weights: u64,
}

impl ModelSize {
    /// As the settings of the server and the model's own limits say.
    pub fn of(plan: &Plan, workers: usize) -> Self {
        let of_component = plan.component.as_ref().map(|component| component.footprint.initial);
        let calls = plan.limits.max_instances.max(1).saturating_mul(workers) as u64;
        let graphs = plan.folder.graphs.values();
        let files = graphs.flat_map(|graph| files::weights(graph).unwrap_or_default());
        Self {
            name: plan.folder.name.clone(),
            instances: if of_component.is_some() { calls } else { 0 },
            initial: of_component.unwrap_or_default(),
            most: plan.limits.memory as u64,
            weights: files.filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum(),
        }
    }

    fn all(&self) -> u64 {
        self.instances.saturating_mul(self.most)
    }
}

/// What the models take, and what the server has.
pub fn report(models: &[ModelSize], settings: &Settings) -> String {
    let mut report = "memory\n".to_owned();
    for model in models {
        let ModelSize { name, instances, initial, most, weights } = model;
        let (initial, most) = (show_bytes(*initial), show_bytes(*most));
        let weights = match weights {
            0 => String::new(),
            weights => format!("; weights of {}, in native code's", show_bytes(*weights)),
        };
        let _ = match instances {
            0 => writeln!(report, "    {name}: no component{weights}"),
            instances => writeln!(
                report,
                "    {name}: {instances} instances at most (max_instances x workers), each from \
                 {initial} to {most} (memory): {}{weights}",
                show_bytes(model.all())
            ),
        };
    }
    let has = settings.memory();
    let accounted = settings.accounted() as u64;
    let new = Ledger::new(settings.accounted()).for_new_work() as u64;
    let all = models.iter().map(ModelSize::all).fold(0, u64::saturating_add);
    let _ = writeln!(
        report,
        "    the server has {} (memory): {} for what calls take, of which new calls may fill {}",
        show_bytes(has),
        show_bytes(accounted),
        show_bytes(new),
    );
    let _ = match all <= new {
        true => writeln!(report, "    all instances at their limits fit"),
        false => writeln!(
            report,
            "    all instances at their limits, {}, would want `--memory '{}'`; with less, calls are \
             refused (RESOURCE_EXHAUSTED) where they want more than there is at once. What calls take \
             is a model's high-water mark, mostly far below its limit: lower `memory` or \
             `max_instances` where it must not be",
            show_bytes(all),
            show_bytes(machine::memory_for(all.saturating_add(all / 3))),
        ),
    };
    let _ = writeln!(
        report,
        "    beside them, each call under way takes its message and its reply, up to {} each \
         (max_message), and large ones several times that while they are decoded",
        show_bytes(settings.max_message as u64)
    );
    report
}
