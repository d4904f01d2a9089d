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


def test_load_on_a_healthy_server(shop_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADSEARCH_LOADTEST_KEY", "sesame")
    done = run("--url", shop_url, "--seconds", "3", "--users", "3", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report, requests = json.loads(done.stdout), received(shop_url)

    assert {line["endpoint"]: line["requests"] for line in report["endpoints"]} == {
        path: sum(request["path"] == path for request in requests)
        for path in ("/v1/events", "/v1/search", "/v1/search/batch")
    }
    search = next(line for line in report["endpoints"] if line["endpoint"] == "/v1/search")
    assert 0 < search["p50_ms"] <= search["p95_ms"] <= search["p99_ms"] <= search["max_ms"]
    assert report["errors"] == {}
    assert sum(report["variants"].values()) == search["requests"]
    assert set(report["variants"]) == {"sft", "rad-dpo"}
    assert set(report["degraded"]) == {"redis"}
    assert report["slo"] == {
        "met": True,
        "judgements": [{"name": "error_share", "limit": 0.01, "measured": 0.0, "met": True}],
    }
    assert {request["authorization"] for request in requests} == {"Bearer sesame"}
    filters = [request["body"]["filters"] for request in requests if "filters" in request["body"]]
    assert any(filter_.get("brand") == ["Arrow"] for filter_ in filters)
    assert any("lte" in filter_.get("price", {}) for filter_ in filters)
    clicks = [request["body"] for request in requests if request["path"] == "/v1/events"]
    assert all(click["request_id"].startswith("request-") for click in clicks)


def test_every_kind_of_error_is_counted_and_the_exit_code_says_so(shop_url: str, tmp_path: Path) -> None:
    queries = tmp_path / "queries.txt"
    queries.write_text("shoes\nrefuse\nno items\ngarbage\nhang up\n")
    done = run(
        "--url", shop_url, "--seconds", "2", "--users", "4", "--queries", queries, "--zipf", "0", "--json"
    )
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert set(report["errors"]) == {
        "status 429",
        "answer items: missing",
        "answer: json_invalid",
        "no answer: HTTPConnectionClosed",
    }
    assert report["slo"]["met"] is False


def test_a_person_gets_a_table_and_a_verdict(shop_url: str, tmp_path: Path) -> None:
    slo = tmp_path / "slo.toml"
    slo.write_text("p99_ms = 60000\nmin_rate = 1e9\n")
    done = run("--url", shop_url, "--seconds", "2", "--users", "1", "--slo", slo)
    assert done.returncode == 1
    assert "/v1/search" in done.stdout
    assert "p99" in done.stdout
    assert "✓ p99_ms" in done.stdout
    assert "✗ min_rate" in done.stdout
    assert "SLO missed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--url", "http://127.0.0.1:1"], "nothing answers at http://127.0.0.1:1"),
        (["--url", "shop"], "url = 'shop'"),
        (["--queries", "nowhere.txt"], "Cannot read nowhere.txt"),
        (["--slo", "nowhere.toml"], "Cannot read nowhere.toml"),
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


def test_locust_s_own_command_line_runs_the_same_shoppers(shop_url: str, tmp_path: Path) -> None:
    locustfile = Path(__file__).parents[2] / "loadtest" / "locustfile.py"
    command = [sys.executable, "-m", "locust", "-f", locustfile, "--headless", "--host", shop_url, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as locust:
        while len(received(shop_url)) < 10:
            assert locust.poll() is None
            time.sleep(0.1)
        locust.terminate()
        report, _ = locust.communicate()
    assert locust.returncode == 0
    assert {line["name"] for line in json.loads(report)} >= {"/v1/search"}
