"""How soon a server answers after its start, and what models and connections cost it in memory.

Writes benches/runs/DATE-MACHINE/footprint.json with every run and footprint.md with the medians.
`--quick` makes one round and only prints.
"""

import argparse
import resource
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

import load
import machine
import servers
from measure import printed
from record import keep
from sandbox import frame, spread

MODELS = servers.ROOT / "models"
PORT = 15000
TEXT = ("RunText", "text-example_text.bin")
PICTURE = ("RunImage", "picture-efficientnet_lite0.bin")
# What an HTTP/2 client begins with: the preface, and settings that change nothing.
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def main() -> None:
    """Measures, prints, writes."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="one round, printed")
    arguments.add_argument("--rounds", type=int, default=7, help="warm starts [default: 7]")
    arguments.add_argument("--models", type=int, default=1000, help="[default: 1000]")
    arguments.add_argument("--connections", type=int, default=10000, help="[default: 10000]")
    given = arguments.parse_args()
    rounds = 1 if given.quick else given.rounds
    record: dict = {"machine": machine.describe(), "binary": servers.TMS.stat().st_size}
    with tempfile.TemporaryDirectory(prefix="tms-bench-") as at:
        folder = Path(at)
        frames = folder / "frames"
        subprocess.run([servers.BENCH, "frames", frames], check=True, cwd=servers.ROOT)
        record["start"] = start(folder, frames, rounds)
        for kind in ("equal", "different"):
            record[f"models, {kind}"] = many(folder, frames, given.models, kind)
        record["connections"] = connections(folder, given.connections)
    summary = report(record)
    print(summary)
    if not given.quick:
        keep("footprint", record, summary)


def command(models: Path, cache: Path) -> list[str]:
    """How the server is started."""
    served = ["--models", models, "--cache", cache, "--host", "127.0.0.1", "--port", PORT]
    return [str(part) for part in (servers.TMS, "serve", *served)]


def first(call: tuple[str, str], frames: Path, models: Path, cache: Path) -> dict:
    """Milliseconds from the start of the process to the first answer, and its memory then."""
    url = f"http://127.0.0.1:{PORT}/server.Server/{call[0]}"
    started = ["--", *command(models, cache)]
    return printed([str(servers.BENCH), "first", url, str(frames / call[1]), *started])


def start(folder: Path, frames: Path, rounds: int) -> dict:
    """Starts of a server of ten models: with nothing compiled before, and with everything."""
    models, text, picture = folder / "ten", folder / "text cache", folder / "picture cache"
    for model in sorted(MODELS.iterdir()):
        if (model / "model.wasm").exists() or (model / "model.onnx").exists():
            served(model, models / model.name)
    for copy in ("example_text_2", "example_text_3"):
        served(MODELS / "example_text", models / copy)
    found: dict = {"models": len(list(models.iterdir()))}
    found["cold text"] = [first(TEXT, frames, models, text)]
    found["cold picture"] = [first(PICTURE, frames, models, picture)]
    ready(models, text)
    for name in ("warm text", "warm picture", "all"):
        found[name] = []
    for _ in range(rounds):
        found["warm text"].append(first(TEXT, frames, models, text))
        found["warm picture"].append(first(PICTURE, frames, models, text))
        found["all"].append(ready(models, text))
    return found


def served(model: Path, to: Path) -> None:
    """A model without its source."""
    to.mkdir(parents=True)
    for file in model.iterdir():
        if file.is_file() and file.name != "Cargo.toml":
            (to / file.name).symlink_to(file)


def ready(models: Path, cache: Path) -> dict:
    """The same until all models are ready; and the memory some seconds later."""
    began = time.monotonic()
    server = servers.Server("tms", *command(models, cache))
    took = time.monotonic() - began
    try:
        kept = settled(server.pid)
        return {"ms": took * 1e3, "rss_kib": kept, "own_kib": resident(server.pid, "RssAnon")}
    finally:
        server.stop()


def many(folder: Path, frames: Path, count: int, kind: str) -> dict:
    """A server of many models: of one component, or of as many."""
    models, cache = folder / kind, folder / f"cache {kind}"
    component = (MODELS / "example_text/model.wasm").read_bytes()
    for number in range(count):
        at = models / ("example_text" if number == 0 else f"model_{number}")
        at.mkdir(parents=True)
        # A custom section, of a name: it changes nothing but the bytes.
        name = f"{number:06}".encode()
        section = bytes([0, len(name) + 1, len(name)]) + name
        (at / "model.wasm").write_bytes(component + (section if kind == "different" else b""))
    cold = ready(models, cache)
    return {
        "count": count,
        "component": len(component),
        "cold": cold,
        "warm": ready(models, cache),
        "first": first(TEXT, frames, models, cache),
        "one": ready(alone(folder), cache),
    }


def alone(folder: Path) -> Path:
    """A folder with one model, to compare with."""
    models = folder / "one"
    if not models.exists():
        served(MODELS / "example_text", models / "example_text")
    return models


def connections(folder: Path, count: int) -> dict:
    """Idle connections: just opened, and after a call each."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    server = servers.Server("tms", *command(alone(folder), folder / "cache equal"))
    try:
        before = settled(server.pid)
        call = request(server.address, frame(folder, "example_text", "text", "").read_bytes())
        opened = []
        for _ in range(count):
            peer = socket.create_connection(("127.0.0.1", PORT))
            peer.sendall(HELLO)
            # The server's settings: it has taken the connection.
            peer.recv(4096)
            opened.append(peer)
        idle = settled(server.pid)
        for peer in opened:
            peer.sendall(call)
            answer(peer)
        called = settled(server.pid)
        for peer in opened:
            peer.close()
        closed = settled(server.pid)
    finally:
        server.stop()
    return {
        "count": count,
        "before_kib": before,
        "idle_kib": idle,
        "called_kib": called,
        "closed_kib": closed,
    }


