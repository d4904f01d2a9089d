import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "radsearch", "loadtest", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def received(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url}/received") as answer:
        return json.load(answer)


def test_a_closed_loop_on_a_healthy_server(shop_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSEARCH_LOADTEST_KEY", "sesame")
    done = run(shop_url, "--seconds", "2", "--users", "3", "--json")
    assert (done.returncode, done.stderr) == (0, "")
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


def test_users_come_and_go_by_the_shape(shop_url: str) -> None:
    """At a spike's base there is one of four users, so a user who thinks sends a quarter of the peak."""
    done = run(shop_url, "--seconds", "5", "--users", "40", "--shape", "spike", "--think", "hasty", "--json")
    assert done.returncode == 0, done.stderr
    requests = [window["requests"] for window in json.loads(done.stdout)["timeline"]]
    assert sum(requests[2:4]) > sum(requests[:2])


def test_every_kind_of_error_is_counted_and_the_exit_code_says_so(shop_url: str, tmp_path: Path) -> None:
    queries = tmp_path / "queries.txt"
    queries.write_text("shoes\nrefuse\nno items\ngarbage\nhang up\n")
    options = ["--queries", queries, "--zipf", "0", "--synthetic", "0", "--seconds", "1", "--json"]
    for load, no_answer in (
        (["--users", "4"], "no answer: HTTPConnectionClosed"),
        (["--rate", "50"], "no answer: ServerDisconnectedError"),
    ):
        done = run(shop_url, *options, *load)
        assert done.returncode == 1
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
    assert done.returncode == 1
    assert "✓ search p99_ms" in done.stdout
    assert "✗ goodput" in done.stdout
    assert "SLO missed" in done.stdout
    assert "The SLO is missed." in page.read_text()


def test_a_url_alone_gives_the_capacity(slow_url: str) -> None:
    done = run(slow_url, "--seconds", "3", "--trial-seconds", "0.2", "--json")
    assert done.returncode in {0, 1}
    found = json.loads(done.stdout)
    assert found["met"] is (done.returncode == 0)
    assert found["capacity"]["rate"] < 200
    assert len(found["trials"]) == done.stderr.count("requests/s: ")


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
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_gevent_stays_in_the_load_generator() -> None:
    check = "import sys, loadtest.commands; assert not {'locust', 'gevent'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.parametrize("shape", ["constant", "steps"])
def test_locust_s_own_command_line_runs_the_same_shoppers(
    shop_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    monkeypatch.setenv("RADSEARCH_LOADTEST_SHAPE", shape)
    monkeypatch.setenv("RADSEARCH_LOADTEST_SECONDS", "2")
    locustfile = Path(__file__).parents[2] / "loadtest" / "locustfile.py"
    command = [sys.executable, "-m", "locust", "-f", locustfile, "--headless", "--host", shop_url, "--json"]
    before = len(received(shop_url))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as locust:
        while len(received(shop_url)) < before + 10:
            assert locust.poll() is None
            time.sleep(0.1)
        if shape == "constant":  # which ends when it is told to; the others in their time
            locust.terminate()
        report, _ = locust.communicate()
    assert locust.returncode == 0
    assert {line["name"] for line in json.loads(report)} >= {"search"}
