"""Writes what ONNX Runtime answers for graphs of one operator, with values at the edges of their types,
into operators.json.gz beside this file: the tests hold every backend against it.

    python3 -m venv venv && venv/bin/pip install onnx onnxruntime==1.31.1
    venv/bin/python tests/data/make_operators.py
"""

import base64
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper as h
from onnx import numpy_helper

FILE = Path(__file__).parent / "operators.json.gz"
NAMES = {
    "bool": "bool", "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64",
    "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "float16": "fp16", "float32": "fp32", "float64": "fp64",
}
Array = np.ndarray[Any, Any]


def mixed(values: list[float], dtype: str) -> Array:
    """The values, and the last once more: what a vector does not take is done one by one."""
    return np.array(values + values[:-9:-1], dtype)


EDGES = {
    "float32": mixed([0.0, -0.0, 1, -1, 0.5, -0.5, 1.5, 2.5, -1.5, -2.5, 3.7, -3.7, 10, -10, 20, -20, 87, -87,
                      89, -104, 1000, -1000, 1e-10, -1e-10, 1e-40, -1e-40, 1.17549435e-38, 16777216, 2147483648,
                      -2147483648, 1e10, 1e30, -1e30, 3.4028235e38, -3.4028235e38, np.inf, -np.inf, np.nan], "float32"),
    "float16": mixed([0.0, -0.0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, 3.7, -3.7, 9, -9, 12, -17, 2048, 65504, -65504,
                      6e-8, -6e-8, 6.1e-5, np.inf, -np.inf, np.nan], "float16"),
    "float64": mixed([0.0, -0.0, 1, -1, 0.5, 2.5, -2.5, 710, -746, 1e-310, 1e300, -1e300, np.inf, -np.inf, np.nan],
                     "float64"),
}
for name in ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]:
    info = np.iinfo(name)
    small = [0, 1, 2, 3, 7, 100] + ([-1, -2, -7, -100] if info.min else [])
    EDGES[name] = np.array(small + [info.max, info.max - 1, info.min, info.min + 1], name)
EDGES["bool"] = np.array([True, False, True], "bool")


