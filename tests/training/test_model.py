"""What the decoder makes of the embedding of a query. Layers: test_qwen3; searches: test_search."""

import pytest
import torch

from training.model import Decoder, DecoderConfig, Prompts


def make_decoder(embedding_dim: int, vector_dim: int) -> Decoder:
    torch.manual_seed(0)
    return Decoder(DecoderConfig(30, (5, 6), embedding_dim=embedding_dim, vector_dim=vector_dim))


@pytest.mark.parametrize(("embedding_dim", "vector_dim"), [(6, 6), (6, 10)])
def test_before_training_vectors_are_compared_as_their_embeddings(
    embedding_dim: int, vector_dim: int
) -> None:
    decoder = make_decoder(embedding_dim, vector_dim)
    queries, items = torch.randn(4, embedding_dim), torch.randn(7, embedding_dim)
    hidden = torch.randn(4, decoder.config.d_model)
    with torch.no_grad():
        found = decoder.query_vectors(hidden, queries) @ decoder.item_vectors(items).T
    expected = torch.cosine_similarity(queries[:, None], items[None], dim=-1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_fewer_dimensions_keep_a_projection() -> None:
    """Rows of the map stay orthogonal, so that a cosine is that of what is left of both embeddings."""
    weight = make_decoder(12, 5).item_head.weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(5), atol=1e-5, rtol=0)


def test_only_sep_carries_the_embedding() -> None:
    decoder = make_decoder(6, 4)
    tokens, mask = (
        torch.tensor([[0, 1, 9, 2], [1, 9, 9, 2]]),
        torch.tensor([[False] + [True] * 3, [True] * 4]),
    )
    embeddings = torch.randn(2, 6)
    with torch.no_grad():
        plain = decoder.embed_tokens(tokens)
        added = decoder.embed_prompts(Prompts(tokens, mask, embeddings)) - plain
        nothing = decoder.embed_prompts(Prompts(tokens, mask, torch.zeros(2, 6))) - plain
    assert not nothing.any()
    assert not added[:, :-1].any()
    torch.testing.assert_close(added[:, -1], embeddings @ decoder.query_projection.weight.T)


def test_prompts_are_cut_and_counted_row_by_row() -> None:
    tokens = torch.tensor([[0, 0, 1, 2], [1, 9, 9, 2], [0, 1, 9, 2]])
    prompts = Prompts(tokens, tokens > 0, torch.arange(3.0)[:, None])
    assert len(prompts) == 3
    assert prompts[1:].tokens.tolist() == tokens[1:].tolist()
    assert prompts[::2].embeddings.tolist() == [[0], [2]]
    assert prompts.positions().tolist() == [[0, 0, 0, 1], [0, 1, 2, 3], [0, 0, 1, 2]]
    attention = prompts.attention()
    for row, mask in enumerate(prompts.mask.tolist()):
        for looks in range(4):
            seen = [column for column in range(4) if attention[row, looks, column]]
            assert seen == sorted({looks, *(column for column in range(looks) if mask[column])})
