"""What training can be told: flags before environment before file before defaults."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from sid import RadsearchError
from training.model import DecoderConfig
from training.objectives import OBJECTIVES, Objective
from training.precision import Precision


class SettingsError(RadsearchError):
    """A setting that is unknown or out of range."""


class ModelSettings(BaseModel):
    """Shape of a decoder that starts from scratch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    d_model: int = Field(default=128, ge=1)
    """Width."""

    n_layers: int = Field(default=3, ge=1)
    """Depth."""

    head_dim: int = Field(default=32, ge=2, multiple_of=2)
    """Size of an attention head."""

    n_heads: int | None = Field(default=None, ge=1)
    """Query heads; None takes d_model / head_dim."""

    n_kv_heads: int | None = Field(default=None, ge=1)
    """Key and value heads; None takes half as many as query heads."""

    d_ff: int | None = Field(default=None, ge=1)
    """Width of the feed-forward layers; None takes 3 d_model."""

    vector_dim: int | None = Field(default=None, ge=1)
    """Size of query and item vectors; None takes that of the item embeddings."""

    def fill(
        self, vocab_size: int, codebook_sizes: tuple[int, ...], embedding_dim: int, max_prompt: int
    ) -> DecoderConfig:
        """The decoder's configuration for a data directory.

        Raises:
            SettingsError: if the key and value heads cannot share the query heads evenly.
        """
        n_heads = self.n_heads or max(self.d_model // self.head_dim, 1)
        n_kv_heads = self.n_kv_heads or max(n_heads // 2, 1)
        if n_heads % n_kv_heads:
            raise SettingsError(f"n_heads {n_heads} is no multiple of n_kv_heads {n_kv_heads}; change one")
        return DecoderConfig(
            vocab_size=vocab_size,
            codebook_sizes=codebook_sizes,
            embedding_dim=embedding_dim,
            vector_dim=self.vector_dim or embedding_dim,
            d_model=self.d_model,
            n_layers=self.n_layers,
            n_heads=n_heads,
            n_kv_heads=n_kv_heads,
            head_dim=self.head_dim,
            d_ff=self.d_ff or 3 * self.d_model,
            max_prompt=max_prompt,
        )


class TrainSettings(BaseSettings):
    """Settings of one training run, also from the environment, as in ``RADSEARCH_TRAIN_MODEL__D_FF=512``."""

    model_config = SettingsConfigDict(
        env_prefix="RADSEARCH_TRAIN_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    model: ModelSettings = ModelSettings()
    """Shape of the decoder when it starts from scratch."""

    objective: dict[str, Any] = {}
    """Options of the objective, by name; see the objective's ``Settings``."""

    epochs: float | None = Field(default=None, gt=0)
    """Passes over the examples; None takes the objective's own."""

    steps: int | None = Field(default=None, ge=1)
    """Steps in total, instead of epochs."""

    batch_size: int = Field(default=256, ge=1)
    """Examples per step, over all processes."""

    learning_rate: float | None = Field(default=None, gt=0)
    """At its peak; None takes the objective's own."""

    warmup: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps in which the learning rate rises."""

    weight_decay: float = Field(default=0.01, ge=0)
    """On matrices."""

    clip_norm: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""

    max_positives: int = Field(default=4, ge=1)
    """Positives of a session per step; of more, others are drawn in every epoch."""

    max_negatives: int = Field(default=3, ge=1)
    """Negatives of a session per step, drawn likewise."""

    vector_weight: float = Field(default=2.0, ge=0)
    """Of the query vector's loss beside the objective's."""

    temperature: float = Field(default=0.05, gt=0)
    """Of the query vector's softmax over items."""

    sampled_items: int = Field(default=4096, ge=1)
    """Items drawn from the catalogue per step that query vectors are contrasted with."""

    beam_width: int = Field(default=128, ge=1)
    """SIDs found per query when the ordering of their items is tuned; that of the service."""

    save_every: int = Field(default=200, ge=1)
    """Steps between two saves to resume from."""

    seed: int = Field(default=0, ge=0)
    """Of weights, order and draws."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""

    precision: Precision = "fast"
    """Of matrix products: fast is bfloat16 where the hardware has it, full is float32."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, environment, file: the first that names a setting decides."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def read_settings(file: Path | None, flags: dict[str, Any]) -> TrainSettings:
    """Put the settings together.

    Args:
        file: TOML, or None.
        flags: what the command line names, nested as in the file.

    Raises:
        SettingsError: if the file is missing or no TOML, or a setting is unknown or out of range.
    """
    if file is not None and not file.is_file():
        raise SettingsError(f"{file} not found; name a TOML file with --config, or leave it out")

    class WithFile(TrainSettings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        return WithFile(**flags)
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from error
    except ValueError as error:  # what tomllib raises
        raise SettingsError(f"{file} is not TOML ({error})") from error


def make_objective(name: str, options: dict[str, Any]) -> Objective[Any]:
    """Make an objective from the registry.

    Raises:
        SettingsError: if there is no such objective, or an option of it is unknown or out of range.
    """
    if name not in OBJECTIVES:
        raise SettingsError(f"there is no objective {name!r}; choose from {', '.join(OBJECTIVES)}")
    kind = OBJECTIVES[name]
    known = kind.Settings.__dataclass_fields__
    unknown = [option for option in options if option not in known]
    if unknown:
        raise SettingsError(
            f"{name} has no option {unknown[0]!r}; it has {', '.join(known) if known else 'none'}"
        )
    try:
        return kind(TypeAdapter(kind.Settings).validate_python(options))
    except ValidationError as error:
        raise SettingsError("objective." + _sentence(error)) from error


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """Read ``["objective.beta=3", "seed=1"]`` as ``{"objective": {"beta": "3"}, "seed": "1"}``.

    Raises:
        SettingsError: if one is no assignment.
    """
    settings: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        *tables, key = name.split(".")
        if not equals or not key:
            raise SettingsError(f"--set {assignment!r} is no assignment; write it as objective.beta=2.5")
        table = settings
        for part in tables:
            table = table.setdefault(part, {})
        table[key] = value
    return settings


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"there is no setting {name!r}; see 'radsearch train --help' and docs/architecture.md"
    return f"{name}: {first['msg'].removeprefix('Value error, ')}, not {first['input']!r}"
