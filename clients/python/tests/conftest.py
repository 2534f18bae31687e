"""Fixtures: the real server on a free port, and a scripted one for what the real one never does.

The real server is the binary named by TMS_BIN, or target/release/tms of this checkout, and serves
the checkout's models. Where it has not been built the tests that need it are skipped with the
reason; with CI set in the environment they fail.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Callable

import pytest

from inloop import InLoop
from scripted import ScriptedServer
from tiny_model_client import ModelClient, Sequence
from tiny_model_client._proto import server as pb

REPOSITORY = Path(__file__).resolve().parents[3]
MODELS = REPOSITORY / "models"
GUESTS = REPOSITORY / "tests" / "guests"
GRAPHS = REPOSITORY / "tests" / "data" / "graphs"
NEEDED_MODELS = ("example_image", "example_text")
START_TIMEOUT = 120  # The first start compiles the components.
STOP_TIMEOUT = 30


class Server:
    """A running `tms serve`."""

    def __init__(
        self, binary: Path, port: int, workers: int, *arguments: str, models: Path = MODELS
    ) -> None:
        self._log = tempfile.NamedTemporaryFile(prefix="tms-", suffix=".log")
        where = ["--port", str(port), "--workers", str(workers)]
        self.process = subprocess.Popen(
            [binary, "serve", "--models", models, *where, *arguments],
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        try:
            self.port = self._read_port()
        except BaseException:
            self.process.kill()
            raise

    def _read_port(self) -> int:
        assert self.process.stdout is not None
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_forward, args=(self.process.stdout, lines), daemon=True).start()
        while True:
            try:
                line = lines.get(timeout=START_TIMEOUT)
            except queue.Empty:
                line = None
            if line is None:
                pytest.fail(f"the server did not become ready:\n{self.log()}")
            if match := re.search(r"ready.*:(\d+)\b", line):
                return int(match[1])

    def log(self) -> str:
        """What the server has logged."""
        return Path(self._log.name).read_text(errors="replace")

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """The exit status; the server is killed when it takes too long to end."""
        try:
            return self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"the server did not end:\n{self.log()}")


def turn(client: ModelClient, sequence: Sequence | None = None) -> int:
    """The pid of the worker whose turn it is."""
    route = client._route("GetPID", None, sequence)
    route.next()
    route.release()
    return route.worker.pid


def _forward(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    """Reads to the end, so that the server never blocks on a full pipe."""
    for line in stream:
        lines.put(line)
    lines.put(None)


@pytest.fixture(scope="session")
def binary() -> Path:
    """The server's binary."""
    path = Path(os.environ.get("TMS_BIN", REPOSITORY / "target" / "release" / "tms"))
    need(path, *(MODELS / model / "model.wasm" for model in NEEDED_MODELS))
    return path


def need(*files: Path) -> None:
    """Skips a test whose files have not been built, or fails it in CI."""
    missing = [os.path.relpath(file, REPOSITORY) for file in files if not file.is_file()]
    if missing:
        reason = f"not built, run `make build`: {', '.join(missing)}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def server(binary: Path) -> Iterator[Server]:
    """A server with two workers, shared by the tests that leave it running."""
    server = Server(binary, port=0, workers=2)
    yield server
    assert server.stop() == 0, server.log()


@pytest.fixture(scope="session")
def tensor_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that take named tensors: the repository's, and those of its own tests."""
    folder: Path = tmp_path_factory.mktemp("models")
    for model in ("digits_forest", "digits_mlp", "sentence_embedding", "silero_vad"):
        need(MODELS / model / "model.onnx")
        (folder / model).symlink_to(MODELS / model)
    for guest in ("commands", "echo", "tensor_sum"):
        need(GUESTS / guest / "model.wasm")
        (folder / guest).symlink_to(GUESTS / guest)
    # A bare graph each: a folder with one file.
    for graph in ("identity_bf16", "scalar", "two_inputs"):
        (folder / graph).mkdir()
        (folder / graph / "model.onnx").symlink_to(GRAPHS / f"{graph}.onnx")
    return folder


@pytest.fixture(scope="session")
def tensor_server(binary: Path, tensor_models: Path) -> Iterator[Server]:
    """A server of those models with two workers, shared like `server`."""
    server = Server(binary, port=0, workers=2, models=tensor_models)
    yield server
    assert server.stop() == 0, server.log()


@pytest.fixture
def start_server(binary: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers of a test's own: `start_server(port=0, workers=2)`, and more arguments."""
    started: list[Server] = []

    def start(*arguments: str, port: int = 0, workers: int = 2, models: Path = MODELS) -> Server:
        started.append(Server(binary, port, workers, *arguments, models=models))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture
def start_scripted() -> Iterator[Callable[..., ScriptedServer]]:
    """Starts scripted servers that answer texts: `start_scripted(host=..., port=..., pid=...)`."""
    started: list[ScriptedServer] = []

    def start(**options: Any) -> ScriptedServer:
        started.append(ScriptedServer(**options))
        started[-1].replies["RunText"] = pb.Response(data="1")
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(params=["blocking", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Makes clients of both kinds, for tests of what they share: `connect(ip, port, ...)`."""
    clients: list[Any] = []

    def make(*arguments: Any, model: str = "example_text", **options: Any) -> Any:
        kind = ModelClient if request.param == "blocking" else InLoop
        clients.append(kind(model, *arguments, **{"timeout": 10, **options}))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def wait_for(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Waits until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it has not come to that"
        time.sleep(0.01)


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    """A server that answers what a test tells it to."""
    server = ScriptedServer()
    yield server
    server.stop()
