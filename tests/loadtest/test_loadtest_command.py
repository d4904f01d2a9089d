import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from radsearch.cli import build


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(build(["loadtest"]), ["loadtest", *map(str, arguments)])


def received(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url}/received") as answer:
        return json.load(answer)


def test_a_closed_loop_on_a_healthy_server(shop_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSEARCH_LOADTEST_KEY", "sesame")
    done = run(shop_url, "--seconds", "2", "--users", "3", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    report, requests = json.loads(done.stdout), received(shop_url)

    sent = {line["operation"]: line["requests"] for line in report["operations"]}
    got = [
        "filter" if "filters" in request["body"] else request["path"].removeprefix("/v1/")
        for request in requests
    ]
    assert sent == {
        "search": got.count("search"),
        "filter": got.count("filter"),
        "batch": got.count("search/batch"),
        "event": got.count("events"),
    }
    for line in report["operations"]:
        assert 0 < line["p50_ms"] <= line["p95_ms"] <= line["p99_ms"] <= line["max_ms"]
    assert report["errors"] == {}
    assert sum(report["variants"].values()) == sent["search"] + sent["filter"]
    assert set(report["degraded"]) == {"redis"}
    assert report["met"] is True
    assert {request["authorization"] for request in requests} == {"Bearer sesame"}
    named = {name for request in requests for name in request["body"].get("filters", {})}
    assert named == {"brand", "price"}


def test_users_come_by_the_shape(shop_url: str) -> None:
    """A fifth of the users is there in the first second, three fifths in the next; users who think."""
    done = run(shop_url, "--seconds", "2", "--users", "40", "--shape", "steps", "--think", "hasty", "--json")
    assert done.exit_code == 0, done.stderr
    first, second, *_ = [window["requests"] for window in json.loads(done.stdout)["timeline"]]
    assert first < second


def test_every_kind_of_error_is_counted_and_the_exit_code_says_so(shop_url: str, tmp_path: Path) -> None:
    queries = tmp_path / "queries.txt"
    queries.write_text("shoes\nrefuse\nno items\ngarbage\nhang up\n")
    options = ["--queries", queries, "--zipf", "0", "--synthetic", "0", "--seconds", "1", "--json"]
    for load, no_answer in (
        (["--users", "4"], "no answer: HTTPConnectionClosed"),
        (["--rate", "50"], "no answer: ServerDisconnectedError"),
    ):
        done = run(shop_url, *options, *load)
        assert done.exit_code == 1
        report = json.loads(done.stdout)
        assert set(report["errors"]) == {
            "status 429",
            "answer items: missing",
            "answer: json_invalid",
            no_answer,
        }
        assert report["met"] is False


def test_a_person_gets_a_table_a_verdict_and_a_page(shop_url: str, tmp_path: Path) -> None:
    slo = tmp_path / "slo.toml"
    slo.write_text("goodput = 1e9\n[search]\np99_ms = 60000\n")
    page = tmp_path / "report.html"
    done = run(shop_url, "--seconds", "1", "--rate", "20", "--slo", slo, "--html", page)
    assert done.exit_code == 1
    assert "✓ search p99_ms" in done.stdout
    assert "✗ goodput" in done.stdout
    assert "SLO missed" in done.stdout
    assert "The SLO is missed." in page.read_text()


def test_a_url_alone_gives_the_capacity(slow_url: str, tmp_path: Path) -> None:
    """The server answers 100 requests per second at most; what a busy machine takes from that is open."""
    slo = tmp_path / "slo.toml"
    slo.write_text("goodput = 1000\n[search]\np95_ms = 60\n")
    only_searches = ["--filters", "0", "--batches", "0", "--clicks", "0"]
    done = run(slow_url, "--seconds", "4", "--trial-seconds", "0.15", "--slo", slo, "--json", *only_searches)
    found = json.loads(done.stdout)
    assert 0 < found["capacity"]["rate"] < 150
    assert len(found["trials"]) == done.stderr.count("requests/s: ")
    # The limits are kept at the capacity, but it is less than the goodput that is asked for.
    assert {judgement["name"]: judgement["met"] for judgement in found["judgements"]} == {
        "search p95_ms": True,
        "error_share": True,
        "goodput": False,
    }
    assert done.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["http://127.0.0.1:1"], "nothing answers at http://127.0.0.1:1"),
        (["shop"], "url = 'shop'"),
        (["--queries", "nowhere.txt"], "Cannot read nowhere.txt"),
        (["--slo", "nowhere.toml"], "Cannot read nowhere.toml"),
        (["--shape", "circle"], "shape = 'circle'"),
        (["--users", "2", "--rate", "3"], "pass one of them"),
    ],
)
def test_a_mistake_is_one_line_on_stderr(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_gevent_stays_in_the_load_generator() -> None:
    check = "import sys, loadtest.commands; assert not {'locust', 'gevent'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


def locust(url: str, directory: Path) -> subprocess.Popen[str]:
    locustfile = Path(__file__).parents[2] / "loadtest" / "locustfile.py"
    command = [sys.executable, "-m", "locust", "-f", locustfile, "--headless", "--host", url, "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=directory)


def test_locust_s_own_command_line_runs_the_same_shoppers(shop_url: str, tmp_path: Path) -> None:
    with locust(shop_url, tmp_path) as process:
        while len(received(shop_url)) < 10:
            assert process.poll() is None
            time.sleep(0.1)
        process.terminate()
        report, _ = process.communicate()
    assert process.returncode == 0
    assert {line["name"] for line in json.loads(report)} >= {"search"}


def test_locust_s_own_command_line_ends_with_the_shape(
    shop_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADSEARCH_LOADTEST_SHAPE", "steps")
    monkeypatch.setenv("RADSEARCH_LOADTEST_SECONDS", "0.5")
    with locust(shop_url, tmp_path) as process:
        report, _ = process.communicate()
    assert process.returncode == 0
    assert {line["name"] for line in json.loads(report)} >= {"search"}
