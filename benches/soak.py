"""Keeps a server under a mixture of good and bad calls for long, and looks whether anything grows.

Good calls, whose answers are known, of several graphs and components; beside them guests that trap,
tensors that end native code, callers who leave, deadlines that pass, runs that heed no stop, runs
that want too much memory, and children that are killed from outside. A line a minute. It fails
where an answer is wrong, where a call is lost in a way that the documents do not name, where
memory, files or threads have grown, and where the server leaves a process behind.
"""

import argparse
import json
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tiny_model_client._proto import server as pb
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse

import cpu
import servers

GRAPHS = servers.ROOT / "tests/data/graphs"
GUESTS = servers.ROOT / "tests/guests"
MODELS = servers.ROOT / "models"
# What may be more at the end than after the warm-up, when nobody calls.
MORE_MEMORY, MORE_FILES, MORE_THREADS = 64 << 20, 16, 16
# Seconds: the warm-up, the silence before a measurement, a call that is lost, between kills.
WARM_UP, SILENCE, LOST, KILLS = 60, 15, 60, 20
# What the documents say of a call whose tensor ends native code.
ENDED = "the native library ended while it ran graph"
# And of a graph whose calls did that again and again.
REFUSED = "too often"
LIMITS = [(f"grpc.max_{way}_message_length", 64 << 20) for way in ("send", "receive")]
SETTINGS = """
native_memory = "2 GiB"
[model.trapping.limits]
max_failures = 1000000
[model.endless.limits]
timeout = "2s"
"""

Code = grpc.StatusCode
Reply = Any


@dataclass(frozen=True)
class Kind:
    """One kind of call, made by a thread of its own again and again."""

    name: str
    call: str
    """The gRPC method."""
    ask: Callable[[random.Random], Any]
    """A request."""
    right: Callable[[Any, Reply], bool] = lambda _request, _reply: False
    """Whether a reply to a request is right."""
    ends: dict[Code, str] = field(default_factory=dict)
    """How it may fail, and a word of the message."""
    deadline: float = LOST
    leaves: float | None = None
    """Seconds after which the caller gives up."""
    pause: float = 0


def named(name: str, values: np.ndarray, datatype: str, request: ModelInferRequest) -> None:
    """Adds an input to a request."""
    request.inputs.add(name=name, datatype=datatype, shape=values.shape)
    request.raw_input_contents.append(values.tobytes())


def infer(model: str, **inputs: np.ndarray) -> ModelInferRequest:
    """A request of the Open Inference Protocol."""
    request = ModelInferRequest(model_name=model)
    known = {"float32": "FP32", "int64": "INT64"}
    for name, values in inputs.items():
        named(name, values, known[values.dtype.name], request)
    return request


def floats(*values: float) -> np.ndarray:
    """A row."""
    return np.array([values], np.float32)


def zeros(*shape: int) -> np.ndarray:
    """Zeros of this shape."""
    return np.zeros(shape, np.float32)


def whole(*values: int) -> np.ndarray:
    """A list of integers."""
    return np.array(values, np.int64)


def first(reply: ModelInferResponse, dtype: type) -> np.ndarray:
    """The first output."""
    return np.frombuffer(reply.raw_output_contents[0], dtype)


def summed(chance: random.Random) -> ModelInferRequest:
    a, b = (np.float32([[chance.randrange(1000) for _ in range(3)]]) for _ in range(2))
    return infer("calm", a=a, b=b)


def is_sum(request: ModelInferRequest, reply: ModelInferResponse) -> bool:
    a, b = (np.frombuffer(raw, np.float32) for raw in request.raw_input_contents)
    found = (np.frombuffer(raw, np.float32) for raw in reply.raw_output_contents)
    return all(map(np.array_equal, found, (a + b, a * b)))


def quotient(model: str) -> Callable[[random.Random], ModelInferRequest]:
    return lambda chance: infer(model, a=whole(chance.randrange(10**9)), b=whole(7))


def is_quotient(request: ModelInferRequest, reply: ModelInferResponse) -> bool:
    a, b = (np.frombuffer(raw, np.int64) for raw in request.raw_input_contents)
    return first(reply, np.int64)[0] == a[0] // b[0]


