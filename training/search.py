"""Beam search in torch: exact over the trie of SIDs that exist, and unconstrained over all codes.

Read from top to bottom: the result, the trees to search, the prompt, one search, the entry points.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from sid import Trie
from training.dataset import Dataset
from training.model import Decoder, KeyValue, Prompts

# Log-probability of a beam that does not exist; finite, so that sums and softmax stay finite.
UNFILLED = -1e30
BATCH = 64  # texts that are tokenized and padded together
CHUNK_ELEMENTS = 2**23  # of the largest tensor of a search step; 32 MiB in float32

Track = Callable[[list[list[str]]], Iterable[list[str]]]


@dataclass(frozen=True)
class Beams:
    """The most likely SIDs of each query, best first; ties by leaf.

    Attributes:
        sids: int64 [B, K, L]; −1 where fewer than K SIDs exist.
        log_probs: float32 [B, K], log p(SID | query) over full codebooks; −1e30 where unfilled.
        leaves: int64 [B, K], leaf in the tree that was searched; −1 where unfilled.
        query_vectors: float32 [B, vector_dim], unit length.
    """

    sids: Tensor
    log_probs: Tensor
    leaves: Tensor
    query_vectors: Tensor

    @classmethod
    def concatenate(cls, parts: list["Beams"]) -> "Beams":
        """Join the answers to batches of queries, on the CPU."""
        columns = ([getattr(part, field.name).cpu() for part in parts] for field in fields(cls))
        return cls(*(torch.cat(column) for column in columns))


class Children(NamedTuple):
    """Where beams can go; each [B, beams, W], W the widest branching of the level."""

    codes: Tensor  # int64; 0 where absent
    nodes: Tensor  # int64; the root where absent
    present: Tensor  # bool


class CodeTree(Protocol):
    """A tree of codes whose nodes are numbered so that children keep their parents' order; the root is 0."""

    def children(self, nodes: Tensor, level: int) -> Children:
        """Children of nodes int64 [B, beams] at a level, by ascending code."""

    def leaves(self, nodes: Tensor) -> Tensor:
        """Leaf numbers of nodes at the last level."""


@dataclass(frozen=True)
class TrieTree:
    """A :class:`sid.Trie` on the device.

    Attributes:
        indptr, codes: as in :class:`sid.Trie`, int64.
        widths: slots per level, the largest number of children of a node.
    """

    indptr: Tensor
    codes: Tensor
    widths: tuple[int, ...]

    @classmethod
    def from_trie(cls, trie: Trie, device: torch.device | str = "cpu") -> "TrieTree":
        """Copy the trie's arrays to a device."""
        indptr = torch.from_numpy(trie.indptr).to(device, torch.int64)
        return cls(indptr, torch.from_numpy(trie.codes).to(device, torch.int64), trie.widths)

    def children(self, nodes: Tensor, level: int) -> Children:
        """Child nodes by the trie's rule: edge e leads to node e + 1."""
        slots = torch.arange(max(1, self.widths[level]), device=nodes.device)
        edges = self.indptr[nodes][..., None] + slots
        # Below level 0 the root stands for a beam that does not exist.
        present = (edges < self.indptr[nodes + 1][..., None]) & ((nodes > 0) | (level == 0))[..., None]
        # An absent slot may point into another level, where codes can be larger than this level's codebook.
        codes = self.codes[edges.clamp(max=len(self.codes) - 1)].where(present, 0)
        return Children(codes, (edges + 1).where(present, 0), present)

    def leaves(self, nodes: Tensor) -> Tensor:
        """Leaves come after the internal nodes, in the order of the SID table."""
        return nodes - (len(self.indptr) - 1)


@dataclass(frozen=True)
class CompleteTree:
    """Every combination of codes; nodes are numbered per level, in mixed radix."""

    codebook_sizes: tuple[int, ...]

    def children(self, nodes: Tensor, level: int) -> Children:
        """All codes of the level's codebook."""
        size = self.codebook_sizes[level]
        shape = (*nodes.shape, size)
        codes = torch.arange(size, device=nodes.device)
        present = torch.ones(shape, dtype=torch.bool, device=nodes.device)
        return Children(codes.expand(shape), nodes[..., None] * size + codes, present)

    def leaves(self, nodes: Tensor) -> Tensor:
        """A node of the last level is its own leaf."""
        return nodes


