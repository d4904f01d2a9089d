"""``radsearch demo``: the whole path on a synthetic shop, with the commands a user would type."""

import json
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from sid.errors import RadsearchError
from sid.manifest import FORMAT_VERSION

VARIANTS = ("sft", "rad-dpo")
SFT_EPOCHS, RAD_DPO_EPOCHS = 4, 1  # enough for the demo's shop; the objectives' own are more
READY_TIMEOUT_S = 60
EXAMPLE_QUERIES = (
    "red running shoes size 44",
    "wireless earbuds black",
    "grey sofa 3 seater",
    "gluten free pasta",
    "womens perfume 50 ml",
)
METRICS = ("NDCG@10", "Item Recall@10", "Item MRR", "SID Recall@64", "Hallucination rate")


@dataclass(frozen=True)
class Step:
    """One command of the path and what it leaves behind."""

    title: str
    arguments: tuple[str, ...]
    output: Path

    @property
    def command(self) -> str:
        """The step as one would type it."""
        return shlex.join(("radsearch", *self.arguments))


class DemoError(RadsearchError):
    """A step of the demo failed; its own message stands above."""


def demo(
    directory: Annotated[Path, typer.Option("--dir", help="Where shop, models and bundles are kept.")] = Path(
        ".demo"
    ),
    items: Annotated[int, typer.Option(min=300, help="Items in the synthetic shop.")] = 5000,
    seed: Annotated[int, typer.Option(help="Seed of the shop and of training.")] = 0,
    port: Annotated[int, typer.Option(envvar="PORT", help="Port on 127.0.0.1.")] = 8000,
    serve: Annotated[bool, typer.Option(help="Serve at the end.")] = True,
) -> None:
    """Build the synthetic shop, train, align, export, and serve two variants side by side.

    A second run starts from what the first one made; a step is made again when its command has changed.

    Example: radsearch demo --port 8000
    """
    signal.signal(signal.SIGTERM, _end)
    console = Console(highlight=False)
    directory.mkdir(parents=True, exist_ok=True)
    steps = plan(directory, items, seed)
    # What an older release built is built again.
    build(steps, directory / f"steps-{FORMAT_VERSION}.json", console)
    console.print(_quality(directory))
    features = directory / "features.json"
    features.write_text(json.dumps(experiment(), indent=2) + "\n", encoding="utf-8")
    if serve:
        sys.exit(_serve(directory, features, port, console))


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Leave by way of the step that runs, so that it ends, too; by default a signal leaves it behind."""
    sys.exit(128 + number)


def plan(directory: Path, items: int, seed: int) -> list[Step]:
    """The path from nothing to two bundles, one step per command."""
    shop, data = directory / "shop", directory / "data"
    sft, rad = directory / "sft", directory / "rad-dpo"
    common = ("--seed", str(seed))
    steps = [
        Step("A shop to search", ("shop", "--items", str(items), *common, "--out", str(shop)), shop),
        Step(
            "Check the data, train the tokenizer",
            (
                *(
                    "prepare",
                    "--items",
                    str(shop / "items.jsonl"),
                    "--sessions",
                    str(shop / "sessions.jsonl"),
                ),
                *("--judgments", str(shop / "judgments.jsonl"), "--positive-from", "2", "--out", str(data)),
            ),
            data,
        ),
        Step(
            "Semantic IDs",
            ("sids", "--data", str(data), "--dim", "384", "--balanced", *common),
            data / "sids.json",
        ),
        Step(
            "Teach the decoder to write SIDs",
            (
                *("train", "--data", str(data), "--objective", "sft", "--epochs", str(SFT_EPOCHS)),
                *(*common, "--out", str(sft)),
            ),
            sft,
        ),
        Step(
            "Align it to what users chose",
            (
                *("train", "--data", str(data), "--objective", "rad-dpo", "--from", str(sft)),
                *("--epochs", str(RAD_DPO_EPOCHS), *common, "--out", str(rad)),
            ),
            rad,
        ),
    ]
    for name in VARIANTS:
        checkpoint = directory / name
        steps.append(
            Step(
                f"Measure {name} on held-out queries",
                ("evaluate", "--data", str(data), "--checkpoint", str(checkpoint)),
                checkpoint / "metrics.json",
            )
        )
    for name in VARIANTS:
        bundle = directory / "bundles" / name
        steps.append(
            Step(
                f"Prove and export {name}",
                (
                    *("export", "--checkpoint", str(directory / name), "--data", str(data)),
                    *("--name", name, "--out", str(bundle)),
                ),
                bundle,
            )
        )
    return steps


def build(steps: list[Step], record: Path, console: Console) -> None:
    """Run the steps that are not done yet; after one that runs, all later ones run too."""
    done: dict[str, str] = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    stale = False
    for number, step in enumerate(steps, start=1):
        heading = f"[bold]{number}/{len(steps)} {step.title}[/bold]"
        stale = stale or done.get(str(step.output)) != step.command or not step.output.exists()
        if not stale:
            console.print(f"{heading} [dim]done before[/dim]")
            continue
        done.pop(str(step.output), None)
        console.print(f"{heading}\n  [dim]$ {step.command}[/dim]")
        started = time.perf_counter()
        if subprocess.run([sys.executable, "-m", "radsearch", *step.arguments], check=False).returncode:
            raise DemoError(f"'{step.command}' failed; its message is above")
        console.print(f"  [green]{time.perf_counter() - started:.1f} s[/green]")
        done[str(step.output)] = step.command
        record.write_text(json.dumps(done, indent=2) + "\n", encoding="utf-8")


def experiment() -> dict[str, Any]:
    """GrowthBook features: half of the users get each variant, by a hash of their id."""
    key = "sft-against-rad-dpo"
    split = {"key": key, "seed": key, "hashVersion": 2}
    rule = split | {"variations": list(VARIANTS), "weights": [0.5, 0.5], "coverage": 1.0}
    return {"variant": {"defaultValue": VARIANTS[-1], "rules": [rule]}}


def _quality(directory: Path) -> Table:
    """What ``evaluate`` measured for each variant, side by side."""
    table = Table(title="Held-out queries, judged by the shop's true relevance", title_justify="left")
    table.add_column("")
    columns = []
    for name in VARIANTS:
        table.add_column(name, justify="right")
        report = json.loads((directory / name / "metrics.json").read_text(encoding="utf-8"))
        columns.append(report["metrics"])
    for metric in METRICS:
        intervals = [column[metric] for column in columns]
        table.add_row(metric, *(f"{i['mean']:.3f} [{i['low']:.3f}, {i['high']:.3f}]" for i in intervals))
    return table


def _serve(directory: Path, features: Path, port: int, console: Console) -> int:
    """Serve both bundles until interrupted; show one answered request when ready."""
    arguments = ["serve", "--experiments", str(features), "--event-log", str(directory / "events")]
    arguments += ["--port", str(port)]
    for query in EXAMPLE_QUERIES:
        arguments += ["--example", query]
    for name in VARIANTS:
        arguments += ["--bundle", f"{name}={directory / 'bundles' / name}"]
    console.print(f"[bold]Serve both variants[/bold]\n  [dim]$ {shlex.join(['radsearch', *arguments])}[/dim]")
    server = subprocess.Popen([sys.executable, "-m", "radsearch", *arguments])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: server.send_signal(received))
    if _wait_until_ready(server, port):
        _show_request(port, console)
    return server.wait()


def _wait_until_ready(server: subprocess.Popen[bytes], port: int) -> bool:
    """Poll readiness; false when the server ended instead."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
                return True
        except OSError:
            time.sleep(0.1)
    return False


def _show_request(port: int, console: Console) -> None:
    """Ask one question, print the answer's top and how to ask it again."""
    url = f"http://127.0.0.1:{port}"
    body = json.dumps({"query": EXAMPLE_QUERIES[0], "k": 5, "user_id": "ada"})
    request = urllib.request.Request(
        f"{url}/v1/search", body.encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        answer = json.load(response)
    console.print(
        f"\n[bold]{EXAMPLE_QUERIES[0]}[/bold] → variant {answer['variant']}, {answer['timings_ms']}"
    )
    for item in answer["items"]:
        console.print(f"  {item['score']:7.3f}  {item['title']}", markup=False)
    command = f"curl -s {url}/v1/search -H 'Content-Type: application/json' -d {shlex.quote(body)}"
    console.print(
        f"\nAsk it yourself:\n  {command}\nor open {url}/ · Ctrl-C ends it", soft_wrap=True, markup=False
    )
