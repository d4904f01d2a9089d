"""The trie step of the beam search as ONNX nodes (DESIGN §9): children, their scores, the K best of them.

A level's cost follows the children that the live beams have, not the widest branching: the children of a node
are cut into chunks of W, and the chunks of all beams of a query stand behind one another. A skewed codebook,
with few nodes of many children, then costs what its beams need, and any W gives the same answers.

Sizes in shapes: B queries, n beams (1 at the root, then K), V codes of a codebook, C chunks of W slots.
"""

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
        sids: int32 [B, n, l]; None at the root.
    """

    nodes: ir.Value
    log_probs: ir.Value
    sids: ir.Value | None


@dataclass(frozen=True)
class Children:
    """What n beams can become, in the order of their nodes wherever they are alive.

    Attributes:
        nodes, codes: int32 [B, C · W].
        log_probs: float32 [B, C · W]; ``DEAD`` in slots without a child.
        beams: int32 [B, C], whose children each chunk has.
    """

    nodes: ir.Value
    codes: ir.Value
    log_probs: ir.Value
    beams: ir.Value


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
        slots: per level, int32 [W] = 0, 1, …, of a chunk; see ``sid.Trie.graph_inputs``.
        alive: bool [F · n_nodes], flat.
        filter_start: int64 [B], where in ``alive`` each query's filter begins.
        runners_up: R, how many of the pruned prefixes are ranked, too.
    """

    g: GraphBuilder
    beam_width: int
    indptr: ir.Value
    codes: ir.Value
    first_leaf: ir.Value
    slots: list[ir.Value]
    alive: ir.Value
    filter_start: ir.Value
    runners_up: int = 0

    @classmethod
    def with_inputs(cls, g: GraphBuilder, levels: int, beam_width: int, runners_up: int = 0) -> "TrieSearch":
        """Declare the inputs that carry the trie and the filters."""
        indptr = g.input("trie_indptr", ir.DataType.INT32, ["n_internal_plus_1"])
        codes = g.input("trie_codes", ir.DataType.INT32, ["n_edges"])
        first_leaf = g.input("first_leaf", ir.DataType.INT32, [1])
        slots = [g.input(f"slots_{level}", ir.DataType.INT32, [f"W_{level}"]) for level in range(levels)]
        alive = g.input("alive", ir.DataType.BOOL, ["all_filters"])
        filter_start = g.input("filter_start", ir.DataType.INT64, ["B"])
        return cls(g, beam_width, indptr, codes, first_leaf, slots, alive, filter_start, runners_up)

    def root(self) -> Beams:
        """One beam per query, at the root."""
        nodes = self.g.Cast(self._zeros(), to=ir.DataType.INT32)
        return Beams(nodes, self.g.Cast(nodes, to=ir.DataType.FLOAT), None)

    def children(self, beams: Beams, code_log_probs: ir.Value, level: int) -> Children:
        """Walk all edges of all beams.

        Args:
            beams: n beams per query.
            code_log_probs: float32 [B, n, V], of the codes of ``level``.
            level: of the children.
        """
        g, slots = self.g, self.slots[level]
        first = g.Gather(self.indptr, beams.nodes, axis=0)
        end = g.Gather(self.indptr, g.Add(beams.nodes, g.int32(1)), axis=0)
        degree = g.Sub(end, first)
        # Children of dead beams are dead: no chunks for them.
        beam, offset = self._chunks(g.Where(self._filled(beams.log_probs), degree, g.int32(0)), level)

        def of_beam(values: ir.Value) -> ir.Value:
            """[B, n] → [B, C, 1], of the beam that each chunk belongs to."""
            return g.unsqueeze(g.GatherElements(values, beam, axis=1), 2)

        child, n_children = g.Add(offset, slots), of_beam(degree)
        # A slot past the last child repeats that child and is dead. Only the root of an empty trie has no
        # child: its slots become edge −1, which Gather takes for the last edge, and lead back to node 0.
        edges = g.Add(of_beam(first), g.Min(child, g.Sub(n_children, g.int32(1))))
        codes = g.Gather(self.codes, edges, axis=0)
        nodes = g.Add(edges, g.int32(1))
        places = g.Add(g.unsqueeze(self.filter_start, 1, 2), g.Cast(nodes, to=ir.DataType.INT64))
        unfiltered = g.Gather(self.alive, places, axis=0)
        alive = g.And(g.Less(child, n_children), unfiltered)
        # One index into the scores of all beams of a query: int32 holds K · V.
        first_codes = g.Mul(g.unsqueeze(beam, 2), self._n_codes(code_log_probs, level))
        scored = g.reshape(g.Add(first_codes, codes), 0, -1)
        of_code = g.GatherElements(g.reshape(code_log_probs, 0, -1), scored, axis=1)
        scores = g.Add(of_beam(beams.log_probs), g.Reshape(of_code, g.Shape(codes)))
        scores = g.Where(alive, scores, g.float32(DEAD))
        return Children(g.reshape(nodes, 0, -1), g.reshape(codes, 0, -1), g.reshape(scores, 0, -1), beam)

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
            g.Mul(g.Cast(self._zeros(), to=ir.DataType.INT32), chunks),
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
        """One per query, int64 [B, 1]; of an input, so that no size has to come from the host."""
        return self.g.unsqueeze(self.g.Mul(self.filter_start, self.g.int64(0)), 1)

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
        ranked_log_probs, ranked = g.top_k(
            children.log_probs, self.beam_width + self.runners_up, largest=True
        )
        ranked_nodes = g.Where(
            self._filled(ranked_log_probs), g.GatherElements(children.nodes, ranked, axis=1), g.int32(-1)
        )
        chosen = g.Slice(ranked, g.int64([0]), g.int64([self.beam_width]), g.int64([1]))
        if in_trie_order:
            chosen, _ = g.top_k(chosen, self.beam_width, largest=False)
        nodes, codes, log_probs = (
            g.GatherElements(values, chosen, axis=1)
            for values in (children.nodes, children.codes, children.log_probs)
        )
        chunks = g.Div(chosen, g.Cast(self._width(level), to=ir.DataType.INT64))
        beam = g.Cast(g.GatherElements(children.beams, chunks, axis=1), to=ir.DataType.INT64)
        n_beams = 1 if level == 0 else self.beam_width
        # The row of each query's first beam among the flattened [B · n] beams.
        row = g.Sub(g.CumSum(g.Add(self._zeros(), g.int64(1)), g.int64(0)), g.int64(1))
        parents = g.Add(beam, g.Mul(row, g.int64(n_beams)))
        sids = g.unsqueeze(codes, 2)
        if beams.sids is not None:
            prefixes = g.Gather(g.reshape(beams.sids, -1, level), parents, axis=0)
            sids = g.Concat(prefixes, sids, axis=2)
        return Choice(Beams(nodes, log_probs, sids), codes, parents, ranked_nodes, ranked_log_probs)

    def answer(self, beams: Beams) -> tuple[ir.Value, ir.Value, ir.Value]:
        """SIDs int32 [B, K, L], log-probabilities float32 [B, K], leaves int32 [B, K] of the last beams."""
        g = self.g
        filled = self._filled(beams.log_probs)
        leaves = g.Where(filled, g.Sub(beams.nodes, self.first_leaf), g.int32(-1))
        return g.Where(g.unsqueeze(filled, 2), beams.sids, g.int32(-1)), beams.log_probs, leaves

    def _filled(self, log_probs: ir.Value) -> ir.Value:
        """Whether each beam or child exists, bool [B, n]."""
        return self.g.Greater(log_probs, self.g.float32(DEAD / 2))
