"""The table of a run: medians, spread, and the budgets beside them."""

from statistics import median

from cases import CASES, SESSIONS, Budget, Case, added, ratio

HEAD = "| call | load | `tms` | beside it | ratio of rates | added to the p50 | budget | |"
RULE = "| --- | --- | --- | --- | --- | --- | --- | --- |"


def summary(record: dict) -> str:
    """A run's record as markdown."""
    machine, runs = record["machine"], record["runs"]
    others = median(run["others"] for run in runs if "others" in run)
    load = machine["load_at_start"][0]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"# {machine['date']}, {machine['cpu']}, {machine['cores']} cores",
        "",
        f"{machine['memory_gib']} GiB, Linux {machine['kernel']}; {versions}.",
        "",
        f"{record['rounds']} interleaved runs of {record['seconds']} s. Figures are medians; in"
        " brackets the lowest and highest run. Load average at the start"
        f" {load:.1f}; other processes had {others:.0%} of the CPU during the median run.",
        "",
        HEAD,
        RULE,
        *(row(case, runs) for case in CASES),
        "",
        "| the network alone | runs a second | p50 |",
        "| --- | --- | --- |",
        *(session_row(callers, runs) for callers in SESSIONS),
        "",
        "| server CPU a call | `tms` | beside it | more |",
        "| --- | --- | --- | --- |",
        *(cpu_row(case, runs) for case in CASES),
    ]
    return "\n".join(lines) + "\n"


def row(case: Case, runs: list[dict]) -> str:
    """A case's line. Ratios and differences are of neighbours in time, then the median of those."""
    pairs = pairs_of(case, runs)
    alone = case.budget.metric == "added"
    shown = time if alone else rate
    ours, others = (shown([pair[side] for pair in pairs]) for side in (0, 1))
    verdict = "met" if met(case.budget, pairs) else "**missed**"
    cells = [
        case.name,
        f"{case.connections}x{case.streams}",
        ours,
        f"{others} ({case.other})",
        spread([ratio(*pair) for pair in pairs], "{:.2f}"),
        spread([added(*pair) for pair in pairs], "{:+.0f}") + " µs" if alone else "",
        str(case.budget),
        verdict,
    ]
    return "| " + " | ".join(cells) + " |"


def met(budget: Budget, pairs: list[tuple[dict, dict]]) -> bool:
    """Whether the median keeps to the budget."""
    return budget.met(median(budget.of(*pair) for pair in pairs))


def session_row(callers: int, runs: list[dict]) -> str:
    """The line of the network alone."""
    own = [run for run in runs if run["case"] == f"session, {callers} callers"]
    return f"| {callers} at once | {rate(own)} | {time(own)} |"


def cpu_row(case: Case, runs: list[dict]) -> str:
    """What a call costs the server: less troubled by neighbours than a rate is."""
    pairs = pairs_of(case, runs)
    ours, others = (median(pair[side]["cpu_us"] for pair in pairs) for side in (0, 1))
    name = f"{case.name}, {case.connections}x{case.streams}"
    return f"| {name} | {ours:.0f} µs | {others:.0f} µs | {ours - others:+.0f} µs |"


def pairs_of(case: Case, runs: list[dict]) -> list[tuple[dict, dict]]:
    """The runs of `tms` and of the other, by round."""
    own = [run for run in runs if run["case"] == case.name]
    ours = [run for run in own if run["server"] == "tms"]
    others = [run for run in own if run["server"] != "tms"]
    return list(zip(ours, others, strict=True))


def rate(runs: list[dict]) -> str:
    """Calls a second."""
    return spread([run["rate"] for run in runs], "{:,.0f}") + "/s"


def time(runs: list[dict]) -> str:
    """The p50 in µs."""
    return spread([run["p50_us"] for run in runs], "{:,.0f}") + " µs"


def spread(figures: list[float], form: str) -> str:
    """The median, and the lowest and highest where there are several."""
    shown = form.format(median(figures))
    if len(figures) > 1:
        shown += f" [{form.format(min(figures))}, {form.format(max(figures))}]"
    return shown
