"""`python -m tiny_model_client`, as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from conftest import Server


def call(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tiny_model_client", "--port", str(server.port), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_text(server: Server) -> None:
    done = call(server, "example_text", "--text", "a", "--args", '{"b": 1}')
    assert (done.returncode, json.loads(done.stdout)) == (0, "a_processed")


def test_image(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "black.png"
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(path)
    done = call(server, "example_image", "--image", str(path))
    assert json.loads(done.stdout) == [["object1", 0.3], ["object2", 0.5]]


def test_errors_are_one_line(server: Server) -> None:
    for arguments in (["no_such_model", "--text", "a"], ["example_image", "--image", "no.png"]):
        done = call(server, *arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.stderr


def test_nothing_to_send(server: Server) -> None:
    assert call(server, "example_text").returncode == 2
