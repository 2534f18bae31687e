"""Where the CPU time of a call goes, a layer a line; see README.md.

Samples the server with perf (cpu-clock: no hardware counters needed) while h2load calls it, and
puts each sample's function into a layer. Prints microseconds of server CPU a call.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import load
import prepare
import servers
from cases import Case
from groups import GROUPS

# What a function belongs to, by its name and its binary: the first that matches.
LAYERS = [
    ("kernel: sockets, copies from and to them", r"^\[k\]"),
    ("the guest's own code", r"^\[\.\] 0x|\[JIT\]|anon"),
    ("copying and filling memory", r"mem(move|cpy|set)"),
    (
        "allocating",
        r"malloc|_int_free|^\[\.\] (cfree|free|realloc|calloc)|unlink_chunk|mi_",
    ),
    ("ONNX Runtime", r"libonnxruntime|Ort|onnxruntime"),
    ("wasmtime: into the guest and back", r"wasmtime|cranelift|pulley"),
    ("HTTP/2: h2, hyper", r"h2::|hyper|httparse|http::|http_body"),
    ("gRPC: tonic, prost, tower", r"tonic|prost|tower|matchit"),
    ("tms", r"tms::|<tms"),
    ("bytes", r"bytes::"),
    ("tokio, mio", r"tokio|mio::"),
    ("clocks", r"clock_gettime|vdso|__vdso"),
]


def main() -> None:
    """Profiles the calls that are asked for."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("cases", nargs="*", default=["smallest text", "1080p, pixels ignored"])
    arguments.add_argument("--server", default="tms", help="tms or echo [default: tms]")
    arguments.add_argument("--seconds", type=float, default=5.0)
    arguments.add_argument("--functions", type=int, default=12, help="named one by one")
    given = arguments.parse_args()
    load.find()
    if not shutil.which("perf"):
        sys.exit("benches/profile.py: perf is missing: apt-get install -y linux-perf")
    with tempfile.TemporaryDirectory(prefix="tms-bench-") as folder:
        at = Path(folder)
        prepare.prepare(at)
        started = servers.start({given.server}, at)
        try:
            for case in GROUPS["native"]:
                if case.name in given.cases:
                    profile(case, started[given.server], at, given)
        finally:
            servers.stop(started)


def profile(case: Case, server: servers.Server, folder: Path, given: argparse.Namespace) -> None:
    """Samples one server under one load and prints the layers."""
    data = folder / "perf.data"
    command = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "4999", "-o", data]
    recorder = subprocess.Popen(
        [*command, "-p", str(server.pid), "--", "sleep", str(given.seconds)],
        stderr=subprocess.DEVNULL,
    )
    run = load.measure(
        server.pid,
        server.url(case.call),
        folder / "frames" / case.frame,
        case.connections,
        case.streams,
        given.seconds,
    )
    recorder.wait()
    listing = subprocess.run(
        ["perf", "report", "-i", data, "--stdio", "-g", "none", "--sort", "dso,sym"],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ).stdout
    layers: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for share, dso, symbol in re.findall(r"^\s+([\d.]+)%\s+(\S+)\s+(\[.\] .+?)\s*$", listing, re.M):
        layers[layer(f"{symbol} {dso}")] += float(share)
        functions[symbol] += float(share)
    total = run.cpu_us
    print(f"\n{case.name}, {case.connections}x{case.streams}, {server.name}: ", end="")
    print(f"{total:.1f} us of server CPU a call, {run.rate:.0f} calls/s\n")
    print("| layer | us a call | share |\n| --- | --- | --- |")
    for name, share in layers.most_common():
        print(f"| {name} | {share / 100 * total:.2f} | {share:.1f} % |")
    print("\n| function | us a call |\n| --- | --- |")
    for name, share in functions.most_common(given.functions):
        print(f"| `{name[4:]}` | {share / 100 * total:.2f} |")


def layer(name: str) -> str:
    """The layer of a function."""
    for title, pattern in LAYERS:
        if re.search(pattern, name):
            return title
    return "other"


if __name__ == "__main__":
    main()
