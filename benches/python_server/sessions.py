"""ONNX Runtime sessions, with the settings that all models share."""

from pathlib import Path

import onnxruntime


def session(graph: Path, threads: int) -> onnxruntime.InferenceSession:
    """A graph that runs on so many threads: this process's share of the cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait for work by spinning would take the cores from the other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
