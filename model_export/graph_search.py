"""The trie step of the beam search as ONNX nodes (DESIGN §9): children, their scores, the K best of them.

A level's cost follows the children that the live beams have, not the widest branching: the children of a node
are cut into chunks of W, and the chunks of all beams of a query stand behind one another. A skewed codebook,
with few nodes of many children, then costs what its beams need, and any W gives the same answers.

Sizes in shapes: B queries, n beams (1 at the root, then K), V codes of a codebook, C chunks of W slots.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from model_export.graph_builder import GraphBuilder

# Score of a beam that does not exist. Finite, so that no later sum is NaN, and so low that adding a
# log-probability changes nothing (−1e30 − 20 is −1e30 in float32): the children of a dead beam are dead.
DEAD = -1e30


@dataclass(frozen=True)
class Beams:
    """Prefixes of SIDs, in the order of their nodes: then equal scores come in the order of their leaves.

    Attributes:
        nodes: int32 [B, n].
        log_probs: float32 [B, n]; ``DEAD`` where fewer than n prefixes exist.
        codes: of each level so far, int32 [B, n].
    """

    nodes: ir.Value
    log_probs: ir.Value
    codes: tuple[ir.Value, ...]


@dataclass(frozen=True)
class Children:
    """What n beams can become, in the order of their edges wherever they are alive.

    Attributes:
        edges, codes: int32 [B, C · W]; edge e leads to node e + 1.
        log_probs: float32 [B, C · W]; ``DEAD`` in slots without a child.
        beams: int32 [B, C], whose children each chunk has; None at the root, which is the only beam.
    """

    edges: ir.Value
    codes: ir.Value
    log_probs: ir.Value
    beams: ir.Value | None


@dataclass(frozen=True)
class Choice:
    """K beams chosen among children.

    Attributes:
        beams: the new beams.
        codes: int32 [B, K], the newest code of each.
        parents: int64 [B, K], rows of the flattened [B · n] beams they descend from.
        ranked_nodes: int32 [B, K + R], the K chosen ones and the R best of those pruned, best first; −1 where
            there are fewer.
        ranked_log_probs: float32 [B, K + R]; ``DEAD`` there.
    """

    beams: Beams
    codes: ir.Value
    parents: ir.Value
    ranked_nodes: ir.Value
    ranked_log_probs: ir.Value


@dataclass(frozen=True)
class TrieSearch:
    """Adds the steps of a search in a trie to a graph; the trie is an input, see ``sid.Trie``.

    Attributes:
        g: the graph that is being built.
        beam_width: K.
        indptr, codes: the trie's arrays.
        first_leaf: int32 [1], its node.
        slots: by level, from 1 on, int32 [W] = 0, 1, …, of a chunk; see ``sid.Trie.graph_inputs``.
        alive: bool [F · n_nodes], flat.
        filter_start: int32 [B], where in ``alive`` each query's filter begins.
        runners_up: R, how many of the pruned prefixes are ranked, too.
    """

    g: GraphBuilder
    beam_width: int
    indptr: ir.Value
    codes: ir.Value
    first_leaf: ir.Value
    slots: Mapping[int, ir.Value]
    alive: ir.Value
    filter_start: ir.Value
    runners_up: int = 0

    @classmethod
    def with_inputs(cls, g: GraphBuilder, levels: int, beam_width: int, runners_up: int = 0) -> "TrieSearch":
        """Declare the inputs that carry the trie and the filters."""
        indptr = g.input("trie_indptr", ir.DataType.INT32, ["n_internal_plus_1"])
        codes = g.input("trie_codes", ir.DataType.INT32, ["n_edges"])
        first_leaf = g.input("first_leaf", ir.DataType.INT32, [1])
        slots = {
            level: g.input(f"slots_{level}", ir.DataType.INT32, [f"W_{level}"]) for level in range(1, levels)
        }
        alive = g.input("alive", ir.DataType.BOOL, ["all_filters"])
        filter_start = g.input("filter_start", ir.DataType.INT32, ["B"])
        return cls(g, beam_width, indptr, codes, first_leaf, slots, alive, filter_start, runners_up)

    def root(self) -> Beams:
        """One beam per query, at the root."""
        nodes = self._zeros()
        return Beams(nodes, self.g.Cast(nodes, to=ir.DataType.FLOAT), ())

    def children(self, beams: Beams, code_log_probs: ir.Value, level: int) -> Children:
        """Walk all edges of all beams.

        Args:
            beams: n beams per query.
            code_log_probs: float32 [B, n, V], of the codes of ``level``.
            level: of the children.
        """
        return self._of_root(code_log_probs) if level == 0 else self._of_beams(beams, code_log_probs, level)

    def _of_root(self, code_log_probs: ir.Value) -> Children:
        """The root's children, which are the same for all queries."""
        g = self.g
        edges = self._root_slots()
        is_child = g.Less(edges, g.Gather(self.indptr, g.int64([1]), axis=0))
        edges, codes = self._read(edges, self._n_codes(code_log_probs, 0))
        of_code = g.Gather(g.Squeeze(code_log_probs, g.int64([1])), codes, axis=1)
        everywhere, codes = g.Add(self._zeros(), edges), g.Add(self._zeros(), codes)
        scores = g.Where(g.And(is_child, self._is_left(everywhere)), of_code, g.float32(DEAD))
        return Children(everywhere, codes, scores, None)

    def _of_beams(self, beams: Beams, code_log_probs: ir.Value, level: int) -> Children:
        g, slots = self.g, self.slots[level]
        first = g.Gather(self.indptr, beams.nodes, axis=0)
        end = g.Gather(self.indptr, g.Add(beams.nodes, g.int32(1)), axis=0)
        degree = g.Sub(end, first)
        # Children of dead beams are dead: no chunks for them.
        beam, offset = self._chunks(g.Where(self._filled(beams.log_probs), degree, g.int32(0)), level)

        def of_beam(values: ir.Value) -> ir.Value:
            """[B, n] → [B, C, 1], of the beam that each chunk belongs to."""
            return g.unsqueeze(g.GatherElements(values, beam, axis=1), 2)

        edges = g.reshape(g.Add(g.Add(of_beam(first), offset), slots), 0, -1)
        is_child = g.Less(slots, g.Sub(of_beam(degree), offset))
        n_codes = self._n_codes(code_log_probs, level)
        edges, codes = self._read(edges, n_codes)
        # One index into the scores of all beams of a query: int32 holds K · V.
        in_chunks = g.Shape(is_child)
        scored = g.Add(g.Mul(g.unsqueeze(beam, 2), n_codes), g.Reshape(codes, in_chunks))
        of_code = g.GatherElements(g.reshape(code_log_probs, 0, -1), g.reshape(scored, 0, -1), axis=1)
        scores = g.Add(of_beam(beams.log_probs), g.Reshape(of_code, in_chunks))
        alive = g.And(g.reshape(is_child, 0, -1), self._is_left(edges))
        return Children(edges, codes, self._of_living(g.reshape(scores, 0, -1), alive), beam)

    def _of_living(self, scores: ir.Value, alive: ir.Value) -> ir.Value:
        """Scores where alive, else ``DEAD``: what Where would do, in half its time on a CPU."""
        g = self.g
        # 0 or DEAD is added, and no sum lies below DEAD.
        penalty = g.Mul(g.Sub(g.float32(1.0), g.Cast(alive, to=ir.DataType.FLOAT)), g.float32(DEAD))
        return g.Max(g.Add(scores, penalty), g.float32(DEAD))

    def _read(self, edges: ir.Value, n_codes: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Edges, held to those that exist, and their codes, held to a codebook.

        A slot past a node's last child reads what stands there: an edge of another node, perhaps of another
        level. It is dead, but must not lead out of any array.
        """
        g = self.g
        n_edges = g.last(self.indptr, 0)
        edges = g.Min(edges, g.Sub(n_edges, g.int32(1)))
        return edges, g.Min(self._elements(self.codes, edges), g.Sub(n_codes, g.int32(1)))

    def _is_left(self, edges: ir.Value) -> ir.Value:
        """Whether a filter leaves over the nodes behind edges [B, n]."""
        g = self.g
        first_place = g.unsqueeze(g.Add(self.filter_start, g.int32(1)), 1)  # of the node behind edge 0
        return self._elements(self.alive, g.Add(first_place, edges))

    def _elements(self, array: ir.Value, places: ir.Value) -> ir.Value:
        """Elements of a vector, in the shape of their places; on a CPU several times as fast as by Gather."""
        g = self.g
        return g.Reshape(g.GatherElements(array, g.reshape(places, -1), axis=0), g.Shape(places))

    def _root_slots(self) -> ir.Value:
        """0, 1, …, int32: one for each child of the root, and as many as are to be chosen."""
        g = self.g
        degree = g.Gather(self.indptr, g.int64([1]), axis=0)
        n_slots = g.Max(degree, g.int32([self.beam_width + self.runners_up]))
        return g.Range(g.int32(0), g.Squeeze(n_slots), g.int32(1))

    def _chunks(self, degree: ir.Value, level: int) -> tuple[ir.Value, ir.Value]:
        """Lay the chunks of all beams behind one another.

        Args:
            degree: int32 [B, n], children of each beam that are to be looked at.
            level: of the children.

        Returns:
            The beam of each chunk, int32 [B, C], and how many of its children come before the chunk, int32
            [B, C, 1]. Of all queries the one with most chunks decides C; chunks past a query's own belong to
            its last beam and have no child left.
        """
        g = self.g
        width = self._width(level)
        per_beam = self._divided_up(degree, width)
        ends = g.CumSum(per_beam, g.int64(1))
        starts = g.Sub(ends, per_beam)
        chunks = self._chunk_numbers(ends, width, level)
        # Counting the beams that begin up to a chunk gives its beam. Those without chunks at the end begin
        # one past the last chunk.
        begins = g.ScatterElements(
            g.Mul(self._zeros(), chunks),
            starts,
            g.Add(g.Mul(starts, g.int32(0)), g.int32(1)),
            axis=1,
            reduction="add",
        )
        counted = g.CumSum(begins, g.int64(1))
        beam = g.Sub(self._but_last(counted, 1), g.int32(1))
        chunk = g.Sub(self._but_last(chunks, 0), g.GatherElements(starts, beam, axis=1))
        return beam, g.unsqueeze(g.Mul(chunk, width), 2)

    def _chunk_numbers(self, ends: ir.Value, width: ir.Value, level: int) -> ir.Value:
        """0, 1, … C, int32 [C + 1].

        Args:
            ends: int32 [B, n], chunks of each beam and all before it.
            width: int32 [1], W.
            level: of the children.
        """
        g = self.g
        # The best are taken among the slots, so there have to be as many.
        n_ranked = g.int32([self.beam_width + self.runners_up])
        most = g.Max(g.ReduceMax(ends, keepdims=0), self._divided_up(n_ranked, width))
        return g.Range(g.int32(0), g.Squeeze(g.Add(most, g.int32(1))), g.int32(1))

    def _n_codes(self, code_log_probs: ir.Value, level: int) -> ir.Value:
        """Size of the codebook, int32 [1]."""
        return self.g.Cast(self.g.size(code_log_probs, 2), to=ir.DataType.INT32)

    def _width(self, level: int) -> ir.Value:
        """W of a level, int32 [1]."""
        return self.g.Add(self.g.last(self.slots[level], 0), self.g.int32(1))

    def _but_last(self, x: ir.Value, axis: int) -> ir.Value:
        """All but the last along an axis."""
        return self.g.Slice(x, self.g.int64([0]), self.g.int64([-1]), self.g.int64([axis]))

    def _zeros(self) -> ir.Value:
        """One per query, int32 [B, 1]; of an input, so that no size has to come from the host."""
        return self.g.unsqueeze(self.g.Mul(self.filter_start, self.g.int32(0)), 1)

    def _divided_up(self, x: ir.Value, width: ir.Value) -> ir.Value:
        """⌈x / width⌉ of int32."""
        g = self.g
        return g.Div(g.Add(x, g.Sub(width, g.int32(1))), width)

    def best(self, children: Children, beams: Beams, level: int, in_trie_order: bool) -> Choice:
        """Choose the K best children; of equal ones those with the lowest nodes.

        Args:
            children: of ``beams``.
            beams: n beams per query.
            level: of the children.
            in_trie_order: order by node, as a further step needs it; else by score.
        """
        g = self.g
        # What is ordered by node next, and explains nothing, need not be ordered by score.
        in_order = not in_trie_order or self.runners_up > 0
        ranked_log_probs, ranked = g.top_k(
            children.log_probs, self.beam_width + self.runners_up, largest=True, in_order=in_order
        )
        ranked_nodes = g.Where(
            self._filled(ranked_log_probs),
            g.Add(g.GatherElements(children.edges, ranked, axis=1), g.int32(1)),
            g.int32(-1),
        )
        chosen = g.Slice(ranked, g.int64([0]), g.int64([self.beam_width]), g.int64([1]))
        if in_trie_order:
            chosen, _ = g.top_k(chosen, self.beam_width, largest=False)
        edges, codes, log_probs = (
            g.GatherElements(values, chosen, axis=1)
            for values in (children.edges, children.codes, children.log_probs)
        )
        # What is dead goes back to the root, from where every step is safe.
        nodes = g.Where(self._filled(log_probs), g.Add(edges, g.int32(1)), g.int32(0))
        # The row of each query among the flattened [B · n] beams.
        query = g.Cast(g.CumSum(g.Add(self._zeros(), g.int32(1)), g.int64(0)), to=ir.DataType.INT64)
        first_beam = g.Mul(g.Sub(query, g.int64(1)), g.int64(self.beam_width))
        if children.beams is None:
            parents = g.Add(g.Sub(query, g.int64(1)), g.Mul(chosen, g.int64(0)))
        else:
            chunks = g.Div(chosen, g.Cast(self._width(level), to=ir.DataType.INT64))
            beam = g.GatherElements(children.beams, chunks, axis=1)
            parents = g.Add(g.Cast(beam, to=ir.DataType.INT64), first_beam)
        prefixes = (g.Gather(g.reshape(earlier, -1), parents, axis=0) for earlier in beams.codes)
        return Choice(
            Beams(nodes, log_probs, (*prefixes, codes)), codes, parents, ranked_nodes, ranked_log_probs
        )

    def answer(self, beams: Beams) -> tuple[ir.Value, ir.Value, ir.Value]:
        """SIDs int32 [B, K, L], log-probabilities float32 [B, K], leaves int32 [B, K] of the last beams."""
        g = self.g
        filled = self._filled(beams.log_probs)
        leaves = g.Where(filled, g.Sub(beams.nodes, self.first_leaf), g.int32(-1))
        sids = g.Concat(*(g.unsqueeze(codes, 2) for codes in beams.codes), axis=2)
        return g.Where(g.unsqueeze(filled, 2), sids, g.int32(-1)), beams.log_probs, leaves

    def _filled(self, log_probs: ir.Value) -> ir.Value:
        """Whether each beam or child exists, bool [B, n]."""
        return self.g.Greater(log_probs, self.g.float32(DEAD / 2))
