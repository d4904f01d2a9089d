"""DPO as users of TRL train it: a Qwen3 whose vocabulary ends with the codes, one example per pair.

Everything is left as TRL has it but for what would slow it down here: gradient checkpointing is off, since
memory is not short; bfloat16 is used on a GPU only, as ``radsearch train`` does; and on a CPU attention is
transformers' "eager", which at these lengths is faster than its default by a third.
"""

import copy
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import datasets
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    PreTrainedTokenizerFast,
    PrinterCallback,
    Qwen3ForCausalLM,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.utils.logging import disable_progress_bar
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from benchmarks.qwen3 import qwen3_config
from benchmarks.sessions import Pair
from training.model import DecoderConfig
from training.precision import Precision, float32_products
from training.tokenizer import EOS, PAD


def pair_tokens(pair: Pair) -> int:
    """Tokens that the trained model reads for it, with the [EOS] that TRL puts behind each completion."""
    return 2 * len(pair.prompt) + len(pair.chosen) + len(pair.rejected) + 2


class TrlDpo:
    """TRL's trainer on pairs, each of which it sees once per call of :meth:`train`.

    Attributes:
        n_parameters: of the trained model.
        loss: mean over the latest call.
    """

    def __init__(
        self,
        config: DecoderConfig,
        pairs: list[Pair],
        pairs_per_step: int,
        learning_rate: float,
        precision: Precision,
        device: torch.device,
        seed: int,
        scratch: Path,
    ) -> None:
        datasets.disable_progress_bars()
        disable_progress_bar()
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(qwen3_config(config, EOS))
        model.set_attn_implementation("eager" if device.type == "cpu" else "sdpa")
        tokenizer = _tokenizer(model.config.vocab_size)
        examples = Dataset.from_list([_as_text(pair) for pair in pairs])
        arguments: dict[str, Any] = {
            "output_dir": str(scratch),
            "per_device_train_batch_size": pairs_per_step,
            "num_train_epochs": 1,
            "learning_rate": learning_rate,
            "gradient_checkpointing": False,
            "bf16": precision == "fast" and device.type == "cuda",
            "use_cpu": device.type == "cpu",
            "dataloader_pin_memory": device.type == "cuda",
            "logging_strategy": "no",
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "seed": seed,
        }
        self._clock = _Clock()
        self._precision = precision
        with _own_warnings_ignored():
            self._trainer = DPOTrainer(
                model=model,
                ref_model=copy.deepcopy(model),
                args=DPOConfig(**arguments),
                train_dataset=examples,
                processing_class=tokenizer,
                callbacks=[self._clock],
            )
        self._trainer.remove_callback(PrinterCallback)  # it prints to stdout
        self.n_parameters = sum(parameter.numel() for parameter in model.parameters())
        self.loss = float("nan")

    def train(self, steps: int = -1) -> float:
        """Train on all pairs, or for some steps only.

        Returns:
            Seconds from the first step to the last; what the trainer sets up before does not count.
        """
        self._trainer.args.max_steps = steps
        with _own_warnings_ignored(), float32_products(self._precision):
            self.loss = self._trainer.train().training_loss
        return self._clock.seconds


@contextmanager
def _own_warnings_ignored() -> Iterator[None]:
    """Leave out what TRL is told for using names that transformers has given up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


class _Clock(TrainerCallback):
    """Times what lies between the trainer's set-up and its end."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self._started = time.perf_counter()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        self.seconds = time.perf_counter() - self._started


def _tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """A tokenizer for texts that name token ids, so that both sides read the same ids."""
    tokenizer = Tokenizer(
        WordLevel({_word(token): token for token in range(vocab_size)}, unk_token=_word(PAD))
    )
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=_word(PAD), eos_token=_word(EOS))


def _as_text(pair: Pair) -> dict[str, str]:
    prompt, chosen, rejected = (
        " ".join(map(_word, tokens)) for tokens in (pair.prompt, pair.chosen, pair.rejected)
    )
    return {"prompt": prompt, "chosen": " " + chosen, "rejected": " " + rejected}


def _word(token: int) -> str:
    return f"<{token}>"
