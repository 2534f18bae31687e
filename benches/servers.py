"""The servers that are measured, and how they are started."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import IO

import cpu

ROOT = Path(__file__).resolve().parent.parent
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
TMS = BUILT / "tms"
BENCH = BUILT / "tms-bench"
SERVICES = {"ModelInfer": "inference.GRPCInferenceService"}


class Server:
    """A process, and those that it started, that serve until they are stopped."""

    def __init__(
        self, name: str, *arguments: str | Path, stderr: IO[str] | int | None = None
    ) -> None:
        self.name = name
        self.command = [str(argument) for argument in arguments]
        self.process = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        assert self.process.stdout
        ready = self.process.stdout.readline()
        address = re.match(r"ready: grpcs?://([\d.]+:\d+)", ready)
        if not address:
            self.stop()
            sys.exit(f"benches/run.py: {name} did not start: {' '.join(self.command)}")
        self.address = address[1]

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def url(self, call: str) -> str:
        """Where a call is posted to."""
        return f"http://{self.address}/{SERVICES.get(call, 'server.Server')}/{call}"

    def stop(self) -> None:
        """Ends the process."""
        self.process.terminate()
        self.process.wait()


def environment() -> dict[str, str]:
    """The environment, with the ONNX Runtime that `make` fetched, and warnings only."""
    fetched = ROOT / ".onnxruntime"
    known = {"TMS_ONNXRUNTIME": str(fetched)} if fetched.is_dir() else {}
    # As `tms` does for itself: the Python servers, too, report nothing to ONNX Runtime's makers.
    quiet = {"TMS_LOG": "warn", "ORT_DISABLE_TELEMETRY": "1"}
    return quiet | known | dict(os.environ)


def commands(folder: Path) -> dict[str, list[str | Path]]:
    """How each server is started, on a free port; models and weights are in `folder`."""

    def tms(models: str) -> list[str | Path]:
        served = ["--models", folder / models, "--cache", folder / "cache"]
        return [TMS, "serve", "--host", "127.0.0.1", "--port", "0", *served]

    weights = ["--port", "0", "--weights", folder / "models"]
    python = [sys.executable, ROOT / "benches/python_server", *weights]
    return {
        "tms": tms("models"),
        "tms-batching": tms("batching"),
        "echo": [BENCH, "echo"],
        "resize": [BENCH, "echo", "--work", "resize"],
        "classify": [BENCH, "classify"],
        "python": python,
        "python-cores": [*python, "--processes", str(cpu.CORES)],
        "python-pool": [*python, "--processes", str(cpu.CORES), "--threads", "2"],
    }


def start(names: set[str], folder: Path) -> dict[str, Server]:
    """Those servers. An idle one costs the others nothing."""
    known = commands(folder)
    started: dict[str, Server] = {}
    try:
        for name in sorted(names):
            started[name] = Server(name, *known[name])
    except BaseException:
        stop(started)
        raise
    return started


def stop(started: dict[str, Server]) -> None:
    """Ends them."""
    for server in started.values():
        server.stop()


def session(callers: int, seconds: float) -> list[str]:
    """The command that runs the classifier's network alone."""
    return [str(BENCH), "session", "--callers", str(callers), "--seconds", str(seconds)]