def halves(dtype: str) -> Array:
    """The values of a type as two rows."""
    return EDGES[dtype][: len(EDGES[dtype]) // 2 * 2].reshape(2, -1)


FLOATS = ["float32", "float16", "float64"]
INTS = ["int32", "int64", "int8", "uint8"]


class Cases:
    def __init__(self) -> None:
        self.tensors: dict[str, dict[str, Any]] = {}
        self.cases: list[dict[str, Any]] = []
        self.skipped: list[str] = []
        # Unoptimised, its int8 sums overflow on older processors.
        self.optimised = False

    def tensor(self, array: Array) -> str:
        entry = {"dtype": NAMES[array.dtype.name], "shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}
        for key, known in self.tensors.items():
            if known == entry:
                return key
        key = f"t{len(self.tensors)}"
        self.tensors[key] = entry
        return key

    def add(
        self, op: str, inputs: list[Array | None], *, note: str = "", constant: tuple[int, ...] = (),
        outputs: int = 1, opset: int = 17, nodes: list[Any] | None = None, domain: str = "", **attributes: Any,
    ) -> None:
        """One graph of `op` over x0, x1, …; those at `constant` are weights. `nodes` in place of the one."""
        names = ["" if array is None else f"x{i}" for i, array in enumerate(inputs)]
        given = ["y" if i == 0 else f"y{i}" for i in range(outputs)]
        nodes = nodes or [h.make_node(op, names, given, domain=domain, **attributes)]
        weights = [numpy_helper.from_array(a, f"x{i}") for i, a in enumerate(inputs) if i in constant and a is not None]
        sent = {f"x{i}": a for i, a in enumerate(inputs) if a is not None and i not in constant}
        takes = [h.make_tensor_value_info(n, h.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in sent.items()]
        opsets = [h.make_opsetid("", opset)] + ([h.make_opsetid(domain, 1)] if domain else [])

        def model(gives: list[Any]) -> bytes:
            graph = h.make_graph(nodes, "g", takes, gives, weights)
            made = h.make_model(graph, opset_imports=opsets, ir_version=8)
            return made.SerializeToString(deterministic=True)

        kinds = "/".join(NAMES[a.dtype.name] for a in list(inputs) if a is not None)
        name = f"{op} {kinds}" + (f" ({note})" if note else "")
        options = ort.SessionOptions()
        options.log_severity_level = 4
        if not self.optimised:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            untyped = model([h.make_empty_tensor_value_info(name) for name in given])
            session = ort.InferenceSession(untyped, options, providers=["CPUExecutionProvider"])
            answers = session.run(None, sent)
        except Exception as e:
            self.skipped.append(f"{name}: {str(e)[:150]}")
            return
        answers = [np.asarray(a) for a in answers]
        typed = [h.make_tensor_value_info(n, h.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in zip(given, answers)]
        assert name not in [case["name"] for case in self.cases], name
        self.cases.append({
            "name": name,
            "graph": base64.b64encode(model(typed)).decode(),
            "inputs": {n: self.tensor(a) for n, a in sent.items()},
            "outputs": {n: self.tensor(a) for n, a in zip(given, answers)},
        })


def elementwise(c: Cases) -> None:
    for op in ["Abs", "Neg", "Sign", "Relu", "Ceil", "Floor", "Round", "Sqrt", "Exp", "Log", "Reciprocal", "Erf", "Sigmoid",
               "Tanh", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Softplus",
               "Softsign", "Elu", "Selu", "Celu", "LeakyRelu", "HardSigmoid", "HardSwish", "ThresholdedRelu", "Shrink",
               "Mish", "IsNaN", "IsInf", "Identity"]:
        for dtype in FLOATS:
            if (op, dtype) == ("Shrink", "float64"):
                continue  # ONNX Runtime takes those for floats.
            opset = 18 if op == "Mish" else 20 if op in ("IsNaN", "IsInf") else 17
            values = EDGES[dtype]
            if op in ("Sin", "Cos", "Tan"):
                values = values[~(np.abs(values.astype("float64")) > 1e5)]  # Nobody agrees on those of large ones.
            if (op, dtype) == ("Sign", "float16"):
                values = values[~np.isnan(values)]  # ONNX Runtime says 0 there, and NaN for other floats.
            c.add(op, [values], opset=opset)
    c.add("Elu", [EDGES["float32"]], note="alpha", alpha=2.5)
    c.add("Celu", [EDGES["float32"]], note="alpha", alpha=0.5)
    c.add("Selu", [EDGES["float32"]], note="alpha", alpha=1.5, gamma=2.0)
    c.add("LeakyRelu", [EDGES["float32"]], note="alpha", alpha=-0.3)
    c.add("LeakyRelu", [EDGES["float32"]], note="alpha over 1", alpha=2.0)
    c.add("HardSigmoid", [EDGES["float32"]], note="alpha", alpha=0.5, beta=0.25)
    c.add("ThresholdedRelu", [EDGES["float32"]], note="alpha", alpha=0.5)
    c.add("Shrink", [EDGES["float32"]], note="bias", bias=0.5, lambd=1.0)
    c.add("IsInf", [EDGES["float32"]], note="positive", detect_negative=0)
    for how in ["none", "tanh"]:
        c.add("Gelu", [EDGES["float32"]], note=how, approximate=how, opset=20)
        c.add("Gelu", [EDGES["float16"]], note=how, approximate=how, opset=20)
    for op in ["Abs", "Neg", "Sign", "Relu"]:
        for dtype in INTS + ["int16"]:
            c.add(op, [EDGES[dtype]])
    c.add("BitwiseNot", [EDGES["int32"]], opset=18)
    c.add("BitwiseNot", [EDGES["uint8"]], opset=18)
    c.add("Not", [EDGES["bool"]])
    for op in ["FastGelu", "QuickGelu", "Gelu"]:
        c.add(op, [EDGES["float32"]], domain="com.microsoft", note="com.microsoft")
    c.add("BiasGelu", [EDGES["float32"].reshape(2, -1), np.zeros(len(EDGES["float32"]) // 2, "float32")],
          constant=(1,), domain="com.microsoft")
    c.add("PRelu", [EDGES["float32"], np.array([-0.5], "float32")], constant=(1,))
    c.add("PRelu", [EDGES["float32"], np.array([np.inf], "float32")], constant=(1,), note="infinite slope")


def pairs(dtype: str) -> tuple[Array, Array]:
    values = EDGES[dtype]
    if dtype in FLOATS:
        values = np.array([0.0, -0.0, 1, -2.5, 3, np.finfo(dtype).max, np.finfo(dtype).min, np.finfo(dtype).tiny,
                           np.inf, -np.inf, np.nan], dtype)
    else:
        values = values[[0, 1, 3, 5, 6, -4, -2, -1]]
    return np.repeat(values, len(values)), np.tile(values, len(values))


def binary(c: Cases) -> None:
    for op in ["Add", "Sub", "Mul", "Max", "Min"]:
        for dtype in [*FLOATS, "int32", "int64", "uint8"]:
            c.add(op, list(pairs(dtype)))
    for dtype in FLOATS:
        c.add("Sum", list(pairs(dtype)))
    c.add("Mean", list(pairs("float32")))
    for op in ["Max", "Min"]:
        a, b = pairs("float32")
        c.add(op, [a, b, np.array([1], "float32")], note="of three")
        c.add(op, [a, np.array([1], "float32")], note="with a constant", constant=(1,))
        c.add(op, [a, np.array([np.nan], "float32")], note="with NaN", constant=(1,))
        c.add(op, [a], note="of one")
    for dtype in FLOATS:
        c.add("Div", list(pairs(dtype)))
        c.add("Mod", list(pairs(dtype)), fmod=1)
        c.add("PRelu", list(pairs(dtype)), note="both")
    for dtype in INTS:
        a, b = pairs(dtype)
        fits = (b != 0) & ~((b == -1) & (a == np.iinfo(dtype).min)) if dtype != "uint8" else b != 0
        c.add("Div", [a[fits], b[fits]])
        c.add("Mod", [a[fits], b[fits]])
        if dtype != "int64":  # ONNX Runtime takes those for floats.
            c.add("Mod", [a[fits], b[fits]], note="fmod", fmod=1)
        for by in [2, 3, 4]:
            c.add("Div", [EDGES[dtype], np.array([by], dtype)], constant=(1,), note=f"by {by}")
            c.add("Mul", [EDGES[dtype], np.array([by], dtype)], constant=(1,), note=f"by {by}")
        c.add("Mod", [EDGES[dtype], np.array([4], dtype)], constant=(1,), note="by 4")
    for op in ["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"]:
        for dtype in [*FLOATS, "int32", "int64"]:
            c.add(op, list(pairs(dtype)))
    c.add("Equal", [np.array([True, True, False]), np.array([True, False, False])])
    for op in ["And", "Or", "Xor"]:
        c.add(op, [np.array([True, True, False, False]), np.array([True, False, True, False])])
    for op in ["BitwiseAnd", "BitwiseOr", "BitwiseXor"]:
        for dtype in ["int32", "uint8", "int64"]:
            c.add(op, list(pairs(dtype)), opset=18)
    for dtype in ["uint8", "uint32", "uint64"]:
        bits = np.iinfo(dtype).bits
        values = np.repeat(EDGES[dtype], 4)
        shifts = np.tile(np.array([0, 1, bits - 1, 3], dtype), len(EDGES[dtype]))
        c.add("BitShift", [values, shifts], note="left", direction="LEFT")
        c.add("BitShift", [values, shifts], note="right", direction="RIGHT")
        c.add("BitShift", [EDGES[dtype], np.array([bits], dtype)], note="left by all bits", direction="LEFT")
        c.add("BitShift", [EDGES[dtype], np.array([bits], dtype)], note="right by all bits", direction="RIGHT")
    for dtype in FLOATS[:1] + FLOATS[2:]:
        c.add("Pow", list(pairs(dtype)))
    for power in [0.0, 0.5, 1.0, 2.0, 3.0, -1.0, -0.5, 2.5]:
        c.add("Pow", [EDGES["float32"], np.array(power, "float32")], constant=(1,), note=f"to {power}")
    c.add("Pow", [np.array([0, 1, -1, 2, 7, -7, 100], "int32"), np.array([0, 3, 3, 30, 2, 3, 2], "int32")])
    c.add("Pow", [np.array([0, 1, -1, 2, 7, -7, 100], "int64"), np.array([0, 3, 3, 30, 2, 3, 2], "int64")])
    c.add("Pow", [np.array([2, 3], "int32"), np.array([0.5, 2], "float32")])
    c.add("Pow", [np.array([-2, 2, 3], "float32"), np.array([3, 2, -2], "int64")])
    for note, low, high in [("both", -1, 2.5), ("NaN below", np.nan, 1), ("NaN above", 0, np.nan), ("crossed", 2, 1),
                            ("infinite", -np.inf, np.inf), ("6", 0, 6)]:
        for opset in [17, 6]:
            if opset == 17:
                c.add("Clip", [EDGES["float32"], np.array(low, "float32"), np.array(high, "float32")],
                      constant=(1, 2), note=note)
            else:
                c.add("Clip", [EDGES["float32"]], note=f"{note}, opset 6", min=float(low), max=float(high), opset=6)
    c.add("Clip", [EDGES["float32"], np.array(-1, "float32"), np.array(1, "float32")], note="as inputs")
    c.add("Clip", [EDGES["float32"], np.array(-1, "float32")], constant=(1,), note="below")
    c.add("Clip", [EDGES["float32"], None, np.array(1, "float32")], constant=(2,), note="above")
    c.add("Clip", [EDGES["float16"], np.array(-1, "float16"), np.array(1, "float16")], constant=(1, 2))
    for dtype in ["int32", "int64", "int8", "uint8"]:
        c.add("Clip", [EDGES[dtype], np.array(1, dtype), np.array(100, dtype)], constant=(1, 2))
    for dtype in FLOATS[:2] + ["int64"]:
        a, b = pairs(dtype)
        c.add("Where", [np.arange(len(a)) % 3 == 0, a, b])
    # Where an optimiser may believe that numbers are real.
    node = h.make_node
    x = EDGES["float32"]
    for note, op, value in [("by 0", "Mul", 0.0), ("by 1", "Mul", 1.0), ("by 2", "Mul", 2.0), ("0", "Add", 0.0),
                            ("-0", "Add", -0.0), ("0", "Sub", 0.0), ("by 1", "Div", 1.0), ("by 3", "Div", 3.0),
                            ("by 0", "Div", 0.0), ("by infinity", "Div", np.inf), ("by a denormal", "Div", 1e-40)]:
        c.add(op, [x, np.array([value], "float32")], constant=(1,), note=note)
    for dtype in ["int32", "int64"]:
        c.add("Mul", [EDGES[dtype], np.array([0], dtype)], constant=(1,), note="by 0")
    c.add("Sub", [x], note="from itself", nodes=[node("Sub", ["x0", "x0"], ["y"])])
    c.add("Div", [x], note="by itself", nodes=[node("Div", ["x0", "x0"], ["y"])])
    c.add("Mul", [x], note="square", nodes=[node("Mul", ["x0", "x0"], ["y"])])
    c.add("Mul", [x], note="square of a root", nodes=[node("Sqrt", ["x0"], ["r"]), node("Mul", ["r", "r"], ["y"])])
    c.add("Pow", [x, np.array(2, "float32")], constant=(1,), note="square of a root",
          nodes=[node("Sqrt", ["x0"], ["r"]), node("Pow", ["r", "x1"], ["y"])])
    c.add("Log", [x], note="of Exp", nodes=[node("Exp", ["x0"], ["r"]), node("Log", ["r"], ["y"])])
    c.add("Exp", [x], note="of Log", nodes=[node("Log", ["x0"], ["r"]), node("Exp", ["r"], ["y"])])
    c.add("Reciprocal", [x], note="of Sqrt", nodes=[node("Sqrt", ["x0"], ["r"]), node("Reciprocal", ["r"], ["y"])])
    c.add("Reciprocal", [x], note="twice", nodes=[node("Reciprocal", ["x0"], ["r"]), node("Reciprocal", ["r"], ["y"])])
    c.add("Neg", [x], note="twice", nodes=[node("Neg", ["x0"], ["r"]), node("Neg", ["r"], ["y"])])
    c.add("Mul", [x], note="silu", nodes=[node("Sigmoid", ["x0"], ["r"]), node("Mul", ["x0", "r"], ["y"])])
    c.add("Mul", [x, np.array([3], "float32"), np.array([6], "float32"), np.array([0], "float32")], constant=(1, 2, 3),
          note="hard swish", nodes=[node("Add", ["x0", "x1"], ["a"]), node("Clip", ["a", "lo", "hi"], ["b"]),
                                    node("Mul", ["x0", "b"], ["m"]), node("Div", ["m", "x2"], ["y"]),
                                    ][:1] + [node("Max", ["a", "x3"], ["l"]), node("Min", ["l", "x2"], ["b"]),
                                             node("Mul", ["x0", "b"], ["m"]), node("Div", ["m", "x2"], ["y"])])
    root, one, half = np.array([2**0.5], "float32"), np.array([1], "float32"), np.array([0.5], "float32")
    c.add("Erf", [x[~(np.abs(x) > 3e38)], root, one, half], constant=(1, 2, 3), note="gelu",
          nodes=[node("Div", ["x0", "x1"], ["d"]), node("Erf", ["d"], ["e"]), node("Add", ["e", "x2"], ["a"]),
                 node("Mul", ["x0", "a"], ["m"]), node("Mul", ["m", "x3"], ["y"])])


def casts(c: Cases) -> None:
    kinds = [*FLOATS, "int32", "int64", "uint8", "int8", "bool", "uint32", "int16", "uint16", "uint64"]
    for source in FLOATS + INTS + ["bool"]:
        for target in kinds:
            if source == target or source not in FLOATS and target not in ("float32", "int64", "int32", "uint8", "bool"):
                continue
            values = EDGES[source]
            if source in FLOATS and target not in FLOATS and target != "bool":
                # What does not fit is left to the implementation; what does is not.
                info = np.iinfo(target)
                values = np.array([0.0, -0.0, 0.5, 0.9, 1.5, 2.5, 3.7, 100, 127] + ([-1, -0.5, -2.5, -3.7, -128] if info.min else []), source)
            c.add("Cast", [values], note=f"to {NAMES[target]}", to=h.np_dtype_to_tensor_dtype(np.dtype(target)))
    large = np.array([3e9, 1e15, 2.0**62, -3e9, -1e15, -(2.0**63)], "float32")
    c.add("Cast", [large], note="to i64, past 32 bits", to=onnx.TensorProto.INT64)
    c.add("Cast", [large[:1]], note="to u32, past 31 bits", to=onnx.TensorProto.UINT32)
    c.add("Cast", [large[:3]], note="to u64, past 32 bits", to=onnx.TensorProto.UINT64)
    c.add("Cast", [large.astype("float64")], note="to i64, past 32 bits", to=onnx.TensorProto.INT64)


def reductions(c: Cases) -> None:
    rows = np.array([[1, 2, 3, 4, 5, 6, 7, 8, 9], [np.nan, 1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, np.nan, 6, 7, 8, 9],
                     [1, 2, 3, 4, 5, 6, 7, 8, np.nan], [np.inf, 1, 2, 3, 4, 5, 6, 7, 8],
                     [-np.inf, np.inf, 1, 2, 3, 4, 5, 6, 7], [-np.inf] * 9, [1000, 999, -1000, 0, 0, 0, 0, 0, 0],
                     [-1000] * 9, [3e38, 3e38, -3e38, 3e38, 1, 1, 1, 1, 1], [1e-40] * 9, [0.0, -0.0] * 4 + [0.0],
                     [1e20, 1, -1e20, 1, 1, 1, 1, 1, 1], [5, 5, 5, 1, 1, 1, 5, 5, 5], [np.nan] * 9, [-1, -2, -3] * 3], "float32")
    # ONNX Runtime's own answer depends on where a NaN among numbers is, and on the order of such sums.
    ordered = np.delete(rows, [1, 2, 3], axis=0)
    summed = np.delete(rows, [9, 12], axis=0)
    large = np.concatenate([rows, rows[:, ::-1], rows[:, 2:7], np.full((16, 8), 1, "float32")], axis=1)
    for op in ["ReduceMax", "ReduceMin", "ReduceSum", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum",
               "ReduceLogSumExp", "ReduceSumSquare"]:
        axes: dict[str, Any] = {} if op == "ReduceSum" else {"axes": [1]}
        first: dict[str, Any] = {} if op == "ReduceSum" else {"axes": [0]}
        more: list[Array | None] = [np.array([1], "int64")] if op == "ReduceSum" else []
        taken = ordered if op in ("ReduceMax", "ReduceMin") else summed
        for note, values in [("", taken), ("long", np.repeat(taken, 4, axis=1))]:
            c.add(op, [values, *more], constant=(1,), keepdims=0, note=note, **axes)
        if op == "ReduceSum":
            more = [np.array([0], "int64")]
        c.add(op, [np.ascontiguousarray(taken.T), *more], constant=(1,), keepdims=1, note="first axis",
              **first)
        c.add(op, [rows[:1]], note="all")
        c.add(op, [np.zeros((2, 0), "float32"), *([np.array([1], "int64")] if op == "ReduceSum" else [])],
              constant=(1,), note="of nothing", **axes)
        if op not in ("ReduceLogSum", "ReduceLogSumExp", "ReduceL1", "ReduceL2"):
            for dtype in ["int32", "int64"]:
                values = halves(dtype)
                if op not in ("ReduceMax", "ReduceMin"):
                    values = values[:, :5] % 11 - 3  # None overflows: what then, ONNX does not say.
                c.add(op, [values, *([np.array([1], "int64")] if op == "ReduceSum" else [])], constant=(1,), **axes)
    c.add("ReduceMax", [halves("int8")], axes=[1])
    c.add("ReduceMin", [halves("uint8")], axes=[1])
    c.add("ReduceMean", [np.array([[1, 2], [-1, -2], [7, 8]], "int32")], axes=[1], note="rounding")
    numbers = rows[~np.isnan(rows).any(axis=1)]
    for op in ["ArgMax", "ArgMin"]:
        for last in [0, 1]:
            c.add(op, [numbers], axis=1, select_last_index=last, note=f"select_last_index={last}")
            c.add(op, [halves("int32")], axis=1, select_last_index=last, note=f"select_last_index={last}")
        c.add(op, [np.repeat(numbers, 4, axis=1)], axis=1, note="long")
    for op in ["Softmax", "LogSoftmax", "Hardmax"]:
        taken, nan = (numbers, 3) if op == "Hardmax" else (rows, np.nan)
        for opset in [17, 11]:
            c.add(op, [taken], axis=1, opset=opset, note=f"opset {opset}")
        c.add(op, [numbers if op == "Hardmax" else large], axis=1, note="long")
        c.add(op, [np.ascontiguousarray(taken.T)], axis=0, note="first axis")
        c.add(op, [rows.reshape(4, 4, 9)], axis=1, note="opset 11, from the middle", opset=11)
        c.add(op, [np.array([[1, 2, 3], [65504, 65504, 0], [nan, 1, 2], [12, -12, -60000]], "float16")], axis=1)
        c.add(op, [np.array([[1, 2, 3], [1e300, 1e300, 0], [nan, 1, 2], [1000, 999, -1000]], "float64")], axis=1)
    c.add("TopK", [numbers, np.array([4], "int64")], constant=(1,), outputs=2, axis=1, note="without NaN")
    c.add("TopK", [numbers, np.array([4], "int64")], constant=(1,), outputs=2, axis=1, largest=0, note="smallest")
    c.add("TopK", [np.array([[5, 1, 5, 3, 5]], "int64"), np.array([3], "int64")], constant=(1,), outputs=2, axis=1)
    for dtype in ["float32", "int32", "int64", "float64"]:
        for note in ["", "exclusive", "reverse"]:
            values = rows if dtype == "float32" else halves(dtype)
            flag: dict[str, Any] = {note: 1} if note else {}
            c.add("CumSum", [values, np.array(1, "int64")], constant=(1,), note=note, **flag)
    normal = np.delete(rows, [9, 10], axis=0)
    c.add("LpNormalization", [normal], axis=1, p=2, note="2")
    c.add("LpNormalization", [normal], axis=1, p=1, note="1")
    c.add("NonZero", [np.array([[0.0, -0.0, np.nan], [1e-40, 1, np.inf]], "float32")])
    weights = np.linspace(-1, 1, 9 * 4, dtype="float32").reshape(9, 4)
    for note, values in [("", rows), ("long", np.tile(rows, (2, 1)))]:
        c.add("MatMul", [values, weights], note=note)
        c.add("MatMul", [values, weights], constant=(1,), note=f"{note} constant".strip())
        c.add("Gemm", [values, weights, np.ones(4, "float32")], constant=(1, 2), alpha=0.5, beta=2.0, note=note)
    c.add("MatMul", [np.zeros((0, 9), "float32"), weights], note="no rows")
    c.add("MatMul", [np.zeros((2, 0), "float32"), np.zeros((0, 3), "float32")], note="no columns")
    c.add("MatMul", [np.array([[2**31 - 1, 2], [3, -4]], "int32"), np.array([[2, 0], [1, 5]], "int32")])
    c.add("Gemm", [rows, weights.T.copy(), np.ones((1, 4), "float32")], transB=1, note="transB, beta 0", beta=0.0)
    c.add("Gemm", [rows, weights, np.full((4,), np.nan, "float32")], constant=(1, 2), beta=0.0, note="beta 0 of NaN")
    c.add("Gemm", [rows, weights, np.full((4,), 1, "float32")], constant=(1, 2), alpha=0.0, note="alpha 0")
    c.add("Einsum", [rows, weights], equation="ij,jk->ik")


def images(c: Cases) -> None:
    image = np.arange(2 * 6 * 6, dtype="float32").reshape(1, 2, 6, 6) / 7 - 4
    odd = image.copy()
    odd[0, 0, 2, 3], odd[0, 1, 0, 0], odd[0, 1, 5, 5], odd[0, 0, 5, 0] = np.nan, np.inf, -np.inf, 3e38
    low = np.full((1, 2, 6, 6), -np.inf, "float32")
    for note, values in [("", image), ("odd", odd), ("-inf", low)]:
        pooled = np.where(np.isnan(values), 7, values).astype("float32")  # As with the largest of rows.
        c.add("MaxPool", [pooled], kernel_shape=[2, 2], note=note)
        c.add("MaxPool", [pooled], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], note=f"{note} padded")
        c.add("AveragePool", [values], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], note=f"{note} padded")
        c.add("AveragePool", [values], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1, note=f"{note} with padding")
        if note != "-inf":  # ONNX Runtime says the last number before infinity.
            c.add("GlobalMaxPool", [pooled], note=note)
        c.add("GlobalAveragePool", [values], note=note)
    c.add("MaxPool", [image], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, note="ceil")
    c.add("MaxPool", [image], kernel_shape=[3, 3], auto_pad="SAME_UPPER", strides=[2, 2], note="same upper")
    c.add("MaxPool", [image], kernel_shape=[2, 2], auto_pad="SAME_LOWER", note="same lower")
    c.add("MaxPool", [image], kernel_shape=[2, 2], dilations=[2, 2], note="dilated")
    c.add("MaxPool", [image], kernel_shape=[2, 2], strides=[2, 2], outputs=2, note="indices")
    c.add("MaxPool", [(image * 9).astype("int8")], kernel_shape=[2, 2])
    c.add("AveragePool", [image], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, note="ceil")
    c.add("AveragePool", [image], kernel_shape=[2, 2], auto_pad="SAME_UPPER", note="same upper")
    c.add("GlobalLpPool", [image])
    c.add("MeanVarianceNormalization", [image])
    c.add("LRN", [image], size=3)
    kernel = (np.arange(3 * 2 * 3 * 3, dtype="float32").reshape(3, 2, 3, 3) - 20) / 10
    bias = np.array([0.5, -1, np.nan], "float32")
    for note, values in [("", image), ("odd", odd)]:
        c.add("Conv", [values, kernel], constant=(1,), note=note)
        c.add("Conv", [values, kernel, bias], constant=(1, 2), pads=[1, 1, 1, 1], strides=[2, 2], note=f"{note} padded")
        c.add("Conv", [values, kernel[:2, :1].copy()], constant=(1,), group=2, pads=[1, 1, 1, 1], note=f"{note} depthwise")
        c.add("Conv", [values, kernel[:, :, :1, :1].copy()], constant=(1,), note=f"{note} 1x1")
        c.add("ConvTranspose", [values, kernel.transpose(1, 0, 2, 3).copy()], constant=(1,), strides=[2, 2], note=note)
        c.add("Conv", [values, kernel], constant=(1,), note=f"{note} then Relu",
              nodes=[h.make_node("Conv", ["x0", "x1"], ["r"]), h.make_node("Relu", ["r"], ["y"])])
    c.add("Conv", [image, kernel], note="kernel as input")
    c.add("Conv", [image, kernel], constant=(1,), auto_pad="SAME_LOWER", strides=[2, 2], note="same lower")
    c.add("Conv", [image, kernel], constant=(1,), dilations=[2, 2], note="dilated")
    c.add("Conv", [np.zeros((0, 2, 6, 6), "float32"), kernel], constant=(1,), note="no images")
    for note, var in [("", 1.0), ("tiny variance", 1e-40), ("no variance", 0.0), ("infinite variance", np.inf),
                      ("NaN variance", np.nan), ("large variance", 3e38)]:
        params = [np.array([1.5, -2], "float32"), np.array([0.5, 1], "float32"), np.array([0.25, -1], "float32"),
                  np.array([var, 1], "float32")]
        c.add("BatchNormalization", [odd, *params], constant=(1, 2, 3, 4), note=note)
    c.add("BatchNormalization", [image, *params[:3], np.array([0, 1e-40], "float32")], constant=(1, 2, 3, 4), epsilon=0.0,
          note="epsilon 0")
    scale, shift = np.array([1.5, -2], "float32"), np.array([0.5, 1], "float32")
    flat = np.full((1, 2, 6, 6), 3, "float32")
    huge = image * np.float32(1e30)
    for note, values in [("", image), ("odd", odd), ("flat", flat), ("large", huge)]:
        c.add("InstanceNormalization", [values, scale, shift], constant=(1, 2), note=note)
        c.add("LayerNormalization", [values, np.full(6, 1.5, "float32"), np.full(6, 0.5, "float32")], constant=(1, 2),
              axis=-1, note=note)
        if note != "large":  # ONNX Runtime squares those past the end of floats.
            c.add("GroupNormalization", [values, scale, shift], constant=(1, 2), num_groups=2, opset=21, note=note)
        c.add("RMSNormalization", [values, np.full(6, 1.5, "float32")], constant=(1,), opset=23, note=note)
    c.add("InstanceNormalization", [np.zeros((1, 2, 0), "float32"), scale, shift], constant=(1, 2), note="of nothing")
    none = np.array([], "float32")
    for mode in ["nearest", "linear", "cubic"]:
        for how in ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]:
            for factor in [2.0, 0.6]:
                extra: dict[str, Any] = {"nearest_mode": "floor" if how == "asymmetric" else "round_prefer_floor"} if mode == "nearest" else {}
                c.add("Resize", [image, none, np.array([1, 1, factor, factor], "float32")], constant=(1, 2), mode=mode,
                      coordinate_transformation_mode=how, note=f"{mode} {how} {factor}", **extra)
    c.add("Resize", [odd, none, np.array([1, 1, 2, 2], "float32")], constant=(1, 2), mode="linear", note="linear odd")
    c.add("Resize", [image, none, none, np.array([1, 2, 9, 4], "int64")], constant=(1, 2, 3), mode="linear", note="sizes")
    for rounding in ["round_prefer_ceil", "ceil", "floor"]:
        c.add("Resize", [image, none, np.array([1, 1, 1.5, 1.5], "float32")], constant=(1, 2), mode="nearest",
              nearest_mode=rounding, note=f"nearest {rounding}")
    grid = np.array([[[[-1, -1], [0, 0], [1, 1]], [[2, 2], [np.nan, 0], [-0.3, 0.4]]]], "float32")
    for mode in ["linear", "nearest"]:
        for padding in ["zeros", "border", "reflection"]:
            c.add("GridSample", [image, grid[:, :, ::2].copy()], mode=mode, padding_mode=padding, opset=20,
                  note=f"{mode} {padding}")
    for blocks in ["DCR", "CRD"]:
        c.add("DepthToSpace", [np.arange(32, dtype="float32").reshape(1, 8, 2, 2)], blocksize=2, mode=blocks, note=blocks)
    c.add("SpaceToDepth", [image], blocksize=2)
    for mode in ["constant", "edge", "reflect"]:
        c.add("Pad", [image, np.array([0, 0, 1, 2, 0, 0, 1, 0], "int64"), np.array(np.nan, "float32")],
              constant=(1, 2), mode=mode, note=mode)
    c.add("Pad", [image, np.array([0, 0, -1, 0, 0, 0, 1, -2], "int64")], constant=(1,), note="negative")
    c.add("Pad", [image, np.array([0, 0, 2, 2, 0, 0, 2, 2], "int64")], constant=(1,), mode="wrap", opset=19, note="wrap")


def indices(c: Cases) -> None:
    data = np.array([[1, np.nan, 3], [4, 5, -0.0], [7, np.inf, 9]], "float32")
    whole = np.array([[2**62, 2, 3], [4, -(2**63), 6], [7, 8, 2**63 - 1]], "int64")
    for dtype in ["int64", "int32"]:
        c.add("Gather", [data, np.array([-1, 0, 2, -3], dtype)], axis=0)
        c.add("Gather", [data, np.array([[-1, 0], [1, -2]], dtype)], axis=1, note="columns")
        c.add("GatherElements", [data, np.array([[-1, 0, 1], [2, -3, 0]], dtype)], axis=0)
        c.add("ScatterElements", [data, np.array([[-1, 0, 1]], dtype), np.array([[9, 8, np.nan]], "float32")], axis=0)
    c.add("Gather", [whole, np.array(-1, "int64")], note="one")
    c.add("Gather", [data, np.array([], "int64")], note="nothing")
    c.add("Gather", [data, np.array([-1, 0], "int64")], constant=(1,), note="constant")
    c.add("GatherND", [data, np.array([[-1, 0], [0, -1]], "int64")])
    c.add("GatherND", [data, np.array([[1], [-1]], "int64")], note="rows")
    c.add("ScatterND", [data, np.array([[-1, 0], [0, 1]], "int64"), np.array([50, 60], "float32")])
    for how in ["add", "mul", "max", "min"]:
        c.add("ScatterND", [data, np.array([[1], [1]], "int64"), np.array([[1, 6, 2], [3, 1, -2]], "float32")],
              reduction=how, opset=18, note=how)
        c.add("ScatterElements", [data, np.array([[1, 1, 1], [1, 1, 1]], "int64"), np.array([[1, 6, 2], [3, 1, -2]], "float32")],
              axis=0, reduction=how, opset=18, note=how)
    for note, values in [("past the end", [[0, 0], [99, 99], [0, 1], [1, 1]]), ("negative", [[-2], [2**31], [0], [1]]),
                         ("backwards", [[-1], [-(2**31)], [1], [-1]]), ("steps", [[0, 2], [3, -9], [0, 1], [2, -2]]),
                         ("nothing", [[2], [1], [0], [1]])]:
        arrays: list[Array | None] = [np.array(v, "int64") for v in values]
        c.add("Slice", [data, *arrays], constant=(1, 2, 3, 4), note=note)
    c.add("Slice", [data, np.array([1], "int64"), np.array([3], "int64")], note="as inputs")
    c.add("OneHot", [np.array([0, -1, 5, 2], "int64"), np.array(3, "int64"), np.array([-1, 7], "float32")], constant=(1, 2))
    c.add("OneHot", [np.array([0, -1, 1, 2], "int64"), np.array(3, "int64"), np.array([0, 1], "float32")], constant=(1, 2), note="in range")
    c.add("Compress", [data, np.array([True, False, True])], constant=(1,), axis=0)
    for upper in [0, 1]:
        for k in [0, 1, -1, 5, -5]:
            c.add("Trilu", [data, np.array(k, "int64")], constant=(1,), upper=upper, note=f"upper={upper} k={k}")
    c.add("EyeLike", [data], k=1)
    c.add("Range", [np.array(v, "float32") for v in [0, 1, 0.3]])
    c.add("Range", [np.array(v, "int64") for v in [5, -2, -3]])
    c.add("Range", [np.array(v, "float32") for v in [0, 1, 0.1]], constant=(0, 1, 2), note="constant")
    c.add("Tile", [data, np.array([2, 1], "int64")], constant=(1,))
    c.add("Tile", [data, np.array([0, 1], "int64")], constant=(1,), note="none")
    c.add("Expand", [data[:1], np.array([2, 1], "int64")], constant=(1,))
    c.add("Expand", [data[:1], np.array([0, 3], "int64")], constant=(1,), note="to nothing")
    c.add("Concat", [data, data], axis=-1)
    c.add("Concat", [data, np.zeros((0, 3), "float32")], axis=0, note="with nothing")
    c.add("Split", [data], axis=1, outputs=2, note="uneven", num_outputs=2, opset=18)
    c.add("Split", [data, np.array([1, 2], "int64")], constant=(1,), axis=1, outputs=2, note="given")
    c.add("Transpose", [data], perm=[1, 0])
    c.add("Reshape", [data, np.array([-1, 1], "int64")], constant=(1,))
    c.add("Reshape", [data, np.array([0, 3], "int64")], constant=(1,), note="copied")
    c.add("Reshape", [np.zeros((0, 3), "float32"), np.array([3, 0], "int64")], constant=(1,), allowzero=1, note="allowzero")
    c.add("Flatten", [data], axis=0)
    c.add("Squeeze", [data[None], np.array([0], "int64")], constant=(1,))
    c.add("Unsqueeze", [data, np.array([-1, 0], "int64")], constant=(1,))
    c.add("Shape", [data], start=-1, opset=17)
    c.add("Size", [data])
    c.add("ConstantOfShape", [np.array([2, 3], "int64")], value=h.make_tensor("v", onnx.TensorProto.FLOAT, [1], [float("nan")]))
    boxes = np.array([[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, -0.1, 1, 0.9], [0, 10, 1, 11]]], "float32")
    scores = np.array([[[0.9, 0.75, 0.6, 0.95]]], "float32")
    c.add("NonMaxSuppression", [boxes, scores, np.array([3], "int64"), np.array([0.5], "float32"), np.array([0.0], "float32")],
          constant=(2, 3, 4))


def quantised(c: Cases) -> None:
    c.optimised = True
    values = np.array([0.0, -0.0, 0.25, 0.75, 1.25, -0.25, -0.75, 63.5, 64, -64, 127.25, 1e10, -1e10, np.inf, -np.inf, np.nan], "float32")
    for dtype, zero in [("uint8", 128), ("int8", 0), ("int8", -3)]:
        point, scale = np.array(zero, dtype), np.array(0.5, "float32")
        c.add("QuantizeLinear", [values[:-1], scale, point], constant=(1, 2), note=f"zero {zero}")
        c.add("DequantizeLinear", [EDGES[dtype], scale, point], constant=(1, 2), note=f"zero {zero}")
    c.add("QuantizeLinear", [values, np.array(0.5, "float32"), np.array(0, "uint8")], constant=(1, 2), note="NaN")
    c.add("QuantizeLinear", [values[:-1], np.array(0.3, "float32"), np.array(0, "uint8")], constant=(1, 2), note="scale 0.3")
    c.add("QuantizeLinear", [np.arange(-40, 40, dtype="float32") * np.float32(0.05), np.array(0.1, "float32"), np.array(0, "int8")],
          constant=(1, 2), note="halves of 0.1")
    c.add("DequantizeLinear", [EDGES["int32"], np.array(0.5, "float32"), np.array(0, "int32")], constant=(1, 2))
    c.add("DequantizeLinear", [EDGES["int32"], np.array(0.5, "float32")], constant=(1,), note="no zero")
    axis = np.array([[1.0, -1, 0.26], [200, -200, 7.5]], "float32")
    c.add("QuantizeLinear", [axis, np.array([0.5, 0.1, 2], "float32"), np.array([0, 3, -1], "int8")], constant=(1, 2), axis=1, note="per axis")
    c.add("DequantizeLinear", [np.array([[1, -128, 127], [0, 3, -1]], "int8"), np.array([0.5, 0.1, 2], "float32"),
                               np.array([0, 3, -1], "int8")], constant=(1, 2), axis=1, note="per axis")
    for note, array in [("", values[:11]), ("zeros", np.zeros(4, "float32")), ("positive", np.array([1, 2, 3], "float32")),
                        ("negative", np.array([-1, -2, -3], "float32")), ("large", np.array([3e38, -3e38], "float32"))]:
        c.add("DynamicQuantizeLinear", [array], outputs=3, note=note)
    a = np.array([[11, 7, 3], [255, 0, 128]], "uint8")
    b = np.array([[1, 4], [-128, 127], [3, -6]], "int8")
    c.add("MatMulInteger", [a, b], constant=(1,))
    c.add("MatMulInteger", [a, b, np.array(12, "uint8"), np.array(1, "int8")], constant=(1, 2, 3), note="zeros")
    one = np.array(0.1, "float32")
    c.add("QLinearMatMul", [a, one, np.array(128, "uint8"), b, one, np.array(0, "int8"), np.array(0.5, "float32"), np.array(128, "uint8")],
          constant=(1, 2, 3, 4, 5, 6, 7))
    image = (np.arange(32, dtype="int32") * 37 % 256).astype("uint8").reshape(1, 2, 4, 4)
    kernel = (np.arange(36, dtype="int32") * 53 % 256 - 128).astype("int8").reshape(2, 2, 3, 3)
    c.add("ConvInteger", [image, kernel], constant=(1,))
    c.add("ConvInteger", [image, kernel, np.array(128, "uint8")], constant=(1, 2), pads=[1, 1, 1, 1], note="padded")
    c.add("QLinearConv", [image, one, np.array(128, "uint8"), kernel, one, np.array(0, "int8"), np.array(2, "float32"), np.array(100, "uint8")],
          constant=(1, 2, 3, 4, 5, 6, 7), pads=[1, 1, 1, 1])
    c.add("QLinearConv", [image, one, np.array(128, "uint8"), kernel, np.array([0.1, 0.2], "float32"), np.array([0, 0], "int8"),
                          np.array(2, "float32"), np.array(100, "uint8")], constant=(1, 2, 3, 4, 5, 6, 7), note="per channel")
    # As exporters leave it: floats between quantised values.
    x = np.array([[1, -1, 0.5, 8, -8, np.inf]], "float32")
    scale, point = np.array(0.05, "float32"), np.array(128, "uint8")

    def between(op: str, **attributes: Any) -> list[Any]:
        node = h.make_node
        return [node("QuantizeLinear", ["x0", "x1", "x2"], ["q"]), node("DequantizeLinear", ["q", "x1", "x2"], ["d"]),
                node(op, ["d"], ["r"], **attributes), node("QuantizeLinear", ["r", "x1", "x2"], ["p"]),
                node("DequantizeLinear", ["p", "x1", "x2"], ["y"])]

    for op in ["Relu", "Sigmoid", "Tanh", "Softmax", "LogSoftmax", "Exp", "Abs", "Neg", "LeakyRelu", "Identity", "Sqrt"]:
        # The root of what is below 0 has no quantised value.
        c.add(op, [np.abs(x) if op == "Sqrt" else x, scale, point], constant=(1, 2), note="between quantised values", nodes=between(op))


def recurrent(c: Cases) -> None:
    steps = np.linspace(-3, 3, 24, dtype="float32").reshape(4, 2, 3)
    odd = steps.copy()
    odd[1, 0, 0], odd[2, 1, 1] = 1e30, -1e30
    nan = steps.copy()
    nan[1, 0, 0] = np.nan
    for op, gates in [("LSTM", 4), ("GRU", 3), ("RNN", 1)]:
        w = np.linspace(-1, 1, gates * 2 * 3, dtype="float32").reshape(1, gates * 2, 3)
        r = np.linspace(1, -1, gates * 2 * 2, dtype="float32").reshape(1, gates * 2, 2)
        for note, values in [("", steps), ("large", odd), ("NaN", nan)]:
            c.add(op, [values, w, r], constant=(1, 2), hidden_size=2, outputs=2, note=note)
    c.add("GRU", [steps, w[:, :1].repeat(6, 1), r[:, :1].repeat(6, 1)], constant=(1, 2), hidden_size=2, outputs=2,
          linear_before_reset=1, note="linear_before_reset")


def main() -> None:
    cases = Cases()
    for part in [elementwise, binary, casts, reductions, images, indices, quantised, recurrent]:
        part(cases)
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in cases.tensors.items()]
    rows = [json.dumps(case) for case in cases.cases]
    text = '{"tensors": {\n' + ",\n".join(lines) + '\n}, "cases": [\n' + ",\n".join(rows) + "\n]}\n"
    FILE.write_bytes(gzip.compress(text.encode(), mtime=0))
    for skipped in cases.skipped:
        print("ONNX Runtime cannot:", skipped, file=sys.stderr)
    print(f"{len(cases.cases)} cases, {len(cases.tensors)} tensors, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
