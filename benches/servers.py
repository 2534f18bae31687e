"""Starts the servers that are measured and what they serve, and asks them for an answer."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
TMS = BUILT / "tms"
BENCH = BUILT / "tms-bench"
PICTURE = ROOT / "models/efficientnet_lite0/tests/chelsea.png"
MODELS = [
    *(ROOT / "models" / name for name in ("example_text", "example_image", "efficientnet_lite0")),
    ROOT / "tests/guests/pixels",
]


class Server:
    """A process that serves until it is stopped."""

    def __init__(self, name: str, *arguments: str | Path) -> None:
        self.name = name
        self.command = [str(argument) for argument in arguments]
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        ready = self.process.stdout.readline()
        address = re.match(r"ready: grpc://([\d.]+:\d+)", ready)
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
        return f"http://{self.address}/server.Server/{call}"

    def answer(self, call: str, model: str) -> str:
        """A model's answer, through a real client that checks the status."""
        given = ["--text", "text"] if call == "RunText" else ["--image", str(PICTURE)]
        asked = [str(TMS), "call", "--address", self.address, *given, model]
        done = subprocess.run(asked, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"benches/run.py: {self.name} gives no answer for {model}")
        return done.stdout

    def stop(self) -> None:
        """Ends the process."""
        self.process.terminate()
        self.process.wait()


def environment() -> dict[str, str]:
    """The environment, with the ONNX Runtime that `make` fetched."""
    fetched = ROOT / ".onnxruntime"
    known = {"TMS_ONNXRUNTIME": str(fetched)} if fetched.is_dir() else {}
    return known | dict(os.environ)


def prepare(folder: Path) -> None:
    """Puts the requests and the models that are served into a folder."""
    missing = [path for path in (TMS, BENCH) if not path.exists()]
    if missing:
        sys.exit(f"benches/run.py: run make build first: no {missing[0].name}")
    subprocess.run([TMS, "build", *MODELS], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    subprocess.run([BENCH, "frames", folder / "frames"], check=True, cwd=ROOT)
    for model in MODELS:
        copy = folder / "models" / model.name
        copy.mkdir(parents=True)
        for file in [*model.glob("model.*")]:
            shutil.copy(file, copy)


def start(folder: Path) -> dict[str, Server]:
    """All servers, each on a free port. An idle one costs the others nothing."""
    served = ["--models", folder / "models", "--cache", folder / "cache"]
    return {
        "tms": Server("tms", TMS, "serve", "--host", "127.0.0.1", "--port", "0", *served),
        "echo": Server("echo", BENCH, "echo"),
        "resize": Server("resize", BENCH, "echo", "--work", "resize"),
        "classify": Server("classify", BENCH, "classify"),
    }


def session(callers: int, seconds: float) -> list[str]:
    """The command that runs the classifier's network alone."""
    return [str(BENCH), "session", "--callers", str(callers), "--seconds", str(seconds)]
