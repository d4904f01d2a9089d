"""Beam search as users of transformers run it: ``generate`` with a prefix function over a dictionary."""

import torch
from torch import Tensor
from transformers import Qwen3ForCausalLM

from benchmarks.qwen3 import qwen3_config
from sid import SidTable
from training.model import Decoder, DecoderConfig, Prompts
from training.tokenizer import PAD

Prefix = tuple[int, ...]


class Generate:
    """A Qwen3 with the decoder's weights, whose vocabulary ends with the codes of all levels.

    Its log-probabilities run over that whole vocabulary, the decoder's over the codebook of a level; that is
    how such models are run, so what it finds are SIDs that exist, but not always the decoder's best. Where
    there are fewer SIDs than beams, some beams repeat a SID or hold none.

    Args:
        decoder: whose weights to use; queries' embeddings have to be zeros.
        table: the SIDs that may be found.
        beam_width: K.
    """

    def __init__(self, decoder: Decoder, table: SidTable, beam_width: int) -> None:
        config = decoder.config
        self._levels, self._beam_width = config.levels, beam_width
        self._first_codes = first_codes(config)
        self._allowed = allowed_tokens(table, self._first_codes)
        self._model = Qwen3ForCausalLM(qwen3_config(config, eos_token_id=None))
        self._model.train(False)
        self._model.model.load_state_dict(_weights(decoder))

    @torch.inference_mode()
    def search(self, prompts: Prompts) -> Tensor:
        """SIDs of each prompt, best first, int64 [B, K, L]."""
        length = prompts.tokens.shape[1]

        def allowed(_: int, tokens: Tensor) -> list[int]:
            # A beam that does not exist holds tokens that are no prefix; something has to be allowed to it.
            return self._allowed.get(tuple(tokens[length:].tolist()), [PAD])

        found = self._model.generate(
            input_ids=prompts.tokens,
            attention_mask=prompts.mask.long(),
            prefix_allowed_tokens_fn=allowed,
            num_beams=self._beam_width,
            num_return_sequences=self._beam_width,
            max_new_tokens=self._levels,
            length_penalty=0.0,
            do_sample=False,
            use_cache=True,
        )
        tokens: Tensor = found[:, length:].view(len(prompts), self._beam_width, self._levels)
        return tokens - torch.tensor(self._first_codes)


def first_codes(config: DecoderConfig) -> list[int]:
    """The token of each level's code 0: codes stand behind the tokens, level by level."""
    return [config.vocab_size + sum(config.codebook_sizes[:level]) for level in range(config.levels)]


def allowed_tokens(table: SidTable, first: list[int]) -> dict[Prefix, list[int]]:
    """The tokens that may follow each prefix of tokens."""
    tokens: dict[Prefix, list[int]] = {}
    previous: Prefix = ()
    for sid in (table.codes + first).tolist():
        # SIDs are sorted, so a prefix that the SID before did not have is new.
        new = previous[:1] != (sid[0],)
        for level in range(len(sid)):
            new = new or previous[level] != sid[level]
            if new:
                tokens.setdefault(tuple(sid[:level]), []).append(sid[level])
        previous = tuple(sid)
    return tokens


def _weights(decoder: Decoder) -> dict[str, Tensor]:
    own = decoder.state_dict()
    shared = {name: tensor for name, tensor in own.items() if name.startswith(("layers.", "norm."))}
    codebooks = [own[f"code_embeddings.{level}.weight"] for level in range(decoder.config.levels)]
    return {**shared, "embed_tokens.weight": torch.cat([own["embed_tokens.weight"], *codebooks])}
