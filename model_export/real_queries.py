"""Texts through a graph, a batch at a time, as the torch search would answer them."""

from collections.abc import Sequence

import torch

from model_export.session import GraphSession, Prompts
from sid import Trie
from training.dataset import Dataset
from training.search import Beams, Track

BATCH = 16


def search_texts(session: GraphSession, dataset: Dataset, texts: Sequence[str], track: Track = list) -> Beams:
    """Search the SIDs of a dataset for many texts.

    Args:
        session: the graph.
        dataset: whose tokenizer and embedder read the texts.
        texts: any number.
        track: called once with the batches, as in :func:`training.search.search_queries`.
    """
    trie, parts = Trie.from_table(dataset.sids), []
    for batch in track([list(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]):
        prompts = Prompts.encode(dataset.tokenizer, batch, dataset.embed(batch))
        found = session.search(prompts, trie)
        arrays = (found.sids, found.log_probs, found.leaves, found.query_vectors)
        parts.append(Beams(*map(torch.from_numpy, arrays)))
    return Beams.concatenate(parts)
