"""The OpenAPI document against the service, with more cases than the fast tests have time for."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode

from service.keys import Scope, add_key

CASES = 20_000
FORESEEN = {503, 504}  # where the document names them: a deadline of a millisecond is valid
NOT_THERE = {404, 409}  # a valid case may name what is not loaded, and undo what was never done


@pytest.fixture(scope="module")
def guarded(start_service: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The operations of a service that asks for keys, and the headers that each of them needs."""
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    keys = {f"{scope}Key": add_key(file, scope, scope) for scope in Scope}
    with start_service(keys=file) as running:
        schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
        operations = [result.ok() for result in schema.get_all_operations()]
        yield [(operation, credentials(operation, keys)) for operation in operations]


def credentials(operation: Any, keys: dict[str, str]) -> dict[str, str]:
    schemes = [name for each in operation.definition.raw.get("security", []) for name in each]
    return {"Authorization": f"Bearer {keys[schemes[0]]}"} if schemes else {}


def takes_input(operation: Any) -> bool:
    return bool(operation.definition.raw.get("requestBody") or operation.definition.raw.get("parameters"))


def is_understood(status: int) -> bool:
    """Whether a request was valid, whatever it was about."""
    return 200 <= status < 300 or status in NOT_THERE


def statuses_of(operation: Any, headers: dict[str, str], mode: GenerationMode, n_cases: int) -> Counter[int]:
    """What an operation answered to that many cases; a 5xx that it does not foresee is an error."""
    foreseen = FORESEEN & {int(code) for code in operation.definition.raw["responses"]}
    statuses: Counter[int] = Counter()

    @settings(
        max_examples=n_cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: Any) -> None:
        status = case.call(headers=headers).status_code
        statuses[status] += 1
        assert status < 500 or status in foreseen, case

    call()
    return statuses


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_no_case_of_the_document_ends_in_a_5xx(guarded: Any) -> None:
    """Valid and invalid requests to every operation, with the key that it asks for."""
    fuzzed = [(operation, headers) for operation, headers in guarded if takes_input(operation)]
    share = -(-CASES // (len(fuzzed) * len(GenerationMode)))
    total: Counter[int] = Counter()
    for operation, headers in fuzzed:
        for mode in GenerationMode:
            statuses = statuses_of(operation, headers, mode, share)
            print(f"{operation.label} {mode.value}: {dict(statuses)}")
            total += statuses
            assert mode is GenerationMode.NEGATIVE or any(is_understood(status) for status in statuses)
    for operation, headers in guarded:
        if not takes_input(operation):
            assert is_understood(operation.Case().call(headers=headers).status_code)
    print(f"{total.total():,} cases: {dict(total)}")
    assert total.total() >= CASES
