"""The builder writes valid graphs that compute what was asked for."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from model_export.graph_builder import OPSET, GraphBuilder, Output


def test_a_graph_computes_what_its_calls_say() -> None:
    g = GraphBuilder()
    x = g.input("x", ir.DataType.FLOAT, ["B", 3])
    weight = g.weight("w", np.asarray([[1.0], [2.0], [4.0]], dtype=np.float32))
    best, position = g.top_k(g.reshape(g.MatMul(x, weight), -1), 2, largest=True)
    model = g.model(
        "sums",
        {
            "best": Output(best, ir.DataType.FLOAT, [2]),
            "position": Output(position, ir.DataType.INT64, [2]),
        },
    )
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", OPSET)]
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = np.asarray([[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]], dtype=np.float32)
    values, positions = session.run(None, {"x": rows})
    assert (values.tolist(), positions.tolist()) == ([4.0, 4.0], [1, 3])


def test_equal_constants_and_weights_are_stored_once() -> None:
    g = GraphBuilder()
    assert g.int64([1, 2]) is g.int64([1, 2])
    assert g.int64(1) is not g.int64([1])
    assert g.int64(1) is not g.int32(1)
    array = np.ones(3, dtype=np.float32)
    assert g.weight("a", array) is g.weight("a", array)
    assert g.weight("a", array) is not g.weight("b", array)


def test_a_misspelt_method_is_no_operator() -> None:
    with pytest.raises(AttributeError, match="reshap"):
        GraphBuilder().reshap()
