"""Writing an ONNX graph as one writes NumPy: each call adds a node and returns its output."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

OPSET = 23  # the first with RMSNormalization and RotaryEmbedding
CONTRIB = "com.microsoft"
IR_VERSION = 11  # the oldest that knows this opset

Shape = Sequence[int | str]  # a string names a size that is known at run time


class Output(NamedTuple):
    """One output of a graph."""

    value: ir.Value
    dtype: ir.DataType
    shape: Shape


class GraphBuilder:
    """Collects the nodes, inputs and constants of one graph.

    Every operator of ONNX is a method: positional arguments are its inputs, keyword arguments its
    attributes, as in ``g.Gather(table, rows, axis=0)``. Methods in lower case are the builder's own.
    """

    def __init__(self) -> None:
        self._tape = ir.tape.Tape()
        self._inputs: list[ir.Value] = []
        self._weights: dict[str, ir.Value] = {}
        self._contrib = False
        self._constants: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}

    def __getattr__(self, op_type: str) -> Callable[..., ir.Value]:
        if not op_type[0].isupper():
            raise AttributeError(op_type)

        def add(*inputs: ir.Value, **attributes: int | float | str | Sequence[int]) -> ir.Value:
            return self._tape.op(op_type, inputs, attributes)

        return add

    def input(self, name: str, dtype: ir.DataType, shape: Shape) -> ir.Value:
        """Declare an input of the graph."""
        value = ir.val(name, dtype, shape)
        self._inputs.append(value)
        return value

    def contrib(self, op_type: str, *inputs: ir.Value, **attributes: float) -> ir.Value:
        """Add one of onnxruntime's own operators."""
        self._contrib = True
        return self._tape.op(op_type, inputs, attributes, domain=CONTRIB)

    def weight(self, name: str, array: NDArray[Any]) -> ir.Value:
        """Keep an array in the graph under its name; the same name gives the same array again."""
        if name not in self._weights:
            self._weights[name] = self._tape.initializer(ir.tensor(array, name=name))
        return self._weights[name]

    def int64(self, value: int | Sequence[int]) -> ir.Value:
        """A constant scalar or vector: sizes, axes, positions."""
        return self._constant(np.asarray(value, np.int64))

    def int32(self, value: int | Sequence[int]) -> ir.Value:
        """A constant scalar or vector: nodes, codes, leaves."""
        return self._constant(np.asarray(value, np.int32))

    def float32(self, value: float | Sequence[float]) -> ir.Value:
        """A constant scalar or vector: scores, log-probabilities."""
        return self._constant(np.asarray(value, np.float32))

    def float16(self, value: float | Sequence[float]) -> ir.Value:
        """A constant scalar or vector among activations in half precision."""
        return self._constant(np.asarray(value, np.float16))

    def size(self, x: ir.Value, axis: int) -> ir.Value:
        """The size of one axis, int64 [1]."""
        return self.Shape(x, start=axis, end=axis + 1)

    def reshape(self, x: ir.Value, *shape: int) -> ir.Value:
        """Reshape; 0 keeps the size of that axis, −1 stands for what is left."""
        return self.Reshape(x, self.int64(shape))

    def unsqueeze(self, x: ir.Value, *axes: int) -> ir.Value:
        """Insert axes of size 1."""
        return self.Unsqueeze(x, self.int64(axes))

    def last(self, x: ir.Value, axis: int) -> ir.Value:
        """The last entry along an axis, whose size becomes 1."""
        return self.Gather(x, self.int64([-1]), axis=axis)

    def top_k(self, x: ir.Value, k: int, largest: bool, in_order: bool = True) -> tuple[ir.Value, ir.Value]:
        """The k extreme values of the last axis, and their positions; ties by position."""
        values, positions = self._tape.op_multi_out(
            "TopK",
            [x, self.int64([k])],
            {"axis": -1, "largest": int(largest), "sorted": int(in_order)},
            num_outputs=2,
        )
        return values, positions

    def add_and_norm(
        self, x: ir.Value, addend: ir.Value, weight: ir.Value, epsilon: float
    ) -> tuple[ir.Value, ir.Value]:
        """Sum and, by one of onnxruntime's own operators, its RMSNorm over the last axis."""
        self._contrib = True
        normed, mean, deviation, total = self._tape.op_multi_out(
            "SkipSimplifiedLayerNormalization",
            [x, addend, weight],
            {"epsilon": epsilon},
            num_outputs=4,
            domain=CONTRIB,
        )
        mean.name = deviation.name = ""  # not asked for
        return total, normed

    def attention(
        self,
        queries: ir.Value,
        keys: ir.Value,
        values: ir.Value,
        bias: ir.Value,
        *past: ir.Value,
        **heads: int,
    ) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Grouped-query attention whose queries are scaled already.

        Args:
            queries: [B, S, heads · D].
            keys: [B, T, kv_heads · D].
            values: likewise.
            bias: added to scores, [B, 1, S, P + T].
            past: keys and values of P earlier columns, [B, kv_heads, P, D] each, or none.
            heads: q_num_heads and kv_num_heads.

        Returns:
            Mixed values like ``queries``; keys and values of all columns, as ``past`` takes them.
        """
        mixed, all_keys, all_values = self._tape.op_multi_out(
            "Attention", [queries, keys, values, bias, *past], {"scale": 1.0, **heads}, num_outputs=3
        )
        return mixed, all_keys, all_values

    def model(self, name: str, outputs: Mapping[str, Output]) -> ir.Model:
        """Close the graph and say what it gives."""
        for output_name, output in outputs.items():
            value = output.value
            value.name, value.dtype, value.shape = output_name, output.dtype, ir.Shape(output.shape)
        graph = ir.Graph(
            inputs=self._inputs,
            outputs=[output.value for output in outputs.values()],
            nodes=self._tape.nodes,
            initializers=self._tape.initializers,
            opset_imports={"": OPSET, CONTRIB: 1} if self._contrib else {"": OPSET},
            name=name,
        )
        model = ir.Model(graph, ir_version=IR_VERSION, producer_name="radsearch")
        _remove_unused(graph)
        return model

    def _constant(self, array: NDArray[Any]) -> ir.Value:
        key = (array.dtype.name, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"{array.dtype.name}_{len(self._constants)}"
            self._constants[key] = self._tape.initializer(ir.tensor(array, name=name))
        return self._constants[key]


def _remove_unused(graph: ir.Graph) -> None:
    """Remove nodes and constants that no output needs.

    Nodes that stay keep all their outputs: onnxruntime's Attention must give the columns that it has if it
    takes a past, wanted or not.
    """
    for node in reversed(graph):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]
