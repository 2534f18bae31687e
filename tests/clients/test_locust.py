"""Locust's users, over our client, against the real server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from served import REPOSITORY, Server, need

LOCUSTFILE = REPOSITORY / "benches" / "locustfile.py"


@pytest.mark.parametrize("scenario", ["text", "image", "mixed", "spike"])
def test_a_scenario(server: Server, scenario: str, tmp_path: Path) -> None:
    for model in ("example_text", "example_image"):
        need(REPOSITORY / "models" / model / "model.wasm")
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless"]
    command += ["--host", server.address, "--csv", str(tmp_path / "load")]
    if scenario != "spike":
        command += ["--users", "2", "--spawn-rate", "2", "--run-time", "2s"]
    of_scenario = {"SCENARIO": scenario, "USERS": "1", "SECONDS_OF_A_PART": "1"}
    run = subprocess.run(
        command, env={**os.environ, **of_scenario}, capture_output=True, text=True, timeout=120
    )
    # It is not 0 where a call failed.
    assert run.returncode == 0, run.stderr
    names = {line.split(",")[1] for line in (tmp_path / "load_stats.csv").read_text().splitlines()}
    called = {
        "text": {"example_text"},
        "image": {"example_image"},
    }.get(scenario, {"example_text", "example_image"})
    assert called <= names, run.stderr
