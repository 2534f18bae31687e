"""Calls over a Unix socket beside the same over TCP's loopback, of one server, by turns.

Prints its own command, the machine, each round's figures and the medians of their ratios. It needs
what `make build` and `cargo build --release -p tms-bench` make.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import machine
from cpu import CORES, time_of
from servers import BENCH, ROOT, TMS, Server

# What is called: its model's frame (see src/frames.rs), connections, and calls at once on each.
CASES = {
    "text, 4 connections of 4 calls": ("RunText", "text-example_text.bin", 4, 4),
    "text, one call at a time": ("RunText", "text-example_text.bin", 1, 1),
    "1080p, 4 connections": ("RunImage", "large-example_image.bin", 4, 1),
    "1080p, one call at a time": ("RunImage", "large-example_image.bin", 1, 1),
}


def measure(
    server: Server, case: tuple[str, str, int, int], frames: Path, path: Path | None
) -> dict[str, float]:
    """Calls a second, their median in µs, and the server's CPU a call in µs."""
    call, frame, connections, streams = case
    command = [BENCH, "load", server.url(call), frames / frame]
    command += ["--seconds", "2", "--warm-up", "0.5"]
    command += ["--connections", str(connections), "--streams", str(streams)]
    command += ["--unix", str(path)] if path else []
    before = time_of(server.pid)
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(output.stdout)
    used = time_of(server.pid) - before
    calls = found["rate"] * 2.5
    return {"rate": found["rate"], "p50": found["p50_us"], "cpu": used / calls * 1e6}


def main() -> None:
    """Measures, and prints."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=6)
    given = arguments.parse_args()
    print("benches/unix_socket.py", *sys.argv[1:])
    print(f"{machine.cpu()}, {CORES} cores")
    with tempfile.TemporaryDirectory(prefix="tms-unix-") as folder:
        models, frames, path = (Path(folder, name) for name in ("models", "frames", "tms.sock"))
        models.mkdir()
        for model in ("example_text", "example_image"):
            (models / model).symlink_to(ROOT / "models" / model)
        subprocess.run([BENCH, "frames", frames], cwd=ROOT, check=True)
        serve = [TMS, "serve", "--models", models, "--cache", Path(folder, "cache")]
        where = ["--host", "127.0.0.1", "--port", "0", "--listen", f"unix:{path}"]
        server = Server("tms", *serve, *where, stderr=subprocess.DEVNULL)
        try:
            for name, case in CASES.items():
                rounds = []
                for turn in range(given.rounds):
                    ways = [("tcp", None), ("unix", path)][:: 1 if turn % 2 else -1]
                    rounds.append({way: measure(server, case, frames, at) for way, at in ways})
                report(name, rounds)
        finally:
            server.stop()


def report(name: str, rounds: list[dict[str, dict[str, float]]]) -> None:
    """Each round, and the medians of the ratios."""
    print(f"\n{name}")
    for way in ("tcp", "unix"):
        for figure in ("rate", "p50", "cpu"):
            print(f"  {way:5} {figure:5}", *(f"{one[way][figure]:9.1f}" for one in rounds))
    for figure in ("rate", "p50", "cpu"):
        ratio = statistics.median(one["unix"][figure] / one["tcp"][figure] for one in rounds)
        print(f"  unix / tcp, {figure}: {ratio:.2f}")


if __name__ == "__main__":
    main()