def row(chance: random.Random) -> ModelInferRequest:
    x, a = floats(chance.randrange(100)), whole(-2000 * chance.randrange(100))[None]
    return infer("rows", x=x, a=a, b=whole(0)[None])


def is_row(request: ModelInferRequest, reply: ModelInferResponse) -> bool:
    x = np.frombuffer(request.raw_input_contents[0], np.float32)[0]
    a = np.frombuffer(request.raw_input_contents[1], np.int64)[0]
    return abs(first(reply, np.float32)[0] - (x - a / 2000)) < 0.05


def expanded(mib: int) -> Callable[[random.Random], ModelInferRequest]:
    return lambda _: infer("expanding", x=np.float32([7]), shape=whole(mib << 18))


def is_seven(_request: ModelInferRequest, reply: ModelInferResponse) -> bool:
    return first(reply, np.float32)[0] == 7


def fault(what: str) -> Callable[[random.Random], pb.TextArgs]:
    return lambda _: pb.TextArgs(text="", model="trapping", args=json.dumps({"do": what}))


def text(chance: random.Random) -> pb.TextArgs:
    return pb.TextArgs(text="".join(chance.choices("äbc😀 ", k=50)), model="echo")


def is_same_text(request: pb.TextArgs, reply: pb.Response) -> bool:
    return json.loads(reply.data) == request.text


def pictures() -> tuple[Callable[[random.Random], pb.ImageArgs], Callable[..., bool]]:
    """A few pictures to classify, whose answers must stay what they were at first."""
    chance = np.random.default_rng(1)
    pixels = [chance.integers(0, 255, (120, 160, 3), np.uint8) for _ in range(4)]
    seen: dict[bytes, str] = {}

    def ask(chance: random.Random) -> pb.ImageArgs:
        picture = pixels[chance.randrange(len(pixels))]
        height, width, channels = picture.shape
        data = picture.tobytes()
        image = pb.NumpyImage(
            height=height, width=width, channels=channels, data=data, dtype="uint8"
        )
        return pb.ImageArgs(image=image, model="efficientnet_lite0")

    def right(request: pb.ImageArgs, reply: pb.Response) -> bool:
        return seen.setdefault(request.image.data, reply.data) == reply.data

    return ask, right


def kinds() -> list[Kind]:
    """All of them."""
    infers, texts = "ModelInfer", "RunText"
    picture, same_picture = pictures()
    refused = {Code.UNAVAILABLE: REFUSED}
    ended = {Code.INTERNAL: ENDED}
    late = {Code.DEADLINE_EXCEEDED: ""}
    big = zeros(1500, 1500)
    return [
        # Nothing but their children's being killed from outside may harm these.
        *[Kind(f"sum {n}", infers, summed, is_sum) for n in range(3)],
        Kind("picture", "RunImage", picture, same_picture),
        Kind("text", texts, text, is_same_text),
        Kind("row 1", infers, row, is_row, ends=refused),
        Kind("row 2", infers, row, is_row, ends=refused),
        # Beside them, what ends the native code of the same graph.
        Kind("quotient", infers, quotient("fragile"), is_quotient, ends=refused, pause=0.01),
        Kind("component", infers, quotient("probe"), is_quotient, ends=refused, pause=0.01),
        Kind(
            "overflow", infers, lambda _: infer("fragile", a=whole(-(2**63)), b=whole(-1)),
            ends=ended | refused, pause=1.5,
        ),
        Kind(
            "overflow in a component", infers,
            lambda _: infer("probe", a=whole(-(2**63)), b=whole(-1)),
            ends=ended | refused, pause=3,
        ),
        Kind(
            "overflow in a batch", infers,
            lambda _: infer("rows", x=floats(1), a=whole(-(2**63))[None], b=whole(1999)[None]),
            ends=ended | refused, pause=3,
        ),
        Kind(
            "no sequences", infers,
            lambda _: infer("lstm", x=zeros(4, 0, 3)),
            ends=ended | refused, pause=2,
        ),
        Kind(
            "endless", infers,
            lambda _: infer("endless", x=zeros(1, 1, 8, 8), w=zeros(1, 1, 0, 0)),
            ends=late | refused | ended, deadline=5, pause=10,
        ),
        Kind("much memory", infers, expanded(500), is_seven, ends=refused, pause=5),
        Kind(
            "too much memory", infers, expanded(6000),
            ends={Code.RESOURCE_EXHAUSTED: ""} | refused, pause=5,
        ),
        Kind("late", infers, lambda _: infer("slow", x=big), ends=late, deadline=0.05, pause=0.5),
        Kind(
            "leaving", infers, lambda _: infer("slow", x=big), lambda *_: True,
            ends={Code.CANCELLED: ""}, leaves=0.03, pause=0.5,
        ),
        Kind("trap", texts, fault("panic"), ends={Code.INTERNAL: "trapped"}, pause=0.2),
        Kind(
            "no trap", texts, fault("nothing"), lambda _, reply: reply.data == '"done"', pause=0.2
        ),
    ]  # fmt: skip


