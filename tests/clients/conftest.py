"""Fixtures: one server over the repository's models, a guest and the small graphs of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import grpc
import pytest
import tritonclient.grpc as triton

from served import MODELS, REPOSITORY, Server, need

GRAPHS = REPOSITORY / "tests" / "data" / "graphs"
COMMANDS = REPOSITORY / "tests" / "guests" / "commands"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("models")
    for model in MODELS.iterdir():
        if model.is_dir():
            (folder / model.name).symlink_to(model)
    (folder / COMMANDS.name).symlink_to(COMMANDS)
    # A bare graph each: a folder with one file.
    for graph in GRAPHS.glob("*.onnx"):
        (folder / graph.stem).mkdir()
        (folder / graph.stem / "model.onnx").symlink_to(graph)
    with Server(folder) as server:
        yield server


@pytest.fixture(scope="session")
def pb() -> Iterator[ModuleType]:
    """The messages of server.proto, made as any user can make them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPOSITORY / "proto"))
        yield grpc.protos("server.proto")


@pytest.fixture
def commands() -> str:
    """The name of the model that does what its text says."""
    need(COMMANDS / "model.wasm")
    return COMMANDS.name


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.address) as client:
        yield client
