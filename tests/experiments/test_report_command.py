import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from experiments.errors import ExperimentError
from experiments.metrics import NAMES
from radsearch.cli import build


def command(*arguments: object) -> Result:
    return CliRunner().invoke(build(["experiment"]), ["experiment", "report", *map(str, arguments)])


def report(*arguments: object, exit_code: int = 0) -> dict[str, Any]:
    result = command(*arguments, "--json")
    assert result.exit_code == exit_code, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_an_experiment_that_helps_is_called_better(write_traffic: Any, tmp_path: Path) -> None:
    events = write_traffic(n_users=1200, lift=0.4)
    page = tmp_path / "report.html"
    result = command("--events", events, "--html", page)
    assert result.exit_code == 0, result.output
    assert "rad-dpo is better than sft" in " ".join(result.output.split())
    html = page.read_text()
    assert "rad-dpo is better than sft" in html
    for forbidden in ("http", "<script"):
        assert forbidden not in html
    assert html.count("<svg") >= len(NAMES) + 3
    assert report("--events", events)["verdict"]["words"] == {"rad-dpo": "better"}


def test_an_experiment_that_does_nothing_says_what_it_would_have_found(write_traffic: Any) -> None:
    found = report("--events", write_traffic(n_users=800), "--effect", 0.1)
    assert found["verdict"]["words"] == {"rad-dpo": "no difference"}
    ctr = found["split"]["metrics"][0]
    assert ctr["differences"]["1"]["kind"] == "same"
    assert f"{ctr['differences']['1']['power']['users_needed']:,} users" in " ".join(
        found["verdict"]["sentences"]
    )


def test_nothing_is_concluded_from_users_that_are_not_split_as_they_should_be(write_traffic: Any) -> None:
    events = write_traffic(n_users=1200, lift=0.4, treated=0.4)
    found = report("--events", events, exit_code=3)
    assert found["verdict"]["words"] == {"rad-dpo": "no conclusion"}
    assert found["split"]["metrics"] == []
    assert command("--events", events).exit_code == 3
    assert "better" not in command("--events", events).output
    as_planned = report("--events", events, "--weights", "0.6,0.4")
    assert as_planned["verdict"]["words"] == {"rad-dpo": "better"}


def test_fewer_metrics_are_corrected_less(write_traffic: Any) -> None:
    events = write_traffic(n_users=300)
    (alone,) = report("--events", events, "--metric", "ctr")["split"]["metrics"]
    among, *_ = report("--events", events)["split"]["metrics"]
    assert alone["differences"]["1"]["p_adjusted"] == alone["differences"]["1"]["p"]
    assert alone["differences"]["1"]["p"] == among["differences"]["1"]["p"]
    assert among["differences"]["1"]["p_adjusted"] > alone["differences"]["1"]["p_adjusted"]


def test_the_days_before_are_used_unless_they_are_not_wanted(write_traffic: Any) -> None:
    events = write_traffic(n_users=400)
    with_them, without = (
        report("--events", events, "--metric", "ctr", "--pre-period", days)["split"]["metrics"][0]
        for days in (14, 0)
    )
    assert with_them["differences"]["1"]["width_kept"] < 1
    assert without["differences"]["1"]["width_kept"] is None


def test_every_day_of_the_experiment_is_told(write_traffic: Any) -> None:
    days = report("--events", write_traffic(n_users=300))["split"]["days"]
    assert [day["day"] for day in days] == list(range(7))
    assert all(set(day["ctr"]) == {"0", "1"} for day in days)


def test_an_interleaved_experiment_needs_no_split(log: Any) -> None:
    teams = {"experiment": "k", "variants": ["sft", "rad-dpo"], "teams": [0, 1, None]}
    for number in range(40):
        log.action(
            "click", log.search(f"u{number}", None, interleaved=teams), item_id="b" if number % 5 else "a"
        )
    events = log.write()
    found = report("--events", events)
    assert found["split"] is None
    assert found["interleavings"][0]["users_won"] == [8, 32]
    assert "rad-dpo wins" in " ".join(command("--events", events).output.split())


def test_what_is_odd_about_the_data_is_said(log: Any) -> None:
    for number in range(40):
        log.search(f"u{number}", number % 2)
    log.search("u0", 1)  # crossed
    log.search("u1", 1, variant="fallback")
    log.action("click", "gone")
    warnings = " ".join(report("--events", log.write())["verdict"]["warnings"])
    for words in (
        "saw several variations",
        "not answered by rad-dpo",
        "belong to no search",
        "Less than a week",
    ):
        assert words in warnings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--experiment", "x"], "no experiment 'x'; it has k"),
        (["--metric", "happiness"], "no metric 'happiness'; known are ctr"),
        (["--weights", "half"], "--weights half are not numbers"),
        (["--start", "2030-01-01"], "no search was part of experiment 'k' in that time"),
        (["--html", "/dev/null/page.html"], "/dev/null/page.html cannot be written"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(write_traffic: Any, arguments: list[str], message: str) -> None:
    result = command("--events", write_traffic(n_users=30), *arguments)
    assert isinstance(result.exception, ExperimentError)
    assert message in str(result.exception)


def test_there_must_be_something_to_compare(log: Any) -> None:
    log.search("ada", 1)
    result = command("--events", log.write())
    assert isinstance(result.exception, ExperimentError)
    assert "only variation 1 has users" in str(result.exception)


def test_one_of_several_experiments_has_to_be_named(log: Any) -> None:
    log.search("ada", None, experiments={"a": 0, "b": 0})
    result = command("--events", log.write())
    assert "--experiment a or b" in str(result.exception)