def models(folder: Path) -> None:
    """The models that are called, and settings."""
    graphs = {
        "calm": "two_inputs", "fragile": "div_int64", "probe": "div_int64", "lstm": "lstm",
        "endless": "conv_dynamic_kernel", "slow": "slow", "expanding": "expand_max",
        "rows": "fragile_rows",
    }  # fmt: skip
    for model, graph in graphs.items():
        (folder / "models" / model).mkdir(parents=True)
        (folder / "models" / model / "model.onnx").symlink_to(GRAPHS / f"{graph}.onnx")
    (folder / "models/rows/model.toml").write_text("batch = true")
    components = {"probe": "nn_probe", "echo": "echo", "trapping": "faults"}
    for model, guest in components.items():
        (folder / "models" / model).mkdir(exist_ok=True)
        (folder / "models" / model / "model.wasm").symlink_to(GUESTS / guest / "model.wasm")
    (folder / "models/efficientnet_lite0").symlink_to(MODELS / "efficientnet_lite0")
    (folder / "tms.toml").write_text(SETTINGS)


@dataclass
class Counts:
    """What became of all calls."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    calls: Counter = field(default_factory=Counter)
    """By kind and end."""
    twice: int = 0
    """Good calls that met the end of their child twice, which kills from outside can do."""
    kills: int = 0
    faults: Counter = field(default_factory=Counter)
    """Answers that are wrong, and calls that are lost, in words."""
    wrong: int = 0
    lost: int = 0

    def note(self, kind: Kind, end: str) -> None:
        """A call that ended as it may."""
        with self.lock:
            self.calls[kind.name, end] += 1

    def fault(self, kind: Kind, what: str, *, wrong: bool) -> None:
        """A call that ended as it may not."""
        with self.lock:
            self.calls[kind.name, "wrong" if wrong else "lost"] += 1
            self.wrong += wrong
            self.lost += not wrong
            self.faults[f"{kind.name}: {what}"] += 1

    def met_twice(self) -> bool:
        """Whether a call may have met a second kill."""
        with self.lock:
            self.twice += 1
            return self.twice <= self.kills


def call(kind: Kind, channel: grpc.Channel, chance: random.Random, counts: Counts) -> None:
    """One call, looked at."""
    request = kind.ask(chance)
    service = servers.SERVICES.get(kind.call, "server.Server")
    reply = ModelInferResponse if kind.call == "ModelInfer" else pb.Response
    method = channel.unary_unary(
        f"/{service}/{kind.call}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=reply.FromString,
    )
    try:
        future = method.future(request, timeout=kind.deadline)
        if kind.leaves is not None:
            time.sleep(kind.leaves)
            future.cancel()
        answer = future.result()
    except grpc.FutureCancelledError:
        return counts.note(kind, "CANCELLED")
    except grpc.RpcError as error:
        code, words = error.code(), error.details() or ""
        if code in kind.ends and kind.ends[code] in words:
            return counts.note(kind, code.name)
        if code is Code.INTERNAL and ENDED in words and counts.met_twice():
            return counts.note(kind, "met a kill twice")
        return counts.fault(kind, f"{code.name}: {words}", wrong=False)
    if kind.right(request, answer):
        return counts.note(kind, "OK")
    return counts.fault(kind, f"a wrong answer: {str(answer)[:200]}", wrong=True)


class Callers:
    """A thread a kind, each with a connection of its own."""

    def __init__(self, address: str, counts: Counts) -> None:
        self.over = threading.Event()
        self.threads = [
            threading.Thread(target=self.run, args=(kind, address, number, counts))
            for number, kind in enumerate(kinds())
        ]
        for thread in self.threads:
            thread.start()

    def run(self, kind: Kind, address: str, seed: int, counts: Counts) -> None:
        """Calls until it is over."""
        chance = random.Random(seed)
        own = [("grpc.use_local_subchannel_pool", 1), *LIMITS]
        with grpc.insecure_channel(address, options=own) as channel:
            while not self.over.wait(kind.pause):
                call(kind, channel, chance, counts)

    def stop(self) -> None:
        """Waits for the last answers."""
        self.over.set()
        for thread in self.threads:
            thread.join()


@dataclass(frozen=True)
class Seen:
    """A server's processes at a moment."""

    processes: int
    memory: int
    """Bytes that no file is behind."""
    files: int
    threads: int
    zombies: frozenset[int]

    @classmethod
    def of(cls, pid: int) -> "Seen":
        """Adds them up; one that ends meanwhile does not count."""
        memory = files = threads = 0
        alive, zombies = [], set()
        for one in set(cpu.processes(pid)):
            try:
                lines = Path(f"/proc/{one}/status").read_text().splitlines()
                status = dict(line.split(":", 1) for line in lines)
                if "Z" in status["State"].split()[0]:
                    zombies.add(one)
                    continue
                memory += sum(int(status[key].split()[0]) << 10 for key in ("RssAnon", "RssShmem"))
                threads += int(status["Threads"])
                alive.append(one)
                files += len(list(Path(f"/proc/{one}/fd").iterdir()))
            except (OSError, KeyError, ValueError):
                pass
        return cls(len(alive), memory, files, threads, frozenset(zombies))


