"""The constrained step of STATIC (Su et al., "Vectorizing the Trie", arXiv 2602.22647) in torch.

The trie becomes a transition matrix that never changes. The first levels are dense tables over codes; the
later ones are compressed sparse rows of (code, next state), of which each beam reads a slice as long as the
widest row of the level. Scores are log-softmax over the codebook, masked, and the K best of all beams'
candidates stay.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from sid import Trie

ABSENT = -torch.inf


class Candidates(NamedTuple):
    """Where beams can go; each [B, n, W]."""

    scores: Tensor  # float32, of the whole prefix; −inf where absent
    codes: Tensor  # int64
    states: Tensor  # int32 or int64


class Found(NamedTuple):
    """The K best, best first."""

    sids: Tensor  # int64 [B, K, L]
    log_probs: Tensor  # float32 [B, K]; −inf where fewer exist
    states: Tensor  # int64 [B, K]


@dataclass(frozen=True)
class StaticIndex:
    """The transition matrix.

    Attributes:
        start_mask: bool [V_0], codes that SIDs begin with.
        start_states: int64 [V_0], the states they lead to.
        dense_mask, dense_states: the same for pairs of codes, [V_0, V_1]; None leaves level 1 to the rows.
        indptr: int64 [n_states + 1], where the row of each state begins.
        packed: int32 [n_edges, 2], code and next state side by side.
        widths: the widest row per level.
    """

    start_mask: Tensor
    start_states: Tensor
    dense_mask: Tensor | None
    dense_states: Tensor | None
    indptr: Tensor
    packed: Tensor
    widths: tuple[int, ...]

    @classmethod
    def from_trie(
        cls,
        trie: Trie,
        codebooks: tuple[int, ...],
        dense_levels: int,
        device: torch.device | str = "cpu",
    ) -> "StaticIndex":
        """Flatten a trie that has one SID at least.

        Args:
            trie: its nodes are the states.
            codebooks: codes per level.
            dense_levels: 1 or 2.
            device: where it searches.
        """
        indptr, codes = torch.from_numpy(trie.indptr).long(), torch.from_numpy(trie.codes).long()
        children = torch.arange(1, len(codes) + 1)  # of edges
        packed = torch.stack([codes, children], dim=1).int()
        first = codes[: indptr[1]]
        start_states = torch.zeros(codebooks[0], dtype=torch.int64)
        start_states[first] = children[: len(first)]
        dense_mask = dense_states = None
        if dense_levels == 2:
            # The nodes of level 1 are 1 … n, in the order of the root's edges.
            begin, end = int(indptr[1]), int(indptr[len(first) + 1])
            degrees = indptr[2 : len(first) + 2] - indptr[1 : len(first) + 1]
            dense_states = torch.zeros(codebooks[:2], dtype=torch.int64)
            dense_states[first.repeat_interleave(degrees), codes[begin:end]] = children[begin:end]
            dense_mask = dense_states > 0
        index = cls(start_states > 0, start_states, dense_mask, dense_states, indptr, packed, trie.widths)
        tensors = {name: value.to(device) for name, value in vars(index).items() if isinstance(value, Tensor)}
        return replace(index, **tensors)

    @torch.inference_mode()
    def search(self, logits: list[Tensor], beam_width: int) -> Found:
        """Take all steps, each with given logits.

        Args:
            logits: of level 0 float32 [B, 1, V_0], of later levels [B, K, V_l].
            beam_width: K, at most V_0.
        """
        start = logits[0][:, 0].log_softmax(dim=-1).masked_fill(~self.start_mask, ABSENT)
        log_probs, codes = start.topk(beam_width)
        found = Found(codes[..., None], log_probs, self.start_states[codes])
        for level in range(1, len(logits)):
            step = logits[level].log_softmax(dim=-1)
            if level == 1 and self.dense_mask is not None:
                candidates = self._dense(found, step)
            else:
                candidates = self._sparse(found, step, level)
            found = _best(found, candidates, beam_width)
        return found

    def _dense(self, found: Found, step: Tensor) -> Candidates:
        """Mask a level over its whole codebook; of each beam's codes as many stay as can matter."""
        assert self.dense_mask is not None
        assert self.dense_states is not None
        before = found.sids[..., 0]
        most = min(self.widths[1], before.shape[1])
        masked = step.masked_fill(~self.dense_mask[before], ABSENT)
        scores, codes = masked.topk(most)
        states = self.dense_states[before[..., None], codes]
        return Candidates(scores + found.log_probs[..., None], codes, states)

    def _sparse(self, found: Found, step: Tensor, level: int) -> Candidates:
        """Read a slice of each beam's row."""
        begin = self.indptr[found.states]
        degree = self.indptr[found.states + 1] - begin
        slots = torch.arange(self.widths[level], device=begin.device)
        rows = self.packed[(begin[..., None] + slots).clamp_(max=len(self.packed) - 1)]
        # Past a row's end stand codes of other rows, at a level's end those of the next codebook.
        codes = rows[..., 0].long().clamp_(max=step.shape[-1] - 1)
        scores = step.gather(-1, codes).masked_fill_(slots >= degree[..., None], ABSENT)
        return Candidates(scores + found.log_probs[..., None], codes, rows[..., 1])


def _best(found: Found, candidates: Candidates, beam_width: int) -> Found:
    scores = candidates.scores.flatten(1)
    log_probs, chosen = scores.topk(beam_width)
    parents = chosen // candidates.scores.shape[-1]
    codes, states = (part.flatten(1).gather(1, chosen) for part in (candidates.codes, candidates.states))
    prefixes = found.sids.gather(1, parents[..., None].expand(-1, -1, found.sids.shape[-1]))
    return Found(torch.cat([prefixes, codes[..., None]], dim=-1), log_probs, states.long())
