"""The trie step in a form that CUDA graphs can capture: every size is that of an input.

A captured graph replays the same kernels on the same memory, so no size may hang on values that are computed
on the way. The chunks that K beams can have at most stand in for those that they do have.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from model_export.graph_builder import GraphBuilder
from model_export.graph_search import DEAD, TrieSearch


@dataclass(frozen=True)
class CapturedTrieSearch(TrieSearch):
    """A search whose sizes are fixed while the trie is.

    Attributes:
        chunks: per level, int32 [C + 1] = 0, 1, …; see ``sid.Trie.chunk_budget``.
        codebook_sizes: V per level.
    """

    chunks: Sequence[ir.Value] = ()
    codebook_sizes: tuple[int, ...] = ()

    @classmethod
    def of_codebooks(
        cls, g: GraphBuilder, codebook_sizes: tuple[int, ...], beam_width: int, runners_up: int = 0
    ) -> "CapturedTrieSearch":
        """Declare the inputs that carry the trie and the filters."""
        measured = TrieSearch.with_inputs(g, len(codebook_sizes), beam_width, runners_up)
        chunks = [
            g.input(f"chunks_{level}", ir.DataType.INT32, [f"C_{level}_plus_1"])
            for level in range(len(codebook_sizes))
        ]
        return cls(**vars(measured), chunks=chunks, codebook_sizes=codebook_sizes)

    def _root_slots(self) -> ir.Value:
        return self._but_last(self.chunks[0], 0)

    def _chunk_numbers(self, ends: ir.Value, width: ir.Value, level: int) -> ir.Value:
        return self.chunks[level]

    def _n_codes(self, code_log_probs: ir.Value, level: int) -> ir.Value:
        return self.g.int32([self.codebook_sizes[level]])

    def _of_living(self, scores: ir.Value, alive: ir.Value) -> ir.Value:
        return self.g.Where(alive, scores, self.g.float32(DEAD))