def deaths(port: int) -> int:
    """How many children have ended though they were needed, as the metrics say."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    found = [line for line in lines if line.startswith("tms_native_deaths_total")]
    return int(sum(float(line.rpartition(" ")[2]) for line in found))


def quiet(server: servers.Server) -> Seen:
    """What the server holds when nobody has called for a while: the least of some looks."""
    time.sleep(SILENCE)
    looks = []
    for _ in range(5):
        looks.append(Seen.of(server.pid))
        time.sleep(1)
    return min(looks, key=lambda seen: seen.memory)


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def watch(
    server: servers.Server, metrics: int, counts: Counts, seconds: float, every: float
) -> str:
    """Prints a line, and kills a child, now and then; says what is wrong, if anything."""
    chance = random.Random(0)
    began = time.monotonic()
    line = kill = began
    zombies: frozenset[int] = frozenset()
    while (now := time.monotonic()) < began + seconds:
        time.sleep(min(1.0, began + seconds - now))
        if server.process.poll() is not None:
            return f"the server ended with {server.process.returncode}"
        seen = Seen.of(server.pid)
        # A zombie is gone after a moment.
        if zombies & seen.zombies:
            return f"zombies: {sorted(zombies & seen.zombies)}"
        zombies = seen.zombies
        if now > kill + KILLS:
            kill = now
            children = [one for one in cpu.processes(server.pid) if one != server.pid]
            if children:
                with counts.lock:
                    counts.kills += 1
                try:
                    os.kill(chance.choice(children), signal.SIGKILL)
                except ProcessLookupError:
                    pass
        if now > line + every:
            line = now
            show(began, seen, counts, deaths(metrics))
    return ""


def show(began: float, seen: Seen, counts: Counts, ended: int) -> None:
    """One line."""
    with counts.lock:
        calls = sum(counts.calls.values())
        print(
            f"{(time.monotonic() - began) / 60:6.1f} min  {calls:9} calls  {counts.wrong} wrong"
            f"  {counts.lost} lost  {seen.processes - 1} children  {ended} deaths"
            f"  {seen.memory / 2**20:.0f} MiB  {seen.files} files  {seen.threads} threads",
            flush=True,
        )


def grown(before: Seen, after: Seen) -> list[str]:
    """What has grown more than it may."""
    bounds = {"memory": MORE_MEMORY, "files": MORE_FILES, "threads": MORE_THREADS}
    return [
        f"{what} grew from {getattr(before, what)} to {getattr(after, what)}"
        for what, most in bounds.items()
        if getattr(after, what) > getattr(before, what) + most
    ]


def report(counts: Counts) -> None:
    """How the calls of each kind ended."""
    print("\n| kind | ends |\n| --- | --- |")
    for kind in kinds():
        ends = {end: n for (name, end), n in sorted(counts.calls.items()) if name == kind.name}
        print(f"| {kind.name} | {', '.join(f'{end} {n}' for end, n in ends.items())} |")
    print(f"\n{counts.kills} children killed from outside")
    for line, times in counts.faults.most_common(50):
        print(f"{times} times {line}")


def unused(counts: Counts) -> list[str]:
    """Kinds whose calls did not once end as they are there for: then nothing was tried."""
    found = []
    for kind in kinds():
        ends = {end for name, end in counts.calls if name == kind.name}
        wanted = {code.name for code in kind.ends if code is not Code.UNAVAILABLE} or {"OK"}
        if not ends & wanted:
            found.append(
                f"no call of the kind {kind.name} ended with {' or '.join(sorted(wanted))}"
            )
    return found


def gone(processes: list[int]) -> list[str]:
    """Processes that are still there some seconds after their server."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        left = [one for one in processes if Path(f"/proc/{one}").exists()]
        if not left:
            return []
        time.sleep(0.1)
    return [f"processes that the server left behind: {left}"]


