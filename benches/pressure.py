"""Good calls beside callers who want all of the server's memory, for long, watched from outside.

First the good calls alone, then beside readers who take nothing of a large reply, messages of
48 MiB, uploads that are broken off or stall, models that grow, and connections that say nothing.
It fails where the server's own memory (RssAnon and RssShmem) reaches `--memory`, where a good call
fails, where their p99 is more than twice what it is alone, where nobody was refused (then nothing
was tried), and where memory stays.

The good callers are a process of their own, and the bad ones give way to it and to the server.
Alone they are beside processes that only compute and give way just so, one a core: what is
measured is the server, not how this machine's cores are shared.
"""

import argparse
import json
import multiprocessing
import os
import random
import re
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from urllib.request import urlopen

import grpc
from tiny_model_client._proto import server as pb

import servers
from soak import GUESTS, MODELS, free_port

MEMORY = 768 << 20
# Bytes of a large message's image, and of a large reply.
LARGE, REPLY = 48 << 20, 24 << 20
LIMITS = [(f"grpc.max_{way}_message_length", 256 << 20) for way in ("send", "receive")]
SETTINGS = """
reply_timeout = "5s"
message_timeout = "5s"
[model.faults.limits]
max_failures = 1000000
"""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS_FRAME = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4
INITIAL_WINDOW_SIZE = 4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header(name: str, value: str) -> bytes:
    """A header as HPACK's literal, not indexed, with short strings (RFC 7541, section 6.2.2)."""
    texts = (name.encode(), value.encode())
    return b"\0" + b"".join(bytes([len(text)]) + text for text in texts)


def headers(call: str) -> bytes:
    """Those of a gRPC call."""
    fields = {
        ":method": "POST", ":scheme": "http", ":path": f"/server.Server/{call}",
        ":authority": "localhost", "content-type": "application/grpc", "te": "trailers",
    }  # fmt: skip
    return b"".join(header(name, value) for name, value in fields.items())


def message(request: pb.TextArgs | pb.ImageArgs) -> bytes:
    """A request behind gRPC's prefix."""
    encoded = request.SerializeToString()
    return struct.pack(">BI", 0, len(encoded)) + encoded


class Raw:
    """A connection without a client library. `window` is what the server may send on a stream."""

    def __init__(self, address: str, window: int = 0) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=30)
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, window)
        self.socket.sendall(PREFACE + frame(SETTINGS_FRAME, 0, 0, settings))

    def call(self, stream: int, call: str, data: bytes, *, ends: bool) -> None:
        """Begins a call with data that fits one frame."""
        flags = END_STREAM if ends else 0
        self.socket.sendall(
            frame(HEADERS, END_HEADERS, stream, headers(call)) + frame(DATA, flags, stream, data)
        )

    def close(self) -> None:
        self.socket.close()


def fault(what: str, **more: int) -> pb.TextArgs:
    """A call of the guest that misbehaves."""
    return pb.TextArgs(text="", model="faults", args=json.dumps({"do": what, **more}))


def picture(data: bytes, width: int) -> pb.ImageArgs:
    """Grey pixels."""
    height = len(data) // width
    image = pb.NumpyImage(height=height, width=width, channels=1, data=data, dtype="uint8")
    return pb.ImageArgs(image=image, model="example_image")


@dataclass
class Seen:
    """What callers have seen."""

    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    times: dict[str, list[float]] = field(default_factory=lambda: {"text": [], "picture": []})
    failed: list[str] = field(default_factory=list)


