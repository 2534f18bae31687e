"""Makes the graph of the group `mlp`: a multi-layer perceptron with weights by chance.

What it computes means nothing; what it costs is what one of this size costs. One row reads all
weights for a multiplication each, so that memory sets the pace; rows together read them once.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

# benches/src/frames.rs sends rows of the first.
SIZES = [512, 1024, 1024, 16]


def write(file: Path) -> None:
    """`input` f32 [rows, 512] to `output` f32 [rows, 16], with ReLU between the layers."""
    chance = np.random.default_rng(0)
    nodes, weights, last = [], [], "input"
    for number, (inputs, outputs) in enumerate(pairwise(SIZES)):
        # So that the values neither vanish nor explode.
        values = chance.standard_normal((inputs, outputs)) * np.sqrt(2 / inputs)
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"weights{number}"))
        weights.append(numpy_helper.from_array(np.zeros(outputs, np.float32), f"bias{number}"))
        given = [last, f"weights{number}", f"bias{number}"]
        if number == len(SIZES) - 2:
            nodes.append(helper.make_node("Gemm", given, ["output"]))
        else:
            last = f"hidden{number}"
            nodes.append(helper.make_node("Gemm", given, [f"sum{number}"]))
            nodes.append(helper.make_node("Relu", [f"sum{number}"], [last]))
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", size])
        for name, size in (("input", SIZES[0]), ("output", SIZES[-1]))
    ]
    graph = helper.make_graph(nodes, "mlp", ends[:1], ends[1:], weights)
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString())
