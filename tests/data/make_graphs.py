"""Writes the tiny graphs that the tests of native inference load, into graphs/ beside this file.

    python3 -m venv venv && venv/bin/pip install onnx onnxruntime==1.31.1 sympy
    venv/bin/python tests/data/make_graphs.py
"""

import math
import struct
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

FOLDER = Path(__file__).parent / "graphs"

# Our names of the element types, and ONNX's.
DTYPES = {
    "bool": T.BOOL, "u8": T.UINT8, "u16": T.UINT16, "u32": T.UINT32, "u64": T.UINT64,
    "i8": T.INT8, "i16": T.INT16, "i32": T.INT32, "i64": T.INT64,
    "fp16": T.FLOAT16, "bf16": T.BFLOAT16, "fp32": T.FLOAT, "fp64": T.DOUBLE, "bytes": T.STRING,
}


def tensor(name, dtype=T.FLOAT, shape=("rows", "columns")):
    return h.make_tensor_value_info(name, dtype, shape)


def save(name, nodes, inputs, outputs, defaults=(), opset=17, ir=8, check=True):
    graph = h.make_graph(nodes, name, inputs, outputs, list(defaults))
    opsets = [h.make_opsetid("", opset), h.make_opsetid("ai.onnx.ml", 3)]
    if any(node.domain == "com.microsoft" for node in nodes):
        opsets.append(h.make_opsetid("com.microsoft", 1))
    model = h.make_model(graph, opset_imports=opsets, ir_version=ir, producer_name="make_graphs.py")
    if check:
        onnx.checker.check_model(model)
    (FOLDER / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))


def save_quantised(name, form):
    """Two convolutions that share a weight, quantised by ONNX Runtime's own tools. Ones of all inputs and
    weights fill 16 bits many times over."""

    class Ones(CalibrationDataReader):
        left = 2

        def get_next(self):
            self.left -= 1
            return {"x": np.full((1, 4, 5, 5), self.left, np.float32)} if self.left >= 0 else None

    weight = np.ones((4, 4, 3, 3), np.float32)
    weight[0, 0, 0, 0] = 0.5
    nodes = [h.make_node("Conv", ["x", "w"], ["c"], name="first", pads=[1] * 4),
             h.make_node("Conv", ["c", "w"], ["y"], name="second", pads=[1] * 4)]
    shape = (1, 4, 5, 5)
    graph = h.make_graph(nodes, name, [tensor("x", shape=shape)], [tensor("y", shape=shape)],
                         [numpy_helper.from_array(weight, "w")])
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        onnx.save(model, plain)
        quantize_static(plain, FOLDER / f"{name}.onnx", Ones(), quant_format=form,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)