def main() -> None:
    """Starts, calls, watches, judges."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--minutes", type=float, default=60, help="[default: 60]")
    arguments.add_argument("--every", type=float, default=60, help="seconds between lines [60]")
    arguments.add_argument("--warm-up", type=float, default=WARM_UP, help=f"seconds [{WARM_UP}]")
    arguments.add_argument("--process", default="shared", choices=["own", "shared"])
    given = arguments.parse_args()
    # So that the server ends, too, when this is told to.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    counts, metrics, wrong = Counts(), free_port(), []
    with tempfile.TemporaryDirectory(prefix="tms-soak-") as at:
        folder = Path(at)
        models(folder)
        with (folder / "log").open("w") as log:
            server = servers.Server(
                "tms", servers.TMS, "serve", "--models", folder / "models", "--host", "127.0.0.1",
                "--port", "0", "--metrics", f"127.0.0.1:{metrics}", "--config", folder / "tms.toml",
                "--process", given.process, "--cache", folder / "cache", stderr=log,
            )  # fmt: skip
        before = None
        try:
            for seconds in (given.warm_up, given.minutes * 60):
                callers = Callers(server.address, counts)
                try:
                    said = watch(server, metrics, counts, seconds, given.every)
                finally:
                    callers.stop()
                if said:
                    wrong.append(said)
                    break
                after = quiet(server)
                print(f"quiet: {after}", flush=True)
                wrong += grown(before, after) if before else []
                before = after
        finally:
            processes = cpu.processes(server.pid)
            server.stop()
        if not wrong and server.process.returncode:
            wrong.append(f"the server ended with {server.process.returncode}")
        wrong += gone(processes) + unused(counts)
        if wrong or counts.faults:
            print(
                "\nthe end of the log:", *(folder / "log").read_text().splitlines()[-30:], sep="\n"
            )
    report(counts)
    if wrong or counts.faults:
        sys.exit("\n".join(["benches/soak.py: it did not hold:", *wrong]))
    print("it held")


if __name__ == "__main__":
    main()