class Work:
    """What the callers of one process do, on threads, until it is over."""

    def __init__(self, address: str, over: Event) -> None:
        self.address = address
        self.over = over
        self.seen = Seen()
        self.threads: list[threading.Thread] = []

    def start(self, count: int, run: Callable[[random.Random], None]) -> None:
        """Threads that do something again and again."""
        for number in range(count):
            chance = random.Random(number)
            thread = threading.Thread(target=self.again, args=(run, chance), daemon=True)
            self.threads.append(thread)
            thread.start()

    def again(self, run: Callable[[random.Random], None], chance: random.Random) -> None:
        while not self.over.is_set():
            try:
                run(chance)
            except OSError as error:
                # A connection that the server has closed.
                self.seen.ends[run.__name__, type(error).__name__] += 1

    def ended(self) -> Seen:
        """Waits until it is over."""
        self.over.wait()
        for thread in self.threads:
            thread.join(60)
        return self.seen

    def ask(self, channel: grpc.Channel, call: str, request: pb.TextArgs | pb.ImageArgs) -> str:
        """One call; its data."""
        method = channel.unary_unary(
            f"/server.Server/{call}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=pb.Response.FromString,
        )
        return method(request, timeout=60).data

    def good(self) -> None:
        """Callers whose calls must not fail."""
        channels = [
            grpc.insecure_channel(
                self.address, options=[("grpc.use_local_subchannel_pool", 1), *LIMITS]
            )
            for _ in range(3)
        ]
        pixels = bytes(range(256)) * 300

        def text(channel: grpc.Channel) -> None:
            self.timed("text", channel, "RunText", pb.TextArgs(text="hi", model="example_text"))

        def small_picture(channel: grpc.Channel) -> None:
            self.timed("picture", channel, "RunImage", picture(pixels, 256))

        for channel in channels:
            self.start(1, lambda _, channel=channel: text(channel))
        self.start(1, lambda _: small_picture(channels[0]))

    def timed(
        self, name: str, channel: grpc.Channel, call: str, request: pb.TextArgs | pb.ImageArgs
    ) -> None:
        began = time.perf_counter()
        try:
            self.ask(channel, call, request)
        except grpc.RpcError as error:
            self.seen.failed.append(f"{name}: {error.code().name}: {error.details()}")
        self.seen.times[name].append(time.perf_counter() - began)
        time.sleep(0.002)

    def bad(self) -> None:
        """Callers who want all the memory there is."""
        pixels = bytes(LARGE)

        def large_messages(_: random.Random) -> None:
            with grpc.insecure_channel(self.address, options=LIMITS) as channel:
                self.noted("large message", channel, "RunImage", picture(pixels, 1 << 12))

        def greedy(_: random.Random) -> None:
            with grpc.insecure_channel(self.address, options=LIMITS) as channel:
                self.noted("greedy", channel, "RunText", fault("reply", bytes=REPLY))

        def readers(chance: random.Random) -> None:
            raw = Raw(self.address)
            for stream in range(1, 9, 2):
                raw.call(stream, "RunText", message(fault("reply", bytes=REPLY)), ends=True)
            self.seen.ends["reader who takes nothing", "left"] += 1
            self.over.wait(chance.uniform(1, 20))
            raw.close()

        def uploads(chance: random.Random) -> None:
            raw = Raw(self.address, 1 << 20)
            whole = struct.pack(">BI", 0, LARGE) + b"\0" * 16000
            for stream in range(1, 17, 2):
                raw.call(stream, "RunImage", whole, ends=False)
            self.seen.ends["upload", "broken off"] += 1
            self.over.wait(chance.choice([0.01, 0.5, 10]))
            raw.close()

        def silent(_: random.Random) -> None:
            host, _, port = self.address.rpartition(":")
            sockets = [socket.create_connection((host, int(port))) for _ in range(100)]
            self.seen.ends["silent connection", "left"] += len(sockets)
            self.over.wait(5)
            for one in sockets:
                one.close()

        self.start(4, large_messages)
        self.start(6, greedy)
        self.start(6, readers)
        self.start(4, uploads)
        self.start(1, silent)

    def noted(
        self, name: str, channel: grpc.Channel, call: str, request: pb.TextArgs | pb.ImageArgs
    ) -> None:
        try:
            self.ask(channel, call, request)
            self.seen.ends[name, "OK"] += 1
        except grpc.RpcError as error:
            self.seen.ends[name, error.code().name] += 1


def good_callers(address: str, over: Event, seen: "Queue[Seen]") -> None:
    """A process of callers whose calls must not fail."""
    work = Work(address, over)
    work.good()
    seen.put(work.ended())


def give_way() -> None:
    """Leaves the cores to every process that wants one: as if this were another machine."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def nobody(_: str, over: Event, seen: "Queue[Seen]") -> None:
    """A process that computes, and no caller."""
    give_way()
    while not over.is_set():
        sum(range(100_000))
    seen.put(Seen())


def bad_callers(address: str, over: Event, seen: "Queue[Seen]") -> None:
    """A process of callers who want all the memory there is, and no core that others want."""
    give_way()
    work = Work(address, over)
    work.bad()
    seen.put(work.ended())


def memory(pid: int) -> int:
    """The server's own, in bytes, without the pages of files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return sum(int(status[key].split()[0]) << 10 for key in ("RssAnon", "RssShmem"))