def prefill(decoder: Decoder, prompts: Prompts) -> tuple[Tensor, list[KeyValue]]:
    """Encode prompts once.

    Returns:
        Hidden states at [SEP], [B, d_model], and the keys and values of all T columns per layer.
    """
    hidden, past = decoder(decoder.embed_prompts(prompts), prompts.positions(), prompts.attention())
    return hidden[:, -1], past


def top(scores: Tensor, k: int) -> Tensor:
    """Choose the k best of each row; of equal scores the ones that stand first.

    Args:
        scores: float [B, M].
        k: at most M.

    Returns:
        int64 [B, k], positions in ascending order, not by score: beams then stay in the order of their nodes.
    """
    kth = scores.topk(k, dim=-1).values[:, -1:]
    above, tied = scores > kth, scores == kth
    room = k - above.sum(dim=-1, keepdim=True)
    kept = above | (tied & (tied.cumsum(dim=-1) <= room))
    return kept.nonzero()[:, 1].view(-1, k)


def take(values: Tensor, parents: Tensor) -> Tensor:
    """Give each new beam its parent's row: [B, beams, n], int64 [B, K] → [B, K, n]."""
    return values.gather(1, parents[..., None].expand(-1, -1, values.shape[-1]))


@torch.inference_mode()
def beam_search(decoder: Decoder, prompts: Prompts, tree: CodeTree, beam_width: int) -> Beams:
    """Extend beams level by level; at each keep the K best of all children of all beams.

    Every step appends one column of keys and values per beam to the prompt's and never moves one: which
    earlier columns a beam descends from is a row of the attention mask.

    Args:
        decoder: the model, on the device of all tensors.
        prompts: B queries.
        tree: the SIDs that may be found.
        beam_width: K.
    """
    tokens, mask = prompts.tokens, prompts.mask
    hidden, past = prefill(decoder, prompts)
    query_vectors = decoder.query_vectors(hidden, prompts.embeddings)
    hidden = hidden[:, None]
    sees = mask[:, None]  # bool [B, beams, columns]
    prompt_lengths = mask.sum(dim=-1, keepdim=True)
    nodes = tokens.new_zeros(len(tokens), 1)
    log_probs = query_vectors.new_zeros(len(tokens), 1)
    sids = tokens.new_zeros(len(tokens), 1, 0)
    levels = decoder.config.levels
    for level in range(levels):
        codes, children, present = tree.children(nodes, level)
        scores = log_probs[..., None] + decoder.code_log_probs(hidden, level).gather(-1, codes)
        scores = scores.where(present, UNFILLED).flatten(1)
        chosen = top(scores, min(beam_width, scores.shape[1]))
        parents = chosen // codes.shape[-1]
        log_probs, nodes = scores.gather(1, chosen), children.flatten(1).gather(1, chosen)
        new_codes = codes.flatten(1).gather(1, chosen)
        sids = torch.cat([take(sids, parents), new_codes[..., None]], dim=-1)
        if level + 1 < levels:
            n_beams = chosen.shape[1]
            itself = torch.eye(n_beams, dtype=torch.bool, device=tokens.device).expand(len(tokens), -1, -1)
            sees = torch.cat([take(sees, parents), itself], dim=-1)
            positions = (prompt_lengths + level).expand(-1, n_beams)
            hidden, past = decoder(F.embedding(new_codes, decoder.codebook(level)), positions, sees, past)
    return finished(tree, beam_width, Last(sids, log_probs, nodes), query_vectors)


class Last(NamedTuple):
    """The beams after the last step, in the order of their leaves.

    Attributes:
        sids: int64 [B, n, L].
        log_probs: float32 [B, n]; ``UNFILLED`` where fewer than n exist.
        nodes: int64 [B, n], of the tree.
    """

    sids: Tensor
    log_probs: Tensor
    nodes: Tensor


