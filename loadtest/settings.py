"""What a load test is asked to do."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

DEFAULT_USERS = 8
DEFAULT_SECONDS = 30.0
DEFAULT_CAPACITY_SECONDS = 180.0


class LoadtestSettings(BaseSettings):
    """One load test, from flags or from ``RADSEARCH_LOADTEST_*`` in the environment.

    ``radsearch loadtest`` hands its flags to the process that makes the closed loop through this same
    environment, and ``locust -f loadtest/locustfile.py`` reads it too: both run the same users.
    """

    model_config = SettingsConfigDict(env_prefix="RADSEARCH_LOADTEST_", env_ignore_empty=True, frozen=True)

    url: str = Field(default="http://127.0.0.1:8000", pattern=r"^https?://[^/\s]+/?$")
    """Scheme, host and port of the server."""

    users: int | None = Field(default=None, ge=1)
    """Closed loop: shoppers at work at the same time; each waits for an answer before it goes on."""

    rate: float | None = Field(default=None, gt=0)
    """Open loop: requests that arrive per second, whether the server keeps up or not. Without this and users,
    the capacity is looked for."""

    seconds: float | None = Field(default=None, gt=0)
    """How long requests are sent, 30 by default; the most that the search for the capacity may take, 180 by
    default."""

    trial_seconds: float = Field(default=5.0, gt=0)
    """The least that one trial of the search for the capacity takes."""

    shape: Literal["constant", "steps", "spike"] = "constant"
    """How users or rate go up and down: constant, steps (five, up to the whole), spike (a quarter, and the
    whole for the middle fifth of the time)."""

    think: Literal["none", "hasty", "browsing", "mixed"] = "none"
    """Closed loop: how long shoppers think between requests."""

    queries: Path | None = None
    """File of queries, most frequent first; the list that is shipped where there is none."""

    zipf: float = Field(default=1.0, ge=0)
    """Exponent s of the query frequencies: the query of rank r is asked in proportion to 1 / r**s."""

    synthetic: float = Field(default=0.2, ge=0, le=1)
    """Share of the queries that are reworded: misspelt, or with words left out, moved or added."""

    filters: float = Field(default=0.2, ge=0, le=1)
    """Chance that an answered query is asked again with a filter."""

    batches: float = Field(default=0.03, ge=0, le=1)
    """Chance that eight queries are sent at once in the place of one."""

    clicks: float = Field(default=0.1, ge=0, le=1)
    """Chance that the first item of an answer is clicked; those below are looked at, and so clicked, less. 0
    sends no events."""

    seed: int = 0
    """Seed of every choice the users make."""

    slo: Path | None = None
    """TOML file with the limits that decide the exit code."""

    key: SecretStr | None = None
    """Bearer key for the search endpoints of a server that asks for one."""

    def environment(self) -> dict[str, str]:
        """Give the variables from which ``LoadtestSettings()`` reads these very settings."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        values["key"] = self.bearer
        prefix = type(self).model_config["env_prefix"].upper()
        return {prefix + name.upper(): "" if value is None else str(value) for name, value in values.items()}

    @property
    def bearer(self) -> str | None:
        """The key in plain text."""
        return self.key.get_secret_value() if self.key else None
