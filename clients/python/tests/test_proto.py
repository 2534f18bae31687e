"""The committed descriptors and type stubs are those of the .proto files."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

import make_proto
from tiny_model_client._proto import METHODS


@pytest.fixture
def fresh(tmp_path: Path) -> FileDescriptorSet:
    pytest.importorskip("grpc_tools")
    target = tmp_path / "fresh.binpb"
    make_proto.compile_descriptors(target)
    return FileDescriptorSet.FromString(target.read_bytes())


def test_descriptors_are_up_to_date(fresh: FileDescriptorSet) -> None:
    committed = (make_proto.OUTPUT / make_proto.DESCRIPTORS).read_bytes()
    assert FileDescriptorSet.FromString(committed) == fresh, "run make_proto.py"


def test_stubs_are_up_to_date(fresh: FileDescriptorSet) -> None:
    # The wording differs between releases of protoc, the classes and fields do not.
    for file in fresh.file:
        stub = (make_proto.OUTPUT / file.name).with_suffix(".pyi")
        classes = {
            node.name: [
                field.target.id
                for field in node.body
                if isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and not field.target.id.isupper()
            ]
            for node in ast.parse(stub.read_text()).body
            if isinstance(node, ast.ClassDef)
        }
        messages = {
            message.name: [field.name for field in message.field] for message in file.message_type
        }
        assert classes == messages, "run make_proto.py"


def test_methods_have_names_of_their_own() -> None:
    committed = (make_proto.OUTPUT / make_proto.DESCRIPTORS).read_bytes()
    files = FileDescriptorSet.FromString(committed).file
    services = [service for file in files for service in file.service]
    names = [method.name for service in services for method in service.method]
    assert sorted(names) == sorted(METHODS)
