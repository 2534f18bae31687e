"""What it costs that native code is in processes of its own: `--process` own, shared and none.

Servers of each kind run at once and take turns, and what is compared are neighbours in time. Then
models by the ten: what they take with a process each, and with one for all. Writes
benches/runs/DATE-MACHINE/process.json and process.md; `--quick` makes one round and only prints.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

import onnx
from onnx import TensorProto, helper
from tritonclient.grpc.service_pb2 import ModelInferRequest

import answers
import cpu
import footprint
import load
import machine
import network
import servers
from cases import Budget, Case
from groups import at_least, at_most
from prepare import BATCHING
from record import keep
from run import plain
from tables import row, spread

KINDS = ["own", "shared", "none"]
PICTURE = "classification, 4 callers"


def graph(name: str, model: str, connections: int, budget: Budget) -> Case:
    """A call of a bare graph."""
    return case(name, ("ModelInfer", "infer", model), connections, budget)


def case(name: str, what: tuple[str, str, str], connections: int, budget: Budget) -> Case:
    """One call in flight on each connection; the budget is a child's against none."""
    beside = {"shared": None, "none": budget}
    return Case(name, *what, connections, 1, beside, ours="own")


CASES = [
    case(PICTURE, ("RunImage", "picture", "efficientnet_lite0"), 4, at_least(0.97)),
    graph("small network, batched, 64 callers", "mlp", 64, at_least(0.9)),
    graph("smallest graph [1, 16], alone", "small", 1, at_most(30)),
    graph("1080p identity, alone", "identity", 1, at_least(0.9)),
    graph("1080p identity, 4 callers", "identity", 4, at_least(0.9)),
]


