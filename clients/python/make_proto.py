"""Writes tiny_model_client/_proto from the .proto files; needs grpcio-tools.

Two kinds of files come out: `protocol.binpb`, the descriptors that the package loads when it is
imported, and one `.pyi` a .proto, for type checkers and editors.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUTPUT = HERE / "tiny_model_client" / "_proto"
SOURCES = (HERE.parents[1] / "proto" / "server.proto", HERE / "health.proto")
DESCRIPTORS = "protocol.binpb"


def compile_descriptors(target: Path) -> None:
    """Compiles SOURCES into one descriptor set."""
    _protoc(f"--descriptor_set_out={target}")


def main() -> None:
    """Writes everything into the package."""
    compile_descriptors(OUTPUT / DESCRIPTORS)
    _protoc(f"--pyi_out={OUTPUT}")
    for source in SOURCES:
        # protoc names its stubs after generated modules (x_pb2); ours are called x.
        (OUTPUT / f"{source.stem}_pb2.pyi").replace(OUTPUT / f"{source.stem}.pyi")


def _protoc(output: str) -> None:
    # Imported here so that the tests can say what is missing instead of failing to load.
    from grpc_tools import protoc

    includes = [f"-I{source.parent}" for source in SOURCES]
    arguments = ["protoc", *includes, output, *(source.name for source in SOURCES)]
    if protoc.main(arguments) != 0:
        sys.exit("protoc failed: see its message above")


if __name__ == "__main__":
    main()
