"""Writes tiny_model_client/_proto from the .proto files; needs grpcio-tools.

Two kinds of files come out: `protocol.binpb`, the descriptors that the package loads when it is
imported, and one `.pyi` a .proto, for type checkers and editors.
"""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUTPUT = HERE / "tiny_model_client" / "_proto"
PROTO = HERE.parents[1] / "proto"
SOURCES = (
    PROTO / "server.proto",
    PROTO / "open_inference.proto",
    HERE / "health.proto",
    PROTO / "xds" / "data" / "orca" / "v3" / "orca_load_report.proto",
    HERE / "orca.proto",
)
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
        stub = (OUTPUT / f"{source.stem}_pb2.pyi").replace(OUTPUT / f"{source.stem}.pyi")
        stub.write_text(
            re.sub(r"^import (\w+)_pb2 as", r"from . import \1 as", stub.read_text(), flags=re.M)
        )


def _protoc(output: str) -> None:
    # Imported here so that the tests can say what is missing instead of failing to load.
    from grpc_tools import protoc

    includes = [f"-I{source.parent}" for source in SOURCES]
    arguments = ["protoc", *includes, output, *(source.name for source in SOURCES)]
    if protoc.main(arguments) != 0:
        sys.exit("protoc failed: see its message above")


if __name__ == "__main__":
    main()
