"""What the sandbox costs, and what it keeps from a neighbour; see README.md.

Writes benches/runs/DATE-MACHINE/sandbox.json with every run and sandbox.md with the medians.
`--quick` makes one round and only prints.
"""

import argparse
import json
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

import load
import machine
import servers
from record import keep

HOSTILE = servers.ROOT / "tests/hostile"
GUESTS = servers.ROOT / "tests/guests"
# As many of the attacker's callers as a worker has room for them by default would take all of the
# cores for themselves.
CALLERS = 4
# The attack goes on: with the default a model that always traps is refused after ten calls.
CONFIG = """
[model.hostile.limits]
max_failures = 1000000000
"""


def main() -> None:
    """Measures, prints, writes."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="one round, printed")
    arguments.add_argument("--rounds", type=int, default=5, help="runs of each [default: 5]")
    arguments.add_argument("--seconds", type=float, default=1.0, help="of a run [default: 1]")
    arguments.add_argument("--attacks", nargs="*", help="only these [default: all]")
    given = arguments.parse_args()
    load.find()
    rounds = 1 if given.quick else given.rounds
    record: dict = {"machine": machine.describe(), "rounds": rounds, "seconds": given.seconds}
    record["instances"] = instances(rounds)
    record["fresh"] = fresh(rounds, given.seconds)
    record["attacks"] = attacks(given.attacks or names(), rounds, given.seconds)
    summary = report(record)
    print(summary)
    if not given.quick:
        keep("sandbox", record, summary)


def instances(rounds: int) -> list[dict]:
    """`tms-bench instances`: no gRPC around it."""
    models = [GUESTS / name for name in ("pixels", "vocabulary", "faults")]
    models.append(servers.ROOT / "models/example_text")
    subprocess.run([servers.TMS, "build", *models], check=True, stdout=subprocess.DEVNULL)
    done = subprocess.run(
        [servers.BENCH, "instances", "--rounds", str(rounds)],
        check=True,
        cwd=servers.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def fresh(rounds: int, seconds: float) -> list[dict]:
    """The smallest text through gRPC: instances reused, and a fresh one for each call."""
    runs = []
    with tempfile.TemporaryDirectory(prefix="tms-bench-") as at:
        folder = Path(at)
        copy(servers.ROOT / "models/example_text", folder / "models/serial")
        copy(servers.ROOT / "models/example_text", folder / "models/never")
        (folder / "models/never/model.toml").write_text('reuse = "never"\n')
        server = serve(folder, "")
        try:
            for _ in range(rounds):
                for connections, streams in ((1, 1), (4, 4)):
                    for model in ("serial", "never"):
                        file = frame(folder, model, "text", "")
                        url = server.url("RunText")
                        run = load.measure(server.pid, url, file, connections, streams, seconds)
                        load_of = f"{connections}x{streams}"
                        runs.append({"model": model, "load": load_of, **figures(run)})
        finally:
            server.stop()
    return runs


def names() -> list[str]:
    """The attacks that begin with a call: the hostile guest has a function for each."""
    files = sorted(HOSTILE.glob("*.rs"))
    return [file.stem for file in files if "pub fn attack(" in file.read_text()]


def attacks(chosen: list[str], rounds: int, seconds: float) -> list[dict]:
    """The neighbour's times, left alone and while another model attacks."""
    runs = []
    guest = HOSTILE / "guest"
    subprocess.run([servers.TMS, "build", guest], check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory(prefix="tms-bench-") as at:
        folder = Path(at)
        copy(servers.ROOT / "models/example_text", folder / "models/example_text")
        copy(guest, folder / "models/hostile")
        neighbour = frame(folder, "example_text", "text", "")
        for attack in chosen:
            # A server each: what one attack leaves behind is not the next one's.
            server = serve(folder, CONFIG)
            url = server.url("RunText")
            file = frame(folder, "hostile", attack, "{}")
            try:
                for _ in range(rounds):
                    alone = load.measure(server.pid, url, neighbour, 1, 1, seconds)
                    command = load.command(url, file, CALLERS, 1, 3600)
                    attacker = subprocess.Popen(command, stdout=subprocess.DEVNULL)
                    try:
                        # The server has no rest while it is attacked: it is not waited for.
                        beside = load.measure(
                            server.pid, url, neighbour, 1, 1, seconds, settle=lambda _: None
                        )
                    finally:
                        attacker.kill()
                        attacker.wait()
                    runs.append(
                        {"attack": attack, "alone": figures(alone), "attacked": figures(beside)}
                    )
            finally:
                server.stop()
            print(f"{attack}: {runs[-1]['alone']} {runs[-1]['attacked']}", flush=True)
    return runs


def figures(run: load.Run) -> dict:
    """What is kept of a run."""
    return {"p50_us": run.p50_us, "p99_us": run.p99_us, "rate": round(run.rate)}


def serve(folder: Path, config: str) -> servers.Server:
    """A server of a folder's models."""
    (folder / "tms.toml").write_text(config)
    options = ["--models", folder / "models", "--config", folder / "tms.toml", "--port", "0"]
    # The log of an attack has thousands of lines.
    return servers.Server("tms", servers.TMS, "serve", *options, stderr=subprocess.DEVNULL)


def copy(model: Path, to: Path) -> None:
    """A component without its source."""
    to.mkdir(parents=True)
    (to / "model.wasm").write_bytes((model / "model.wasm").read_bytes())


def frame(folder: Path, model: str, text: str, args: str) -> Path:
    """A RunText request as gRPC frames it: TextArgs { text = 1, model = 2, args = 3 }."""
    message = b""
    for number, field in enumerate((text, model, args), start=1):
        data = field.encode()
        message += bytes([number << 3 | 2, len(data)]) + data if data else b""
    file = folder / f"{model}-{text}.bin"
    file.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    return file


def report(record: dict) -> str:
    """The medians as markdown."""
    about = record["machine"]
    lines = [
        f"# The sandbox: {about['date']}, {about['cpu']}, {about['cores']} cores",
        "",
        f"{record['rounds']} rounds; medians, in brackets the lowest and highest.",
        "",
        "| without gRPC | µs | µs | more |",
        "| --- | --- | --- | --- |",
    ]
    by_case = defaultdict(list)
    for run in record["instances"]:
        by_case[run["case"]].append(run)
    for case, runs in by_case.items():
        if "kib" in runs[0]:
            lines.append(f"| {case}: memory | {runs[0]['kib']:.0f} KiB | | |")
            continue
        one, other = ([run["us"][side] for run in runs] for side in (0, 1))
        more = [b - a for a, b in zip(one, other, strict=True)]
        lines.append(f"| {case} | {spread(one)} | {spread(other)} | {spread(more)} |")
    lines += ["", "| smallest text through gRPC | load | p50 µs | calls a second |"]
    lines.append("| --- | --- | --- | --- |")
    for shape in ("1x1", "4x4"):
        for model, what in (("serial", "instances reused"), ("never", "a fresh one each")):
            runs = [r for r in record["fresh"] if r["model"] == model and r["load"] == shape]
            cells = [spread([run[key] for run in runs]) for key in ("p50_us", "rate")]
            lines.append(f"| {what} | {shape} | {cells[0]} | {cells[1]} |")
    lines += [
        "",
        f"The neighbour: the smallest text, one caller; the attacker has {CALLERS}, and is not"
        " refused after failures.",
        "",
        "| attack | p99 alone, µs | p99 attacked, µs | ratio | p50 alone | p50 attacked |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for attack in dict.fromkeys(run["attack"] for run in record["attacks"]):
        runs = [run for run in record["attacks"] if run["attack"] == attack]
        p99, p50 = (
            [[run[side][key] for run in runs] for side in ("alone", "attacked")]
            for key in ("p99_us", "p50_us")
        )
        ratio = median(b / a for a, b in zip(*p99, strict=True))
        cells = [attack, *map(spread, p99), f"{ratio:.2f}", *map(spread, p50)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def spread(values: list[float]) -> str:
    """A median with its range."""
    digits = 1 if median(values) < 100 else 0
    low, mid, high = (f"{v:.{digits}f}" for v in (min(values), median(values), max(values)))
    return mid if low == high else f"{mid} ({low}..{high})"


if __name__ == "__main__":
    main()