def accounts(metrics: str) -> str:
    """What the server says that it uses, in MiB."""
    text = urlopen(f"http://{metrics}/metrics").read().decode()
    used = re.findall(r'tms_memory_bytes\{account="(\w+)"\} (\d+)', text)
    return ", ".join(f"{name} {int(size) >> 20}" for name, size in used if int(size) >> 20)


def p99(times: list[float]) -> float:
    """In milliseconds."""
    return sorted(times)[int(len(times) * 0.99)] * 1000 if times else float("nan")


def phase(
    server: servers.Server, metrics: str, seconds: float, *, pressed: bool
) -> tuple[list[Seen], int]:
    """What the callers saw, and the most memory that was seen."""
    context = multiprocessing.get_context("spawn")
    over, results = context.Event(), context.Queue()
    others = [bad_callers] if pressed else [nobody] * (os.cpu_count() or 1)
    kinds = [good_callers, *others]
    callers = [
        context.Process(target=kind, args=(server.address, over, results), daemon=True)
        for kind in kinds
    ]
    for process in callers:
        process.start()
    most, lately, what = 0, 0, ""
    end, line = time.monotonic() + seconds, time.monotonic()
    while time.monotonic() < end and server.process.poll() is None:
        now = memory(server.pid)
        if now > lately + (8 << 20):
            lately, what = now, accounts(metrics)
        most = max(most, now)
        time.sleep(0.01)
        if time.monotonic() > line + 30:
            line = time.monotonic()
            left = (end - line) / 60
            print(f"{left:6.1f} min left, lately at most {lately >> 20} MiB: {what}", flush=True)
            lately = 0
    over.set()
    seen = [results.get(timeout=120) for _ in callers]
    for process in callers:
        process.join()
    return seen, most


def main() -> None:
    """Starts, calls, watches, judges."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--minutes", type=float, default=60, help="[default: 60]")
    arguments.add_argument("--alone", type=float, default=30, help="seconds [default: 30]")
    given = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    wrong = []
    with tempfile.TemporaryDirectory(prefix="tms-pressure-") as at:
        folder = Path(at)
        (folder / "models/faults").mkdir(parents=True)
        (folder / "models/faults/model.wasm").symlink_to(GUESTS / "faults/model.wasm")
        for model in ("example_text", "example_image"):
            (folder / "models" / model).symlink_to(MODELS / model)
        (folder / "tms.toml").write_text(SETTINGS)
        metrics = f"127.0.0.1:{free_port()}"
        with (folder / "log").open("w") as log:
            server = servers.Server(
                "tms", servers.TMS, "serve", "--models", folder / "models", "--host", "127.0.0.1",
                "--port", "0", "--metrics", metrics, "--memory", str(MEMORY),
                "--config", folder / "tms.toml", "--cache", folder / "cache", stderr=log,
            )  # fmt: skip
        try:
            alone, before = phase(server, metrics, given.alone, pressed=False)
            seen, most = phase(server, metrics, given.minutes * 60, pressed=True)
            # Instances that nobody needs are looked for every half minute.
            time.sleep(65)
            after = memory(server.pid)
        finally:
            server.stop()
        mebibytes = [size >> 20 for size in (before, most, MEMORY, after)]
        print("memory: {} MiB alone, at most {} of {}, {} after".format(*mebibytes))
        for name in ("text", "picture"):
            times = [took for one in alone for took in one.times[name]]
            pressed = [took for one in seen for took in one.times[name]]
            once, now = p99(times), p99(pressed)
            print(f"{name}: {len(pressed)} calls, p99 {once:.1f} ms alone, {now:.1f} ms pressed")
            if now > 2 * once:
                wrong.append(f"{name}: p99 is {now / once:.1f} times what it is alone")
        ends = sum((one.ends for one in seen), Counter())
        for (name, end), times in sorted(ends.items()):
            print(f"{name}: {end} {times}")
        if most >= MEMORY:
            wrong.append(f"memory reached {most >> 20} MiB")
        if after > before + (64 << 20):
            wrong.append(f"memory stays: {after >> 20} MiB after {before >> 20}")
        if not any(end == "RESOURCE_EXHAUSTED" for _, end in ends):
            wrong.append("nobody was refused: nothing was tried")
        failed = Counter(what for one in (*alone, *seen) for what in one.failed)
        wrong += [f"{times} good calls failed: {what}" for what, times in failed.most_common(5)]
    if wrong:
        sys.exit("\n".join(["benches/pressure.py: it did not hold:", *wrong]))
    print("it held")


if __name__ == "__main__":
    main()
