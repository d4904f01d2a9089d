"""What a load test is asked to do."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class LoadtestSettings(BaseSettings):
    """One load test, from flags or from ``RADSEARCH_LOADTEST_*`` in the environment.

    ``radsearch loadtest`` hands its flags to the process that makes the load through this same environment,
    and ``locust -f loadtest/locustfile.py`` reads it too: both run the same users.
    """

    model_config = SettingsConfigDict(env_prefix="RADSEARCH_LOADTEST_", env_ignore_empty=True, frozen=True)

    url: str = Field(default="http://127.0.0.1:8000", pattern=r"^https?://[^/\s]+/?$")
    """Scheme, host and port of the server."""

    seconds: float = Field(default=30.0, gt=0)
    """How long users send requests."""

    users: int = Field(default=8, ge=1)
    """Shoppers at work at the same time; each sends its next request when the last one is answered."""

    queries: Path | None = None
    """File of queries, most frequent first; the list that is shipped where there is none."""

    zipf: float = Field(default=1.0, ge=0)
    """Exponent s of the query frequencies: the query of rank r is asked in proportion to 1 / r**s."""

    seed: int = 0
    """Seed of every choice the users make."""

    key: SecretStr | None = None
    """Bearer key for the search endpoints of a server that asks for one."""

    def environment(self) -> dict[str, str]:
        """Give the variables from which ``LoadtestSettings()`` reads these very settings."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        if self.key is not None:
            values["key"] = self.key.get_secret_value()
        prefix = type(self).model_config["env_prefix"].upper()
        return {prefix + name.upper(): "" if value is None else str(value) for name, value in values.items()}
