"""Graphs on the disk: small ``.onnx`` files that share one file of weights."""

from pathlib import Path

import onnx
import onnx_ir as ir

from model_export.errors import ExportError

INLINE_BYTES = 1024  # smaller tensors stay in the graph


class GraphWriter:
    """Writes graphs of one decoder in one precision; their weights, alike in all of them, are written once.

    Args:
        directory: of the bundle.
        weights: name of the file that takes the weights.
    """

    def __init__(self, directory: Path, weights: str) -> None:
        self._directory = directory
        self._weights = weights
        self._written: dict[str, ir.ExternalTensor] = {}

    def write(self, model: ir.Model, file: str) -> Path:
        """Write one graph and check it against the ONNX standard.

        The first graph brings the weights. Tensors that are views, as transposed ones are, become copies one
        by one while they are written, so that writing takes little memory beside the decoder's own.

        Args:
            model: the graph; its weights point to the file afterwards.
            file: its name.

        Raises:
            ExportError: if it has a weight that the first graph had not, or is no valid ONNX.
        """
        initializers = [value for value in model.graph.initializers.values() if _is_large(value)]
        if not self._written:
            tensors = [value.const_value for value in initializers if value.const_value is not None]
            written = ir.external_data.convert_tensors_to_external(tensors, self._directory, self._weights)
            self._written = {str(tensor.name): tensor for tensor in written}
        for value in initializers:
            if value.name not in self._written:
                raise ExportError(f"{file} has a weight {value.name} that {self._weights} has not")
            value.const_value = self._written[value.name]
        path = self._directory / file
        ir.save(model, path)
        try:
            onnx.checker.check_model(path, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ExportError(f"{file} is no valid ONNX ({error}); please report this") from error
        return path


def _is_large(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.nbytes > INLINE_BYTES