def request(authority: str, body: bytes) -> bytes:
    """One call as HTTP/2 frames, its headers as plain literals."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/server.Server/RunText",
        ":authority": authority,
        "content-type": "application/grpc",
        "te": "trailers",
    }
    block = b""
    for name, value in headers.items():
        block += bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    stream = (1).to_bytes(4)
    return (
        len(block).to_bytes(3) + bytes([1, 4]) + stream + block
        + len(body).to_bytes(3) + bytes([0, 1]) + stream + body
    )  # fmt: skip


def answer(peer: socket.socket) -> None:
    """Reads until the call's trailers."""
    data = b""
    while True:
        received = peer.recv(4096)
        assert received, "the server closed the connection"
        data += received
        rest = data
        while len(rest) >= 9 + int.from_bytes(rest[:3]):
            kind, flags = rest[3], rest[4]
            if kind == 1 and flags & 1:
                return
            rest = rest[9 + int.from_bytes(rest[:3]) :]


def settled(pid: int) -> int:
    """Resident memory in KiB, once the server has given back what it does not need."""
    best = resident(pid)
    for _ in range(6):
        time.sleep(0.5)
        best = min(best, resident(pid))
    return best


def resident(pid: int, what: str = "VmRSS") -> int:
    """Resident memory in KiB: all of it, or `RssAnon`, what is not pages of files."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what))


def report(record: dict) -> str:
    """The medians as markdown."""
    about, begun, held = record["machine"], record["start"], record["connections"]
    lines = [
        f"# Start and memory: {about['date']}, {about['cpu']}, {about['cores']} cores",
        "",
        f"The binary has {record['binary'] / 2**20:.1f} MiB. "
        f"{len(begun['warm text'])} warm starts of {begun['models']} models; medians, in brackets"
        " the lowest and highest.",
        "",
        "| from the start of the process | ms | resident then, MiB |",
        "| --- | --- | --- |",
    ]
    for name, what in {
        "warm text": "the first text is answered",
        "warm picture": "the first picture is classified",
        "all": "all models are ready (memory some seconds later)",
        "cold text": "nothing compiled before: the first text",
        "cold picture": "nothing compiled before: the first picture",
    }.items():
        runs = begun[name]
        memory = median(run["rss_kib"] for run in runs) / 1024
        lines.append(f"| {what} | {spread([run['ms'] for run in runs])} | {memory:.0f} |")
    lines += [
        "",
        "| models | all ready, cold | warm | first text, warm | resident, MiB | more a model"
        " | without the pages of files |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind in ("equal", "different"):
        many = record[f"models, {kind}"]
        warm, one, count = many["warm"], many["one"], many["count"]
        more, own = ((warm[key] - one[key]) / (count - 1) for key in ("rss_kib", "own_kib"))
        lines.append(
            f"| {count}, {kind} components of {many['component'] / 1000:.0f} kB"
            f" | {many['cold']['ms'] / 1e3:.1f} s | {warm['ms'] / 1e3:.2f} s"
            f" | {many['first']['ms']:.0f} ms | {warm['rss_kib'] / 1024:.0f} | {more:.0f} KiB"
            f" | {own:.0f} KiB |"
        )
    lines += ["", f"| {held['count']} connections | resident, MiB | more each |"]
    lines.append("| --- | --- | --- |")
    for name in ("before", "idle", "called", "closed"):
        here = held[f"{name}_kib"]
        each = (here - held["before_kib"]) / held["count"]
        what = {"idle": "opened", "called": "after a text each"}.get(name, name)
        lines.append(f"| {what} | {here / 1024:.0f} | {each:.1f} KiB |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    load.find()
    main()
