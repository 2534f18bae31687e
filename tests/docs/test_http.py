"""The calls by curl in the README and in docs/configuration.md: they run, and are answered."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from blocks import blocks
from served import MODELS, Server, need

# The document, the heading, and what is in the answer.
CALLS = [
    ("README.md", "Call it", {"data": '"some text_processed"'}),
    ("docs/configuration.md", "HTTP", None),
]


@pytest.mark.parametrize(("document", "heading", "expected"), CALLS, ids=[c[0] for c in CALLS])
def test_a_call_by_curl(document, heading, expected, tmp_path):
    if not shutil.which("curl"):
        pytest.skip("curl is not there")
    for model in ("example_text", "sentence_embedding"):
        need(MODELS / model / "model.wasm")
        (tmp_path / model).symlink_to(MODELS / model)
    [call] = [b for b in blocks(document, heading) if b.code.startswith("curl ")]
    with Server(tmp_path, "--http", "127.0.0.1:0") as server:
        address = re.search(r"http://(127\.0\.0\.1:\d+)", server.log())
        assert address, server.log()
        code = call.code.replace("localhost:8080", address[1])
        run = subprocess.run(["bash", "-ec", code], check=True, capture_output=True, timeout=60)
    answer = json.loads(run.stdout)
    assert "code" not in answer, answer
    if expected is not None:
        assert answer == expected
