"""What the service can be told: flags before environment before file before defaults."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from service.errors import ServiceError

NAMED = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,63})(@(?P<precision>fp32|int8|fp16))?=(?P<path>.+)", re.DOTALL
)

Precision = Literal["auto", "fp32", "int8", "fp16"]


@dataclass(frozen=True)
class BundleSource:
    """Where a bundle lies, and what it becomes.

    Attributes:
        name: of the variant; None takes the manifest's name.
        path: of the directory.
        precision: of its graphs; None takes that of the settings.
    """

    name: str | None
    path: Path
    precision: Precision | None = None

    @classmethod
    def parse(cls, text: str) -> "BundleSource":
        """Read ``NAME=DIR``, ``NAME@PRECISION=DIR`` or ``DIR``."""
        named = NAMED.fullmatch(text)
        if named is None:
            return cls(None, Path(text))
        return cls(named["name"], Path(named["path"]), cast("Precision | None", named["precision"]))


def _sources(value: object) -> object:
    """Bundle sources from a comma-separated string or a list of strings."""
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        return value
    return tuple(BundleSource.parse(text.strip()) if isinstance(text, str) else text for text in texts)


def _split(value: object) -> object:
    """The parts of a comma-separated string."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


class ServiceSettings(BaseSettings):
    """Settings of one service process, from ``RADSEARCH_*``, plus the plain ``PORT`` and ``REDIS_URL``."""

    model_config = SettingsConfigDict(
        env_prefix="RADSEARCH_", env_ignore_empty=True, populate_by_name=True, extra="ignore", frozen=True
    )

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: int = Field(8000, ge=0, le=65535, validation_alias=AliasChoices("RADSEARCH_PORT", "PORT"))
    """Port to listen on; 0 takes a free one."""

    bundles: Annotated[tuple[BundleSource, ...], NoDecode, BeforeValidator(_sources)] = ()
    """Bundles to serve, ``NAME=DIR,…`` or ``NAME@int8=DIR``; the first is the variant without experiments."""

    bundles_root: Path | None = None
    """Directory below which admins may load bundles while the service runs; without one they cannot."""

    max_state_bytes: int = Field(8_388_608, ge=1)
    """Size of what admins changed, in Redis and in each process; mostly items added since a catalogue."""

    experiments: Path | None = None
    """GrowthBook features file, whose feature ``variant`` names a bundle; read again when it changes."""

    growthbook_url: str | None = Field(None, pattern=r"^https?://[^\s?#]+$")
    """GrowthBook server or proxy that tells the features, in place of a file."""

    growthbook_client_key: SecretStr | None = None
    """Client key of GrowthBook's SDK connection."""

    growthbook_refresh_s: float = Field(30.0, ge=1)
    """How often the GrowthBook server is asked."""

    growthbook_cache: Path | None = None
    """File that keeps the features last told, for a start while the GrowthBook server is away."""

    examples: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = ()
    """Queries offered on the page; popular titles where there are none."""

    provider: Literal["auto", "cpu", "cuda"] = "auto"
    """Where beam search runs; auto is CUDA where onnxruntime has it and can use a GPU."""

    precision: Precision = "auto"
    """Which of a bundle's graphs to run; auto is int8 on CPUs and fp16 on GPUs, where the bundle has them."""

    intra_threads: int = Field(1, ge=0)
    """Threads of one beam search; 0 lets onnxruntime choose."""

    processes: int = Field(1, ge=1)
    """Processes that answer on the port; each loads all bundles, and keeps the limits below by itself."""

    workers: int | None = Field(None, ge=1)
    """Batches under way in a process at once; by default its share of the cores, and 2 on a GPU."""

    max_batch: int = Field(32, ge=1)
    """Queries in one device batch at most."""

    max_batch_ms: float = Field(50.0, gt=0)
    """How long a device batch may take, by what queries cost so far; a slow device gets smaller batches."""

    max_queue_ms: float = Field(1_000.0, gt=0)
    """Longest wait for the device, by estimate; from half of it on beams get narrower, past it it is 429."""

    queue_limit: int = Field(512, ge=1)
    """Queries that may wait for the device in any case; past it the answer is 429."""

    max_query_chars: int = Field(512, ge=1)
    """Characters in a query at most."""

    max_k: int = Field(100, ge=1)
    """Items in an answer at most."""

    default_k: int = Field(20, ge=1)
    """Items in an answer where the request does not say."""

    max_searches: int = Field(32, ge=1)
    """Searches in one request to ``/v1/search/batch`` at most."""

    max_body_bytes: int = Field(65_536, ge=1)
    """Size of a request's body at most."""

    max_connections: int = Field(2_048, ge=1)
    """Connections that a process has open at once; one more is told to come back."""

    client_timeout_s: float = Field(10.0, gt=0)
    """How long a client may take to send a header, to send a body, and to read an answer."""

    timeout_ms: int = Field(2_000, ge=1)
    """Deadline of a search where the request does not say."""

    max_timeout_ms: int = Field(30_000, ge=1)
    """Longest deadline a request may ask for."""

    filter_cache: int = Field(256, ge=1)
    """Filter masks kept per epoch; each takes one byte per item and trie node."""

    item_cache: int = Field(50_000, ge=0)
    """Postings, and payloads, kept per epoch after Redis told them, popular ones ahead; 0 asks each time."""

    result_cache: int = Field(10_000, ge=0)
    """Results kept in the process, and in Redis where ``redis_url`` names one; 0 keeps none."""

    result_ttl_s: int = Field(300, ge=1)
    """How long a result is kept; a change of the catalogue is seen at once in any case."""

    redis_url: SecretStr | None = Field(
        None, validation_alias=AliasChoices("RADSEARCH_REDIS_URL", "REDIS_URL")
    )
    """Redis that maps SIDs to items, a cluster as ``redis+cluster://``; without one, an embedded Valkey."""

    redis_namespace: str = Field("radsearch", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """First part of every key in Redis."""

    redis_timeout_ms: int = Field(250, ge=1)
    """How long Redis may take before the bundle's own copy answers."""

    epoch_ttl_s: int = Field(7 * 86_400, ge=60)
    """When an epoch leaves Redis after its last service stopped; a superseded one goes within an hour."""

    keys: Path | None = None
    """File of bearer keys, made by ``radsearch key new``; without one search is open and admin closed."""

    rate_limit: float | None = Field(None, gt=0)
    """Searches and events per second that a process takes of each key, or of each address without keys."""

    rate_burst: int = Field(100, ge=1)
    """Searches and events that a caller who was quiet may send at once."""

    event_log: Path = Path("events")
    """Directory of the event log: searches, clicks, carts, purchases."""

    event_log_flush_ms: int = Field(100, ge=0, le=10_000)
    """How long searches gather before one write and fsync, unless a ``POST /v1/events`` asks for it before.
    0: no longer than the fsync before takes."""

    event_log_file_bytes: int = Field(268_435_456, ge=1)
    """Size from which on a file of the event log is followed by a new one; each day has new ones anyhow."""

    event_log_keep_days: int = Field(0, ge=0)
    """Days after which files of the event log are deleted; 0 keeps them."""

    user_salt: SecretStr | None = Field(None, min_length=16)
    """Secret by which the event log has hashes in place of ``user_id`` and ``anonymous_id``."""

    drain_s: float = Field(0.0, ge=0)
    """How long SIGTERM keeps serving with readiness off, so that load balancers notice."""

    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#]+$",
        validation_alias=AliasChoices("RADSEARCH_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    )
    """Collector of OpenTelemetry that takes OTLP over HTTP; nothing is traced where there is none."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log record that is written."""

    @model_validator(mode="after")
    def _one_source_of_features(self) -> Self:
        if self.growthbook_url is not None and self.experiments is not None:
            raise ValueError("experiments and growthbook_url both tell features; choose one")
        if self.growthbook_url is not None and self.growthbook_client_key is None:
            raise ValueError("growthbook_url needs growthbook_client_key")
        return self

    @model_validator(mode="after")
    def _defaults_within_limits(self) -> Self:
        if self.default_k > self.max_k:
            raise ValueError(f"default_k {self.default_k} is larger than max_k {self.max_k}")
        if self.timeout_ms > self.max_timeout_ms:
            raise ValueError(
                f"timeout_ms {self.timeout_ms} is larger than max_timeout_ms {self.max_timeout_ms}"
            )
        return self

    def precision_of(self, variant: str) -> Precision:
        """Which graphs a variant runs."""
        own = (source.precision for source in self.bundles if source.name == variant)
        return next(own, None) or self.precision

    @classmethod
    def load(cls, config: Path | None = None, **flags: object) -> "ServiceSettings":
        """Read the settings; a flag that is None was not given.

        Args:
            config: TOML file with any of the settings by name.
            flags: settings by name.

        Raises:
            ServiceError: if a value cannot be used or the file cannot be read.
        """
        given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
        if config is not None and not config.is_file():
            raise ServiceError(f"{config} not found; pass --config FILE.toml or leave it out")
        try:
            return _with_file(config)(**given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ".".join(str(part) for part in first["loc"]) or "settings"
            raise ServiceError(
                f"{name}: {first['msg'].removeprefix('Value error, ')}; see 'radsearch serve --help'"
            ) from error
        except ValueError as error:
            raise ServiceError(f"{config} is not TOML ({error}); mend it or leave --config out") from error


def _with_file(config: Path | None) -> type[ServiceSettings]:
    """The settings class that reads one file below the environment."""

    class FromFile(ServiceSettings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del dotenv_settings, file_secret_settings
            if config is None:
                return init_settings, env_settings
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config)

    return FromFile
