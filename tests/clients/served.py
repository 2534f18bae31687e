"""A running server for the tests: the real binary, on a free port, over a folder of models.

The binary is the one named by TMS_BIN, or target/release/tms of this checkout. Where it was not
built the tests are skipped with the reason; with CI set in the environment they fail.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = REPOSITORY / "models"
START_TIMEOUT = 180  # The first start compiles the components.
STOP_TIMEOUT = 30


def need(path: Path) -> Path:
    """The path of something that `make build` makes; skips the test where it is not there."""
    if not path.is_file():
        reason = f"not built, run `make build`: {path}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def binary() -> Path:
    return need(Path(os.environ.get("TMS_BIN", REPOSITORY / "target" / "release" / "tms")))


class Server:
    """`tms serve` over a folder; use it with `with`."""

    def __init__(self, models: Path, *flags: str, host: str = "127.0.0.1") -> None:
        self._log = tempfile.NamedTemporaryFile(prefix="tms-", suffix=".log")
        command = [binary(), "serve", "--models", models, "--port", "0", *flags]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        self.address = f"{host}:{self._ready_port()}"

    def _ready_port(self) -> int:
        lines: queue.Queue[str] = queue.Queue()

        def read() -> None:
            for line in self._process.stdout or ():
                lines.put(line)
            lines.put("")  # The end.

        threading.Thread(target=read, daemon=True).start()
        try:
            ready = re.match(r"ready: grpcs?://\S*?:(\d+)\b", lines.get(timeout=START_TIMEOUT))
        except queue.Empty:
            ready = None
        if not ready:
            self._process.kill()
            pytest.fail(f"the server did not become ready:\n{self.log()}")
        return int(ready[1])

    def log(self) -> str:
        """What the server has logged."""
        return Path(self._log.name).read_text(errors="replace")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = None
        assert code == 0, f"the server ended with {code}:\n{self.log()}"
