"""All contenders of ``radsearch bench decode`` decode the same."""

import numpy as np
import pytest
import torch

from benchmarks.decode.setup import Setup, Shape, for_graph, random_table
from training.tokenizer import BOS, EOS, SEP

TINY = Shape(d_model=32, n_layers=2, vocab_size=40, codebooks=(9, 7, 8), n_sids=60, prompt_tokens=6)


def test_the_main_shape_is_the_one_that_figures_are_of() -> None:
    config = Shape().config()
    assert (config.d_model, config.n_layers, config.d_ff, config.vocab_size) == (256, 4, 768, 4096)
    assert (config.n_heads, config.n_kv_heads, config.head_dim) == (4, 2, 64)
    assert Shape(d_model=512, n_layers=8).config().n_heads == 8
    assert (Shape().name, Shape().n_sids) == ("256x4", 50_000)


def test_a_seed_gives_one_setup() -> None:
    first, again, other = Setup.make(TINY, 3), Setup.make(TINY, 3), Setup.make(TINY, 4)
    for one, same in zip(first.decoder.parameters(), again.decoder.parameters(), strict=True):
        assert torch.equal(one, same)
    assert np.array_equal(first.table.codes, again.table.codes)
    assert not np.array_equal(first.table.codes, other.table.codes)
    assert torch.equal(first.prompts(4).tokens, again.prompts(4).tokens)


def test_prompts_are_full_and_tell_the_decoder_nothing_but_tokens() -> None:
    prompts = Setup.make(TINY, 0).prompts(5)
    assert prompts.tokens.shape == (5, 6)
    assert bool((prompts.tokens[:, 0] == BOS).all()) and bool((prompts.tokens[:, -1] == SEP).all())
    assert int(prompts.tokens[:, 1:-1].min()) > EOS
    assert bool(prompts.mask.all())
    assert not prompts.embeddings.any()
    arrays = for_graph(prompts)
    assert np.array_equal(arrays.tokens, prompts.tokens.numpy())
    assert arrays.mask.dtype == bool


@pytest.mark.parametrize("skew", [0.0, 1.1])
def test_as_many_distinct_sids_as_asked_for(skew: float) -> None:
    table = random_table(700, (20, 10, 15), skew, seed=0)
    assert table.n_leaves == table.n_items == 700
    assert table.codebook_sizes == (20, 10, 15)


def test_a_skewed_level_has_codes_of_its_own_that_many_sids_share() -> None:
    table = random_table(2_000, (100, 100, 100), 1.1, seed=0)
    counts = [np.bincount(level, minlength=100) for level in table.codes.T]
    assert all(count.max() > 5 * np.median(count) for count in counts)
    assert len({int(count.argmax()) for count in counts}) > 1


def test_more_sids_than_combinations_are_an_error() -> None:
    with pytest.raises(ValueError, match="25 distinct SIDs asked for"):
        random_table(25, (4, 6), 0.0, seed=0)
