"""What a search must find, by scoring everything."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from model_export.reference import Prompt, ReferenceDecoder
from tests.service.shop import ORDERING
from training.checkpoint import load_decoder
from training.dataset import Dataset
from training.sids.embedders import load_embedder

Keep = Callable[[dict[str, Any]], bool]


class BruteForce:
    """Every item scored for a query by the float64 reference: what a beam that holds every SID must find.

    Attributes:
        items: rows of ``items.jsonl``, by item_id.
    """

    def __init__(self, shop: Path) -> None:
        lines = (shop / "items.jsonl").read_text(encoding="utf-8").splitlines()
        self.items = {item["item_id"]: item for item in map(json.loads, lines)}
        self._shop = shop
        self._data = Dataset.load(shop / "data")

    def scores(self, variant: str, query: str, keep: Keep = lambda item: True) -> dict[str, float]:
        """Score of each item that is kept, best first."""
        bundle = self._shop / "bundles" / variant
        config = load_decoder(self._shop / variant).config
        reference = ReferenceDecoder(config, load_file(self._shop / variant / "model.safetensors"))
        embedder = load_embedder(self._shop / "data" / "embedder")
        assert embedder is not None
        prompt = Prompt(np.array(self._data.tokenizer.encode(query).ids), embedder.embed([query])[0])
        leaves = self._data.sids.leaf_of_item()
        scores = reference.log_probs(prompt, self._data.sids.codes)[leaves]
        scores += ORDERING.tau * np.load(bundle / "item_vectors.npy") @ reference.query_vector(prompt)
        scores += ORDERING.prior * np.load(bundle / "item_prior.npy")
        lexical = self._data.lexical
        bm25 = lexical.scores(lexical.query(query), np.arange(self._data.n_items))
        scores += bm25 @ [ORDERING.words, ORDERING.trigrams]
        scores += ORDERING.embedding * np.load(bundle / "item_embeddings.npy") @ prompt.embedding
        by_item = dict(zip(self._data.item_ids, scores.tolist(), strict=True))
        best = sorted(by_item, key=by_item.__getitem__, reverse=True)
        return {item_id: by_item[item_id] for item_id in best if keep(self.items[item_id])}
