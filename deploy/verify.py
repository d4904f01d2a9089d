"""Look whether the services of docker-compose.yml work together; see verify.sh."""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from stack import ROOT, Stack, StackError

from radsearch.client import Client, ClientError

SERVICES = ("redis", "api", "front", "prometheus")
SETTLED_WITHIN_S = 60
BROKEN = "broken, without a second try"
Targets = list[dict[str, Any]]
Found = TypeVar("Found")


def main() -> None:
    """Run the checks; exit code 1 where one does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="of load by locust")
    parser.add_argument("--replicas", type=int, help="of the API, instead of what the compose file says")
    parser.add_argument("--keep", action="store_true", help="keep the directory with logs and data")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="radsearch-stack-"))
    stack = Stack.read(SERVICES, directory, arguments.replicas)
    try:
        admin = let_an_admin_in(stack)
        stack.start()
        with httpx.Client(base_url=stack.addresses["front"][0].url) as front:
            check_answers(front)
            check_both_replicas_answer(stack, front)
            check_load(front, arguments.seconds)
            measure_rate(front)
            check_prometheus(stack)
            check_dashboard(stack)
            if len(stack.replicas("api")) > 1:
                check_a_killed_replica_is_not_noticed(stack, front)
                check_a_rolling_restart_is_not_noticed(stack, front)
            check_a_roll_out_is_not_noticed(stack, front, admin)
        check_processes(stack)
    except (StackError, httpx.HTTPError) as error:
        print(f"FAILED: {error}\nlogs: {directory}", file=sys.stderr)
        arguments.keep = True
        sys.exit(1)
    finally:
        stack.stop()
        if not arguments.keep:
            shutil.rmtree(directory)
    print("the stack works as the compose file says")


def check(holds: bool, what: str) -> None:
    """Say what was looked at, or stop.

    Raises:
        StackError: if it does not hold.
    """
    if not holds:
        raise StackError(what)
    print(f"  ok: {what}", flush=True)


def search(front: httpx.Client, query: str) -> dict[str, Any]:
    """Ask the front."""
    answer = front.post("/v1/search", json={"query": query, "k": 5})
    return dict(answer.raise_for_status().json())


def queries(front: httpx.Client) -> list[str]:
    """Queries that the catalogue answers."""
    return list(front.get("/v1/models").raise_for_status().json()["examples"])


def check_answers(front: httpx.Client) -> None:
    """A search by way of the front, a page, and what the front keeps to itself."""
    answer = search(front, queries(front)[0])
    titles = [item["title"] for item in answer["items"]]
    check(bool(titles) and not answer["degraded"], f"the front answers: {titles[:1]}")
    check("<html" in front.get("/").raise_for_status().text, "the page is served")
    check(front.get("/metrics").status_code == 404, "metrics are not told to the outside")


def check_both_replicas_answer(stack: Stack, front: httpx.Client) -> None:
    """Requests are spread."""
    for query in queries(front) * 4:
        search(front, query)
    answered = [
        sum('"/v1/search"' in line for line in running.log.read_text(encoding="utf-8").splitlines())
        for running in stack.replicas("api")
    ]
    check(min(answered) > 0, f"every replica answers, {answered} searches")


def check_load(front: httpx.Client, seconds: int) -> None:
    """Locust, headless: shoppers who do not think; no request fails."""
    locust = [ROOT / ".venv/bin/locust", "-f", ROOT / "loadtest/locustfile.py", "--headless", "--json"]
    load = ["--users", "4", "--spawn-rate", "4", "--run-time", f"{seconds}s", "--host", str(front.base_url)]
    done = subprocess.run([*locust, *load], check=False, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-2000:], file=sys.stderr)
    counted = {one["name"]: one for one in json.loads(done.stdout or "[]")}
    told = ", ".join(
        f"{name} {one['num_requests']} of which {one['num_failures']} failed" for name, one in counted.items()
    )
    check(done.returncode == 0 and "search" in counted, f"locust for {seconds} s: {told}")


def ask(stack: Stack, path: str, **parameters: str) -> dict[str, Any]:
    """An answer of Prometheus."""
    url = f"{stack.addresses['prometheus'][0].url}/api/v1/{path}"
    return dict(httpx.get(url, params=parameters).raise_for_status().json()["data"])


def check_prometheus(stack: Stack) -> None:
    """Every replica is scraped, the alerts are read, and none is raised."""
    replicas = len(stack.addresses["api"])
    scraped = settled(lambda: health_of_targets(stack), lambda health: health == ["up"] * replicas)
    check(scraped == ["up"] * replicas, f"Prometheus scrapes {scraped}")
    rules = settled(lambda: rules_of(stack), lambda rules: all(rule["health"] != "unknown" for rule in rules))
    health = Counter(rule["health"] for rule in rules)
    check(set(health) == {"ok"}, f"alerting rules are evaluated: {dict(health)}")
    firing = [rule["name"] for rule in rules if rule["state"] == "firing"]
    check(not firing, f"no alert is firing {firing or ''}")


def settled(read: Callable[[], Found], is_settled: Callable[[Found], bool]) -> Found:
    """What Prometheus says when it has come so far, or in the end."""
    ends = time.monotonic() + SETTLED_WITHIN_S
    while not is_settled(found := read()) and time.monotonic() < ends:
        time.sleep(1)
    return found


def health_of_targets(stack: Stack) -> list[str]:
    """Of each replica."""
    return [target["health"] for target in ask(stack, "targets")["activeTargets"]]


def rules_of(stack: Stack) -> list[dict[str, Any]]:
    """The alerting rules and how they are."""
    return [rule for group in ask(stack, "rules")["groups"] for rule in group["rules"]]


def check_dashboard(stack: Stack) -> None:
    """Prometheus reads every query of every panel, and finds something for most: faults there are none."""
    path = ROOT / "deploy" / "grafana" / "dashboards" / "radsearch.json"
    panels = json.loads(path.read_text(encoding="utf-8"))["panels"]
    empty = settled(
        lambda: [panel["title"] for panel in panels if not any(answers_of(stack, panel.get("targets", [])))],
        lambda empty: 2 * len(empty) < len(panels),
    )
    check(2 * len(empty) < len(panels), f"{len(panels) - len(empty)} of {len(panels)} panels have data")
    print(f"      nothing to see in: {', '.join(empty)}")


def answers_of(stack: Stack, targets: Targets) -> Iterator[list[Any]]:
    """What Prometheus finds for each query of a panel."""
    for target in targets:
        expression = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
        yield ask(stack, "query", query=expression)["result"]


@contextmanager
def searching(front: httpx.Client, clients: int = 4) -> Iterator["Counter[str]"]:
    """Search without a pause, each client as soon as it has an answer; counts what comes of it.

    Every other client is ours, which tries again where a connection breaks.
    """
    outcomes: Counter[str] = Counter()
    asked, is_over = queries(front), threading.Event()

    def client(number: int) -> None:
        turn = number
        with httpx.Client(base_url=front.base_url) as plain, Client(str(front.base_url)) as ours:
            while not is_over.is_set():
                turn += 1
                query = f"{asked[turn % len(asked)]} {turn}"
                try:
                    ours.search(query) if number % 2 else search(plain, query)
                    outcomes["answered"] += 1
                except httpx.HTTPError:
                    outcomes[BROKEN] += 1
                except ClientError as error:
                    outcomes[f"failed: {error!r}"] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def measure_rate(front: httpx.Client, seconds: float = 10) -> None:
    """Searches per second of clients that wait for their answers."""
    with searching(front) as outcomes:
        time.sleep(seconds)
    print(f"      {outcomes['answered'] / seconds:.0f} searches per second of 4 clients", flush=True)


def check_a_killed_replica_is_not_noticed(stack: Stack, front: httpx.Client) -> None:
    """Kill -9 of one replica under load."""
    victim = stack.replicas("api")[0]
    with searching(front) as outcomes:
        time.sleep(2)
        victim.process.send_signal(signal.SIGKILL)
        victim.process.wait()
        time.sleep(3)
    stack.restart(victim)
    # Half an answer cannot be taken back: only the client can ask again, as ours does.
    few = max(1, outcomes["answered"] // 1000)
    check(
        outcomes[BROKEN] <= few and outcomes.keys() <= {"answered", BROKEN},
        f"{victim.name} killed under load: {dict(outcomes)}",
    )


def check_a_rolling_restart_is_not_noticed(stack: Stack, front: httpx.Client) -> None:
    """SIGTERM and a new process, one replica after the other, under load."""
    with searching(front) as outcomes:
        for replica in stack.replicas("api"):
            replica.process.terminate()
            replica.process.wait(timeout=90)
            stack.restart(replica)
        time.sleep(1)
    check(set(outcomes) == {"answered"}, f"rolling restart under load: {dict(outcomes)}")


def let_an_admin_in(stack: Stack) -> dict[str, str]:
    """Make a key for the admin calls that the compose file leaves shut; gives the header that carries it."""
    keys = stack.directory / "keys.toml"
    made = [
        ROOT / ".venv/bin/radsearch",
        "key",
        "new",
        "--scope",
        "admin",
        "--name",
        "verify",
        "--keys",
        keys,
    ]
    key = subprocess.run(made, check=True, capture_output=True, text=True).stdout.strip()
    stack.variables |= {
        "RADSEARCH_KEYS": str(keys),
        "RADSEARCH_BUNDLES_ROOT": str(stack.source("api", "/bundles")),
    }
    return {"Authorization": f"Bearer {key}"}


def check_a_roll_out_is_not_noticed(stack: Stack, front: httpx.Client, admin: dict[str, str]) -> None:
    """A new variant that takes the traffic, then a new epoch, told to one replica under load."""
    replicas = [address.url for address in stack.addresses["api"]]

    def versions() -> list[int]:
        states = [httpx.get(f"{url}/v1/admin/state", headers=admin) for url in replicas]
        return [state.raise_for_status().json()["version"] for state in states]

    def epochs() -> set[str]:
        asked = {"query": queries(front)[0], "user_id": "verify"}
        answers = [httpx.post(f"{url}/v1/search", json=asked) for url in replicas]
        return {answer.raise_for_status().json()["epoch"] for answer in answers}

    first_bundle = stack.environment("api")["RADSEARCH_BUNDLES"].split(",")[0]
    item = {"item_id": "verify-1", "title": "purple garden unicorn", "attributes": {}}
    changes = {
        "variants/verify": {"bundle": Path(first_bundle).name},
        "traffic": {"shares": {"verify": 1}},
        "items": {"items": [item]},
    }
    before = epochs()
    with searching(front) as outcomes:
        for path, change in changes.items():
            answer = httpx.put(f"{replicas[0]}/v1/admin/{path}", json=change, headers=admin, timeout=60)
            answer.raise_for_status()
        told = settled(versions, lambda told: len(set(told)) == 1)
        after = epochs()
    check(
        set(outcomes) == {"answered"} and len(set(told)) == len(after) == 1 and not after & before,
        f"new variant and epoch under load: {dict(outcomes)}, versions {told}, epoch {before} → {after}",
    )


def check_processes(stack: Stack) -> None:
    """Whatever was started still runs."""
    ended = [running.name for running in stack.running if running.process.poll() is not None]
    check(not ended, f"all {len(stack.running)} processes run {ended or ''}")


if __name__ == "__main__":
    main()
