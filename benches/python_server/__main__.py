"""Starts the Python server: processes on one port, as the original Tiny Model Server has it.

The kernel hands each connection to one of the processes (SO_REUSEPORT), which serves it from then
on. Every process has a gRPC server with a thread pool, and all models.
"""

import argparse
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> None:
    """Starts the processes, says when all are ready, and waits."""
    cores = len(os.sched_getaffinity(0))
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--port", type=int, default=50000, help="0 takes a free one")
    arguments.add_argument(
        "--processes", type=int, default=max(1, cores // 2), help="[default: cores / 2]"
    )
    arguments.add_argument("--threads", type=int, default=1, help="of each pool [default: 1]")
    arguments.add_argument(
        "--weights", type=Path, default=REPOSITORY / "models", help="a folder with one a model"
    )
    given = arguments.parse_args()
    # All processes together run on as many threads of ONNX Runtime as there are cores.
    inference = max(1, cores // given.processes)
    signal.signal(signal.SIGTERM, leave)
    ready = multiprocessing.Barrier(given.processes + 1)
    stop = multiprocessing.Event()
    with reserved(given.port) as port, tempfile.TemporaryDirectory() as stubs:
        generate(Path(stubs))
        sys.path.insert(0, stubs)
        address = f"127.0.0.1:{port}"
        workers = [
            multiprocessing.Process(
                target=serve, args=(address, given, inference, ready, stop), daemon=True
            )
            for _ in range(given.processes)
        ]
        for worker in workers:
            worker.start()
        ready.wait()
        print(f"ready: grpc://{address}", flush=True)
        for worker in workers:
            worker.join()


def leave(*_: object) -> None:
    """Ends the program the usual way, so that the processes are ended too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def serve(
    address: str, given: argparse.Namespace, inference: int, ready: Barrier, stop: Event
) -> None:
    """One process, until it is told to stop."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Not before the fork: gRPC and ONNX Runtime have threads, which do not survive it.
    import service

    models = service.load(given.weights, inference)
    server = service.start(address, models, given.processes, given.threads, stop)
    ready.wait()
    stop.wait()
    server.stop(grace=1).wait()


@contextmanager
def reserved(port: int) -> Iterator[int]:
    """A port that only sockets with SO_REUSEPORT of this user can share, before they do."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", port))
        yield holder.getsockname()[1]


def generate(folder: Path) -> None:
    """The protocol's Python code, with the generator that everybody uses."""
    from grpc_tools import protoc

    proto = REPOSITORY / "proto"
    options = [f"-I{proto}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    if protoc.main(["protoc", *options, str(proto / "server.proto")]) != 0:
        sys.exit("python_server: protoc failed: see its message above")


if __name__ == "__main__":
    main()