def main() -> None:
    """Measures, prints, writes."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="one round, printed")
    arguments.add_argument("--rounds", type=int, default=7, help="[default: 7]")
    arguments.add_argument("--seconds", type=float, default=2, help="a run [default: 2]")
    arguments.add_argument("--only", help="cases whose name has this")
    given = arguments.parse_args()
    rounds, seconds = (1, 1.0) if given.quick else (given.rounds, given.seconds)
    record: dict = {"machine": machine.describe(), "rounds": rounds, "seconds": seconds}
    record["arguments"] = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="tms-bench-") as at:
        folder = Path(at)
        frames = prepare(folder)
        chosen = [case for case in CASES if not given.only or given.only in case.name]
        with started(folder, "models", KINDS) as (running, said):
            record["commands"] = said
            record["runs"] = turns(chosen, running, frames, rounds, seconds)
        if not given.only:
            record["start"] = start(folder, frames, rounds)
            record["ten"] = ten(folder, frames, rounds, seconds)
    summary = report(record)
    print(summary)
    if not given.quick and not given.only:
        keep("process", record, summary)


def prepare(folder: Path) -> Path:
    """The models, and requests to them."""
    frames, models = folder / "frames", folder / "models"
    subprocess.run([servers.BENCH, "frames", frames], check=True, cwd=servers.ROOT)
    classifier = "efficientnet_lite0"
    footprint.served(footprint.MODELS / classifier, models / classifier)
    for name in ("mlp", "small", "identity"):
        (models / name).mkdir()
    network.write(models / "mlp/model.onnx")
    (models / "mlp/model.toml").write_text(BATCHING)
    identity(models / "identity/model.onnx", TensorProto.UINT8, ["height", "width"])
    identity(models / "small/model.onnx", TensorProto.FLOAT, [1, 16])
    frame(frames / "infer-identity.bin", "identity", "UINT8", [1080, 1920 * 3], 1)
    frame(frames / "infer-small.bin", "small", "FP32", [1, 16], 4)
    # Ten: the same classifier under ten names, and the smallest graph under ten more.
    for number in range(10):
        footprint.served(models / classifier, folder / "ten" / name_of(classifier, number))
        footprint.served(models / "small", folder / "ten" / name_of("small", number))
    return frames


def name_of(model: str, number: int) -> str:
    """The first keeps its name, so that the requests fit."""
    return model if number == 0 else f"{model}_{number}"


def identity(file: Path, dtype: int, shape: list) -> None:
    """A graph that gives back what it takes."""
    x, y = (helper.make_tensor_value_info(name, dtype, shape) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", [x], [y])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString())


def frame(file: Path, model: str, datatype: str, shape: list[int], size: int) -> None:
    """A request with raw contents, as gRPC frames it."""
    request = ModelInferRequest(model_name=model)
    request.inputs.add(name="x", datatype=datatype, shape=shape)
    # Of bytes that are no NaN, whatever the type.
    request.raw_input_contents.append(bytes(size * shape[0] * shape[1]))
    message = request.SerializeToString()
    file.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)


def command(folder: Path, models: str, kind: str) -> list[str]:
    """How a server is started."""
    served = ["--models", folder / models, "--cache", folder / "cache"]
    told = ["--host", "127.0.0.1", "--port", "0", "--process", kind]
    return [str(part) for part in (servers.TMS, "serve", *served, *told)]


@contextmanager
def started(
    folder: Path, models: str, kinds: list[str]
) -> Iterator[tuple[dict[str, servers.Server], dict[str, str]]]:
    """A server of each kind, and their commands as typed. An idle one costs the others nothing."""
    running: dict[str, servers.Server] = {}
    try:
        for kind in kinds:
            running[kind] = servers.Server(kind, *command(folder, models, kind))
        said = {kind: plain(" ".join(server.command), folder) for kind, server in running.items()}
        generator = load.command("URL", Path("FRAME"), 0, 0, 0)
        yield running, said | {"load": plain(" ".join(["h2load", *generator[1:]]), folder)}
    finally:
        servers.stop(running)


def turns(
    cases: list[Case],
    running: dict[str, servers.Server],
    frames: Path,
    rounds: int,
    seconds: float,
) -> list[dict]:
    """All runs, after a look at the answers, which must be the same."""
    cases = [
        replace(case, against={name: case.against.get(name) for name in list(running)[1:]})
        for case in cases
    ]
    sizes = {case.name: answers.check(case, running, frames) for case in cases}
    runs = []
    for number in range(rounds):
        for case in cases:
            order = case.servers
            turn = number % len(order)
            for name in order[turn:] + order[:turn]:
                server = running[name]
                shape = (case.connections, case.streams, seconds * case.length)
                found = load.measure(server.pid, server.url(case.call), frames / case.frame, *shape)
                # A reply with an error has no data.
                if found.reply_bytes < 0.98 * sizes[case.name][name]:
                    raise SystemExit(f"{case.name}: not all calls were served: {found}")
                figures = {key: round(value, 3) for key, value in asdict(found).items()}
                runs.append({"case": case.name, "server": name, "round": number, **figures})
        print(f"round {number + 1} of {rounds}", flush=True)
    return runs


def start(folder: Path, frames: Path, rounds: int) -> dict[str, list[dict]]:
    """From the start of the process to the first classification, compiled code being there."""
    url = f"http://127.0.0.1:{footprint.PORT}/server.Server/{footprint.PICTURE[0]}"
    found: dict[str, list[dict]] = {kind: [] for kind in KINDS}
    for number in range(rounds):
        turn = number % len(KINDS)
        for kind in KINDS[turn:] + KINDS[:turn]:
            told = command(folder, "models", kind)
            told[told.index("--port") + 1] = str(footprint.PORT)
            request = [url, str(frames / footprint.PICTURE[1])]
            began = [str(servers.BENCH), "first", *request, "--", *told]
            found[kind].append(footprint.printed(began))
    return found


def ten(folder: Path, frames: Path, rounds: int, seconds: float) -> dict:
    """Twenty models, ten of each of two sizes: what they hold and how fast they are."""
    kinds = ["own", "shared"]
    cases = [one for one in CASES if one.model in ("efficientnet_lite0", "small")]
    with started(folder, "ten", kinds) as (running, said):
        # What they hold before any call, and when each has run.
        held = {kind: [holds(running[kind])] for kind in kinds}
        runs = turns(cases, running, frames, rounds, seconds)
        for kind in kinds:
            held[kind].append(holds(running[kind]))
        return {"commands": said, "held": held, "runs": runs}


def holds(server: servers.Server) -> dict[str, int]:
    """The memory of all its processes, what they share divided between them; their threads."""
    time.sleep(3)
    proportional = own = threads = 0
    processes = cpu.processes(server.pid)
    for one in processes:
        lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        proportional += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        own += footprint.resident(one, "RssAnon")
        threads += len(list(Path(f"/proc/{one}/task").iterdir()))
    return {
        "processes": len(processes),
        "pss_kib": proportional,
        "anonymous_kib": own,
        "threads": threads,
    }


def report(record: dict) -> str:
    """The medians as markdown."""
    about = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"# Native code in processes: {about['date']}, {about['cpu']}, {about['cores']} cores",
        "",
        f"{about['memory_gib']} GiB, Linux {about['kernel']}; {versions}; load average at the start"
        f" {about['load_at_start'][0]:.1f}. {record['rounds']} rounds of {record['seconds']:g} s;"
        " medians, in brackets the lowest and highest. A ratio is of neighbours in time, then the"
        " median of those.",
        "",
        *(f"    {name}: {said}" for name, said in record["commands"].items()),
        "",
        *table(CASES, record["runs"], "none"),
    ]
    if "start" in record:
        lines += ["", row(["start to the first classification", "ms"]), row(["---"] * 2)]
        for kind, runs in record["start"].items():
            lines.append(row([kind, spread([run["ms"] for run in runs], "{:.0f}")]))
    if "ten" in record:
        found = record["ten"]
        head = ["ten classifiers and ten of the smallest graph", "processes", "PSS, MiB"]
        head += ["of it without pages of files", "threads"]
        lines += ["", row(head), row(["---"] * len(head))]
        for kind, (before, after) in found["held"].items():
            for when, held in (("loaded", before), ("after the calls", after)):
                memory = (f"{held[key] / 1024:.0f}" for key in ("pss_kib", "anonymous_kib"))
                cells = [f"{kind}, {when}", str(held["processes"]), *memory, str(held["threads"])]
                lines.append(row(cells))
        lines += ["", *table(CASES, found["runs"], "shared")]
    return "\n".join(lines) + "\n"


def table(cases: list[Case], runs: list[dict], beside: str) -> list[str]:
    """A line a case and server; each is compared with `beside`."""
    head = ["call", "load", "process", "calls a second", "p50, µs", "p99, µs"]
    head += ["server CPU a call, µs", f"against {beside}", "budget", ""]
    lines = [row(head), row(["---"] * len(head))]
    for case in cases:
        of_case = [run for run in runs if run["case"] == case.name]
        for kind in KINDS:
            mine = [run for run in of_case if run["server"] == kind]
            if mine:
                verdict = compared(case, mine, [r for r in of_case if r["server"] == beside])
                figures = [
                    spread([run[key] for run in mine], "{:.0f}")
                    for key in ("rate", "p50_us", "p99_us", "cpu_us")
                ]
                lines.append(row([case.name, case.load, kind, *figures, *verdict]))
    return lines


def compared(case: Case, mine: list[dict], others: list[dict]) -> list[str]:
    """The figure against the other's, the budget, and whether it is kept."""
    budget = case.against.get("none")
    if not budget or not others or mine[0]["server"] == others[0]["server"]:
        return ["", "", ""]
    figures = [budget.of(*pair) for pair in zip(mine, others, strict=True)]
    form = "{:.2f}" if budget.metric == "ratio" else "{:+.0f} µs"
    shown = spread(figures, form)
    # Between two kinds of children there is no budget.
    if others[0]["server"] != "none":
        return [shown, "", ""]
    return [shown, str(budget), "met" if budget.met(median(figures)) else "missed"]


if __name__ == "__main__":
    load.find()
    main()