def finished(tree: CodeTree, beam_width: int, last: Last, query_vectors: Tensor) -> Beams:
    """Put the last beams in order, ties by leaf, and fill up to K.

    Args:
        tree: that was searched.
        beam_width: K.
        last: n ≤ K beams per query.
        query_vectors: float32 [B, d].
    """
    # The beams stand in the order of their leaves, so a stable sort breaks ties by leaf.
    log_probs, order = last.log_probs.sort(dim=-1, descending=True, stable=True)
    filled = log_probs > UNFILLED / 2
    padding = (0, beam_width - order.shape[1])
    return Beams(
        sids=F.pad(take(last.sids, order).where(filled[..., None], -1), (0, 0, *padding), value=-1),
        log_probs=F.pad(log_probs, padding, value=UNFILLED),
        leaves=F.pad(tree.leaves(last.nodes.gather(1, order)).where(filled, -1), padding, value=-1),
        query_vectors=query_vectors,
    )


def search_in_chunks(decoder: Decoder, prompts: Prompts, tree: CodeTree, beam_width: int) -> Iterator[Beams]:
    """Search a few queries at a time, as many as bounded memory allows."""
    # Per beam a step holds scores over a codebook and attention over the columns of all beams so far.
    widest = max(*decoder.config.codebook_sizes, beam_width * decoder.config.levels)
    rows = max(1, CHUNK_ELEMENTS // (beam_width * widest))
    for start in range(0, len(prompts), rows):
        yield beam_search(decoder, prompts[start : start + rows], tree, beam_width)


def constrained_search(decoder: Decoder, prompts: Prompts, trie: TrieTree, beam_width: int) -> Beams:
    """Find the K most likely SIDs that exist; with K ≥ the number of SIDs this is the full ranking.

    Log-probabilities are over full codebooks: what the trie forbids is left out, not renormalised.

    Args:
        decoder: the model.
        prompts: B queries.
        trie: SIDs that exist, on the decoder's device.
        beam_width: K.

    Returns:
        Beams on the CPU; ``leaves`` are rows of the SID table.
    """
    return Beams.concatenate(list(search_in_chunks(decoder, prompts, trie, beam_width)))


def unconstrained_search(decoder: Decoder, prompts: Prompts, beam_width: int) -> Beams:
    """Find the K most likely code sequences, whether items have them or not; see :func:`constrained_search`.

    ``leaves`` are numbers in the complete tree; look SIDs up with :meth:`sid.SidTable.find`.
    """
    tree = CompleteTree(decoder.config.codebook_sizes)
    return Beams.concatenate(list(search_in_chunks(decoder, prompts, tree, beam_width)))


def encode_prompts(tokenizer: Tokenizer, queries: Sequence[str], embeddings: NDArray[np.float32]) -> Prompts:
    """Make prompts of texts.

    Args:
        tokenizer: of the data directory, which pads.
        queries: B ≥ 1 texts.
        embeddings: float32 [B, embedding_dim], theirs.
    """
    encodings = tokenizer.encode_batch(list(queries))
    tokens = torch.tensor([encoding.ids for encoding in encodings])
    mask = torch.tensor([encoding.attention_mask for encoding in encodings]).bool()
    return Prompts(tokens, mask, torch.from_numpy(embeddings))


def search_queries(
    dataset: Dataset,
    queries: Sequence[str],
    search: Callable[[Prompts], Beams],
    device: torch.device,
    track: Track = list,
) -> Beams:
    """Search texts, a batch at a time.

    Args:
        dataset: its tokenizer makes prompts, and it knows the embeddings of its queries.
        queries: at least one query of the dataset.
        search: what finds the beams.
        device: where the search runs.
        track: passes the batches on, for instance through a progress bar.
    """
    parts = []
    batches = [list(queries[start : start + BATCH]) for start in range(0, len(queries), BATCH)]
    for batch in track(batches):
        prompts = encode_prompts(dataset.tokenizer, batch, dataset.embed(batch))
        parts.append(search(prompts.to(device)))
    return Beams.concatenate(parts)