def main():
    FOLDER.mkdir(exist_ok=True)
    node = h.make_node

    # What goes in comes out, for each type.
    for name, dtype in DTYPES.items():
        save(f"identity_{name}", [node("Identity", ["x"], ["y"])], [tensor("x", dtype)], [tensor("y", dtype)])
    # A type that no caller can send.
    save("identity_fp8", [node("Identity", ["x"], ["y"])],
         [tensor("x", T.FLOAT8E4M3FN)], [tensor("y", T.FLOAT8E4M3FN)], opset=19, ir=9)
    # The same as the only output, of an input that can be sent.
    save("fp8_output", [node("Cast", ["x"], ["y"], to=T.FLOAT8E4M3FN)],
         [tensor("x")], [tensor("y", T.FLOAT8E4M3FN)], opset=19, ir=9)
    # Weights in a file of their own, whose name says nothing.
    kept = onnx.TensorProto(name="w", data_type=T.FLOAT, dims=[2], data_location=onnx.TensorProto.EXTERNAL)
    kept.external_data.add(key="location", value="kept_here")
    (FOLDER / "kept_here").write_bytes(struct.pack("<2f", 10.0, 20.0))
    save("external_weights", [node("Mul", ["x", "w"], ["y"])],
         [tensor("x", shape=("rows", 2))], [tensor("y", shape=("rows", 2))], [kept], check=False)
    # A scalar, and a tensor whose rank the graph leaves open.
    save("scalar", [node("Add", ["x", "x"], ["y"])], [tensor("x", shape=())], [tensor("y", shape=())])
    save("any_rank", [node("Neg", ["x"], ["y"])], [tensor("x", shape=None)], [tensor("y", shape=None)],
         check=False)  # The checker wants a shape; exporters leave it out all the same.

    # Two inputs and two outputs. The names of the open dimensions let them differ: then a run fails.
    save("two_inputs", [node("Add", ["a", "b"], ["sum"]), node("Mul", ["a", "b"], ["product"])],
         [tensor("a", shape=("n", 3)), tensor("b", shape=("m", 3))],
         [tensor("sum", shape=(None, 3)), tensor("product", shape=(None, 3))])

    # An input that is also an output.
    save("passed_through", [node("Neg", ["x"], ["y"])], [tensor("x")], [tensor("x"), tensor("y")])

    # An input with a default value, which a caller need not give.
    save("optional_input", [node("Mul", ["x", "scale"], ["y"])],
         [tensor("x"), tensor("scale", shape=(1,))], [tensor("y")],
         [h.make_tensor("scale", T.FLOAT, [1], [10.0])])

    # Outputs that are no tensors, beside one that is.
    ids = h.make_tensor_sequence_value_info("parts", T.FLOAT, None)
    save("sequence_output", [node("Neg", ["x"], ["y"]), node("SequenceConstruct", ["x", "y"], ["parts"])],
         [tensor("x")], [tensor("y"), ids])
    maps = h.make_value_info("probabilities", h.make_sequence_type_proto(
        h.make_map_type_proto(T.STRING, h.make_tensor_type_proto(T.FLOAT, ()))))
    zipmap = node("ZipMap", ["x"], ["probabilities"], domain="ai.onnx.ml", classlabels_strings=["ham", "spam"])
    save("zipmap", [node("ArgMax", ["x"], ["label"], axis=1, keepdims=0), zipmap],
         [tensor("x", shape=("rows", 2))], [tensor("label", T.INT64, ("rows",)), maps])
    # An input that is no tensor.
    save("sequence_input", [node("SequenceLength", ["parts"], ["n"])], [ids], [tensor("n", T.INT64, ())])

    # A softmax between quantised values, as quantised classifiers have it.
    save("quantised_softmax",
         [node("QuantizeLinear", ["x", "xs", "xz"], ["q0"]), node("DequantizeLinear", ["q0", "xs", "xz"], ["d0"]),
          node("Softmax", ["d0"], ["p"], axis=1),
          node("QuantizeLinear", ["p", "ys", "yz"], ["q1"]), node("DequantizeLinear", ["q1", "ys", "yz"], ["y"])],
         [tensor("x")], [tensor("y")],
         [h.make_tensor("xs", T.FLOAT, [], [0.05]), h.make_tensor("xz", T.UINT8, [], [128]),
          h.make_tensor("ys", T.FLOAT, [], [1 / 255]), h.make_tensor("yz", T.UINT8, [], [0])])

    # Nodes that share an int8 weight, as floats between quantised values and as operators of integers.
    save_quantised("shared_int8", QuantFormat.QDQ)
    save_quantised("shared_int8_operators", QuantFormat.QOperator)

    # An operator that reads its input before it looks how much of it there is.
    save("instance_norm", [node("InstanceNormalization", ["x", "scale", "shift"], ["y"])],
         [tensor("x", shape=("n", 2, "size"))], [tensor("y", shape=("n", 2, "size"))],
         [h.make_tensor("scale", T.FLOAT, [2], [1.0, 2.0]), h.make_tensor("shift", T.FLOAT, [2], [0.0, 1.0])])

    # As slow as the caller wants: 64 products of a square matrix with itself.
    steps = [node("MatMul", [f"t{i}" if i else "x", "x"], [f"t{i + 1}"]) for i in range(64)]
    steps.append(node("Identity", ["t64"], ["y"]))
    save("slow", steps, [tensor("x", shape=("n", "n"))], [tensor("y", shape=("n", "n"))])

    # The same a row: each is multiplied by a matrix of 512x512 64 times, and gets its word's number
    # added. Rows leave each other alone, so calls can be batched; an unknown word fails the run.
    fill = h.make_tensor("fill", T.FLOAT, [1], [1 / 512])
    one = h.make_tensor("one", T.FLOAT, [1], [1.0])
    rows = [node("ConstantOfShape", ["wide"], ["ones"], value=one), node("MatMul", ["x", "ones"], ["t0"]),
            node("ConstantOfShape", ["square"], ["matrix"], value=fill)]
    rows += [node("MatMul", [f"t{i}", "matrix"], [f"t{i + 1}"]) for i in range(64)]
    rows += [node("ReduceMean", ["t64"], ["mean"], axes=[1], keepdims=1),
             node("Gather", ["words", "word"], ["number"]), node("Add", ["mean", "number"], ["y"])]
    save("rows", rows, [tensor("x", shape=("n", 1)), tensor("word", T.INT64, ("n", 1))],
         [tensor("y", shape=("n", 1))],
         [h.make_tensor("wide", T.INT64, [2], [1, 512]), h.make_tensor("square", T.INT64, [2], [512, 512]),
          h.make_tensor("words", T.FLOAT, [10], [100.0 * i for i in range(10)])])
    # Rows that influence each other: by their mean, and by a scale that all of them share.
    save("mixed_rows", [node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1), node("Sub", ["x", "mean"], ["y"])],
         [tensor("x", shape=("n", 4))], [tensor("y", shape=("n", 4))])
    save("rows_of_one_scale",
         [node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]), node("DequantizeLinear", ["q", "scale", "zero"], ["y"])],
         [tensor("x", shape=("n", 64))], [tensor("y", shape=("n", 64))])

    faults()


