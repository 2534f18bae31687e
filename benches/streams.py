"""Parts of results, sequences, a guest's loop over a graph, load reports and TLS: what each costs.

Prints its own command, the machine, each round's figures and their medians. It needs what
`make build` makes, the guests of tests/, and openssl.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import grpc
from tiny_model_client._proto import server as wire

import machine
from cpu import CORES, time_of
from servers import ROOT, TMS, Server

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
STEPS = 1000


def text(command: str, **more: object) -> bytes:
    """A text for the guest `commands`."""
    args = wire.TextArgs(text=command, model="commands", **more)
    return args.SerializeToString()


def steps(count: int, model: str) -> bytes:
    """A tensor for a guest that runs a graph on it `count` times, output to input."""
    tensor = wire.NamedTensor(name="x", datatype="FP32", shape=[1, 1], data=b"\0" * 4)
    tensors = wire.Tensors(tensors=[tensor])
    args = f'{{"graph": "model", "through": "graphs", "runs": {count}}}'
    return wire.RunArgs(tensors=tensors, model=model, args=args).SerializeToString()


class Caller:
    """One connection, with messages that are bytes: nothing is made of them here."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.run_text = channel.unary_unary("/server.Server/RunText")
        self.run_image = channel.unary_unary("/server.Server/RunImage")
        stream = channel.unary_stream("/server.Server/RunStream")
        self.run_stream = lambda message: sum(1 for _ in stream(message))


def timed(server: Server, count: int, work: Callable[[], object]) -> tuple[float, float]:
    """Microseconds by the clock and of the server's CPU, for each of `count` things done."""
    before, began = time_of(server.pid), time.perf_counter()
    work()
    took, used = time.perf_counter() - began, time_of(server.pid) - before
    return took / count * 1e6, used / count * 1e6


def certificate(folder: Path) -> None:
    """A certificate of its own authority, and its key: ECDSA P-256."""
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    make += ["-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext"]
    make += ["subjectAltName=DNS:localhost", "-keyout", str(folder / "key.pem")]
    subprocess.run([*make, "-out", str(folder / "cert.pem")], check=True, capture_output=True)


def measure(plain: Server, tls: Server, silent: Server, authority: bytes) -> dict[str, float]:
    """One round."""
    named = (("grpc.ssl_target_name_override", "localhost"), *UNLIMITED)
    credentials = grpc.ssl_channel_credentials(authority)
    with (
        grpc.insecure_channel(plain.address, UNLIMITED) as open_channel,
        grpc.secure_channel(tls.address, credentials, named) as closed_channel,
        grpc.insecure_channel(silent.address, UNLIMITED) as silent_channel,
    ):
        caller, secret = Caller(open_channel), Caller(closed_channel)
        silent_caller = Caller(silent_channel)
        found = {}
        for one in (caller, secret, silent_caller):
            one.run_text(text("upper:a"))
        emit = wire.RunArgs(text=f"emit:{STEPS}", model="commands").SerializeToString()
        wall, used = timed(plain, STEPS, lambda: caller.run_stream(emit))
        found |= {"a part, by the clock (µs)": wall, "a part, the server's CPU (µs)": used}
        plainly, in_order = text("upper:a"), text("upper:a", sequence=wire.Sequence(id="a"))
        caller.run_text(text("upper:a", sequence=wire.Sequence(id="a", start=True)))
        for name, message in (("a plain call", plainly), ("a call of a sequence", in_order)):
            wall, used = timed(plain, STEPS, lambda m=message: repeat(caller.run_text, m, STEPS))
            found |= {f"{name}, by the clock (µs)": wall, f"{name}, CPU (µs)": used}
        wall, used = timed(silent, STEPS, lambda: repeat(silent_caller.run_text, plainly, STEPS))
        found["a plain call without load reports, CPU (µs)"] = used
        for model, where in (("inside", 'process = "none"'), ("probe", "in a child")):
            short, long = steps(1, model), steps(STEPS + 1, model)
            once, _ = timed(plain, 1, lambda m=short: caller.run_stream(m))
            all_of_them, _ = timed(plain, 1, lambda m=long: caller.run_stream(m))
            found[f"a step over a graph, {where} (µs)"] = (all_of_them - once) / STEPS
        pixels = b"\0" * (1080 * 1920 * 3)
        image = wire.NumpyImage(height=1080, width=1920, channels=3, data=pixels, dtype="uint8")
        large = wire.ImageArgs(image=image, model="example_image").SerializeToString()
        for name, server, one in (("plain", plain, caller), ("TLS", tls, secret)):
            one.run_image(large)
            wall, used = timed(server, 50, lambda o=one: repeat(o.run_image, large, 50))
            found |= {f"1080p, {name} (µs)": wall, f"1080p, {name}, CPU (µs)": used}
    found["1080p, rate with TLS / without"] = found["1080p, plain (µs)"] / found["1080p, TLS (µs)"]
    found["CPU with load reports / without"] = (
        found["a plain call, CPU (µs)"] / found["a plain call without load reports, CPU (µs)"]
    )
    found["a sequence's call / a plain one"] = (
        found["a call of a sequence, by the clock (µs)"] / found["a plain call, by the clock (µs)"]
    )
    host, port = tls.address.split(":")
    hands = ["openssl", "s_client", "-connect", f"{host}:{port}", "-alpn", "h2"]

    def shake() -> None:
        for _ in range(50):
            subprocess.run(hands, check=True, stdin=subprocess.DEVNULL, capture_output=True)

    _, used = timed(tls, 50, shake)
    found["a handshake, the server's CPU (µs)"] = used
    return found


def repeat(call: Callable[[bytes], object], message: bytes, count: int) -> None:
    """Calls `count` times, one after the other."""
    for _ in range(count):
        call(message)


def main() -> None:
    """Measures, and prints."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    print("benches/streams.py", *sys.argv[1:])
    print(f"{machine.cpu()}, {CORES} cores")
    with tempfile.TemporaryDirectory(prefix="tms-streams-") as folder:
        models = Path(folder, "models")
        models.mkdir()
        (models / "commands").symlink_to(ROOT / "tests/guests/commands")
        (models / "example_image").symlink_to(ROOT / "models/example_image")
        for name in ("probe", "inside"):
            (models / name).mkdir()
            (models / name / "model.wasm").symlink_to(ROOT / "tests/guests/nn_probe/model.wasm")
            (models / name / "model.onnx").symlink_to(ROOT / "tests/data/graphs/identity_fp32.onnx")
        Path(folder, "tms.toml").write_text('[model.inside]\nprocess = "none"\n')
        certificate(Path(folder))
        serve = [TMS, "serve", "--models", models, "--cache", Path(folder, "cache")]
        serve += ["--config", Path(folder, "tms.toml"), "--host", "127.0.0.1", "--port", "0"]
        keys = ["--tls-cert", Path(folder, "cert.pem"), "--tls-key", Path(folder, "key.pem")]
        servers = [
            Server("tms", *serve),
            Server("tms", *serve, *keys),
            Server("tms", *serve, "--load-reports", "false"),
        ]
        try:
            authority = Path(folder, "cert.pem").read_bytes()
            rounds = [measure(*servers, authority) for _ in range(given.rounds)]
        finally:
            for server in servers:
                server.stop()
    for name in rounds[0]:
        figures = [one[name] for one in rounds]
        print(f"{name:44}", *(f"{figure:9.2f}" for figure in figures), end="")
        print(f"   median {statistics.median(figures):.2f}")


if __name__ == "__main__":
    main()
