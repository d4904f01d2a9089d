"""The graph's search in eager torch: the prompt's keys shared by all beams, a CSR trie, K best per level."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.model import NOT_SEEN, Attention, Decoder, KeyValue, Layer, Prompts, rotary, rotate
from training.search import UNFILLED, Beams, Last, TrieTree, finished, take


@dataclass(frozen=True)
class _Context:
    """What the layers need besides the hidden states.

    Attributes:
        bias: float [B, 1, 1, 1, T], very negative on padding.
        cos, sin: of the codes' position, float [B, 1, 1, head_dim].
    """

    bias: Tensor
    cos: Tensor
    sin: Tensor


@torch.inference_mode()
def eager_search(decoder: Decoder, prompts: Prompts, tree: TrieTree, beam_width: int) -> Beams:
    """Find the K most likely SIDs that exist.

    Unlike ``training.search.beam_search``, whose beams look at the columns of all beams behind a mask, each
    beam here has the keys and values of its own codes only, which costs less at many beams. Of equal scores
    any may win.

    Args:
        decoder: the model.
        prompts: B queries.
        tree: SIDs that exist.
        beam_width: K.
    """
    B, T = prompts.tokens.shape
    embedded = decoder.embed_prompts(prompts)
    hidden, prompt = decoder(embedded, prompts.positions(), prompts.attention(), first=T - 1)
    query_vectors = decoder.query_vectors(hidden[:, 0], prompts.embeddings)
    bias = torch.where(prompts.mask, 0.0, NOT_SEEN)[:, None, None, None]
    lengths = prompts.mask.sum(dim=-1, keepdim=True)

    nodes, log_probs = lengths.new_zeros(B, 1), hidden.new_zeros(B, 1)
    sids = lengths.new_zeros(B, 1, 0)
    read: list[KeyValue] = []  # per layer, of the codes so far, each [B · n, codes, n_kv_heads, head_dim]
    levels = decoder.config.levels
    for level in range(levels):
        codes, children, present = tree.children(nodes, level)
        scores = log_probs[..., None] + decoder.code_log_probs(hidden, level).gather(-1, codes)
        scores = scores.where(present, UNFILLED).flatten(1)
        # In the order of their nodes, as in the graph.
        chosen = scores.topk(min(beam_width, scores.shape[1])).indices.sort().values
        parents = chosen // codes.shape[-1]
        log_probs, nodes = scores.gather(1, chosen), children.flatten(1).gather(1, chosen)
        new_codes = codes.flatten(1).gather(1, chosen)
        sids = torch.cat([take(sids, parents), new_codes[..., None]], dim=-1)
        if level + 1 < levels:
            if read:
                rows = (parents + torch.arange(B, device=parents.device)[:, None] * codes.shape[1]).flatten()
                read = [(keys.index_select(0, rows), values.index_select(0, rows)) for keys, values in read]
            cos, sin = rotary(lengths + level, decoder.config.head_dim, decoder.config.rope_theta)
            context = _Context(bias, cos, sin)
            hidden, read = _read_codes(decoder, new_codes, level, context, prompt, read)
    return finished(tree, beam_width, Last(sids, log_probs, nodes), query_vectors)


def _read_codes(
    decoder: Decoder,
    codes: Tensor,
    level: int,
    context: _Context,
    prompt: list[KeyValue],
    read: list[KeyValue],
) -> tuple[Tensor, list[KeyValue]]:
    """Run all layers over the newest code of every beam, int64 [B, n].

    Returns:
        Normed states [B, n, d_model]; keys and values with those of the newest codes.
    """
    x = F.embedding(codes, decoder.codebook(level))
    key_values = []
    for index, layer in enumerate(decoder.layers):
        assert isinstance(layer, Layer)
        earlier = read[index] if read else None
        attended, key_value = _attend(
            layer.self_attn, layer.input_layernorm(x), context, prompt[index], earlier
        )
        x = x + attended
        x = x + layer.mlp(layer.post_attention_layernorm(x))
        key_values.append(key_value)
    return decoder.norm(x), key_values


def _attend(
    attention: Attention, x: Tensor, context: _Context, prompt: KeyValue, earlier: KeyValue | None
) -> tuple[Tensor, KeyValue]:
    """Let each beam look at its prompt, which all beams share, and at its own codes: [B, n, d_model]."""
    B, n, _ = x.shape
    D, n_kv = attention.head_dim, attention.n_kv_heads
    q = attention.q_norm(attention.q_proj(x).view(B, n, -1, D)).transpose(1, 2)
    k = attention.k_norm(attention.k_proj(x).view(B, n, n_kv, D)).transpose(1, 2)
    q, k = rotate(q, context.cos, context.sin), rotate(k, context.cos, context.sin)
    keys = k.transpose(1, 2).reshape(B * n, 1, n_kv, D)
    values = attention.v_proj(x).view(B * n, 1, n_kv, D)
    if earlier is not None:
        keys, values = torch.cat([earlier[0], keys], dim=1), torch.cat([earlier[1], values], dim=1)
    prompt_keys, prompt_values = prompt  # [B, n_kv, T, D]
    groups = q.reshape(B, n_kv, -1, n, D)
    on_prompt = groups.flatten(2, 3) @ prompt_keys.transpose(2, 3)
    on_prompt = on_prompt.view(*groups.shape[:4], -1) * D**-0.5 + context.bias
    own_keys, own_values = (part.view(B, n, -1, n_kv, D).permute(0, 3, 1, 2, 4) for part in (keys, values))
    on_codes = (groups[..., None, :] * own_keys[:, :, None]).sum(dim=-1) * D**-0.5  # [B, n_kv, g, n, codes]
    shares = torch.cat([on_prompt, on_codes], dim=-1).softmax(dim=-1).to(values.dtype)
    T = on_prompt.shape[-1]
    of_prompt, of_codes = shares[..., :T], shares[..., T:]
    out = (of_prompt.flatten(2, 3) @ prompt_values).view(groups.shape)
    out = out + (of_codes[..., None] * own_values[:, :, None]).sum(dim=-2)
    return attention.o_proj(out.reshape(B, -1, n, D).transpose(1, 2).flatten(2)), (keys, values)