def faults():
    """Honest graphs that some tensors of a caller make ONNX Runtime 1.31.1 end, never end or grow with."""
    node = h.make_node
    ones = lambda name, shape: h.make_tensor(name, T.FLOAT, shape, [1.0] * math.prod(shape))
    whole = lambda name: h.make_tensor_value_info(name, T.INT64, ())

    # SIGABRT: a batch of no sequences, [4, 0, 3]; rows without values, [3, 0].
    for op, gates in {"LSTM": 4, "GRU": 3}.items():
        save(op.lower(), [node(op, ["x", "w", "r"], ["y"], hidden_size=2)],
             [tensor("x", shape=("time", "batch", 3))], [tensor("y", shape=None)],
             [ones("w", [1, 2 * gates, 3]), ones("r", [1, 2 * gates, 2])], check=False)
    save("unique", [node("Unique", ["x"], ["y"], axis=0)],
         [tensor("x", shape=("n", "m"))], [tensor("y", shape=None)], check=False)
    # SIGFPE: the lowest integer divided by -1; a frame of length 0; attention in heads of no width.
    for name in ("int32", "int64"):
        dtype = getattr(T, name.upper())
        save(f"div_{name}", [node("Div", ["a", "b"], ["y"])],
             [tensor("a", dtype, ("n",)), tensor("b", dtype, ("n",))], [tensor("y", dtype, ("n",))])
    save("stft", [node("STFT", ["x", "step", "", "length"], ["y"])],
         [tensor("x", shape=(1, "n", 1)), whole("step"), whole("length")], [tensor("y", shape=None)], check=False)
    save("attention", [node("Attention", ["q", "k", "k"], ["y"])],
         [tensor("q", shape=("batch", "heads", "n", "width")), tensor("k", shape=("batch", "heads", "m", "width"))],
         [tensor("y", shape=None)], opset=23, ir=10, check=False)
    # SIGSEGV: the inverse of [0, 100000].
    save("inverse", [node("Inverse", ["x"], ["y"], domain="com.microsoft")],
         [tensor("x", shape=("n", "m"))], [tensor("y", shape=None)], check=False)
    # SIGFPE when it loads, because what is constant is computed then.
    save("division_at_load", [node("Div", ["lowest", "minus"], ["q"]), node("Add", ["x", "q"], ["y"])],
         [tensor("x", T.INT64, ("n",))], [tensor("y", T.INT64, ("n",))],
         [h.make_tensor("lowest", T.INT64, [1], [-2**63]), h.make_tensor("minus", T.INT64, [1], [-1])])

    # Never ends, and heeds no stop: a kernel of [1, 1, 0, 0]. The same with padding and no channels.
    save("conv_dynamic_kernel", [node("Conv", ["x", "w"], ["y"])],
         [tensor("x", shape=(1, 1, "h", "w")), tensor("w", shape=(1, 1, "kh", "kw"))], [tensor("y", shape=None)],
         check=False)
    save("conv_no_channels", [node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])],
         [tensor("x", shape=(1, "c", "h", "w")), tensor("w", shape=(1, "c", 3, 3))], [tensor("y", shape=None)],
         check=False)
    # Heeds a stop, but grows until then: by as many numbers as the caller says.
    body = h.make_graph(
        [node("Identity", ["go"], ["on"]), node("Identity", ["x"], ["same"]), node("Identity", ["x"], ["kept"])],
        "body", [tensor("i", T.INT64, ()), tensor("go", T.BOOL, ()), tensor("x", shape=(1024,))],
        [tensor("on", T.BOOL, ()), tensor("same", shape=(1024,)), tensor("kept", shape=(1024,))])
    save("growing_loop",
         [node("Loop", ["times", "", "start"], ["last", "all"], body=body),
          node("ReduceSum", ["all"], ["y"], keepdims=0)],
         [whole("times"), tensor("start", shape=(1024,))], [tensor("y", shape=())])

    # As large as the caller says, as an answer, and on the way to one number.
    shape = tensor("shape", T.INT64, ("rank",))
    save("expand", [node("Expand", ["x", "shape"], ["y"])], [tensor("x", shape=(1,)), shape],
         [tensor("y", shape=None)], check=False)
    save("expand_max", [node("Expand", ["x", "shape"], ["wide"]), node("ReduceMax", ["wide"], ["y"], keepdims=0)],
         [tensor("x", shape=(1,)), shape], [tensor("y", shape=())])

    # The rows of `rows`, plus a / (b - 2000): a row of the lowest integer and 1999 ends the process,
    # and what a probe of the rows is likely to try does not.
    fill, one = (h.make_tensor(name, T.FLOAT, [1], [value]) for name, value in (("fill", 1 / 512), ("one", 1.0)))
    steps = [node("ConstantOfShape", ["wide"], ["ones"], value=one), node("MatMul", ["x", "ones"], ["t0"]),
             node("ConstantOfShape", ["square"], ["matrix"], value=fill)]
    steps += [node("MatMul", [f"t{i}", "matrix"], [f"t{i + 1}"]) for i in range(64)]
    steps += [node("ReduceMean", ["t64"], ["mean"], axes=[1], keepdims=1),
              node("Sub", ["b", "away"], ["divisor"]), node("Div", ["a", "divisor"], ["q"]),
              node("Cast", ["q"], ["number"], to=T.FLOAT), node("Add", ["mean", "number"], ["y"])]
    save("fragile_rows", steps,
         [tensor("x", shape=("n", 1)), tensor("a", T.INT64, ("n", 1)), tensor("b", T.INT64, ("n", 1))],
         [tensor("y", shape=("n", 1))],
         [h.make_tensor("wide", T.INT64, [2], [1, 512]), h.make_tensor("square", T.INT64, [2], [512, 512]),
          h.make_tensor("away", T.INT64, [1], [2000])])


if __name__ == "__main__":
    main()
