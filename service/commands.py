"""``radsearch serve``."""

import json
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from service import logs
from service.app import create_app
from service.server import listen, run, url_of
from service.settings import ServiceSettings
from service.supervisor import supervise


def serve(
    bundle: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME[@PRECISION]=]DIR",
            help="Bundle to serve, and the variant's name; repeat for several.",
        ),
    ] = None,
    experiments: Annotated[
        Path | None, typer.Option(help="GrowthBook features file; its feature 'variant' names a bundle.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on, 0 for a free one. [default: 8000]")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(help="Processes that answer on the port, each with all bundles. [default: 1]"),
    ] = None,
    redis_url: Annotated[
        str | None, typer.Option(help="Redis that holds the items; without one an embedded Valkey does.")
    ] = None,
    provider: Annotated[str | None, typer.Option(help="Where beam search runs: auto, cpu or cuda.")] = None,
    event_log: Annotated[
        Path | None, typer.Option(help="Directory of the event log. [default: events]")
    ] = None,
    example: Annotated[
        list[str] | None, typer.Option(help="Query offered on the page; repeat for several.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings by name.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Announce the URL as JSON.")] = False,
) -> None:
    """Answer queries over HTTP from one or more bundles.

    Flags go before the environment (RADSEARCH_PORT, REDIS_URL, …), that before the file given by --config.

    Example: radsearch serve --bundle rad-dpo=bundles/rad-dpo --bundle sft=bundles/sft --port 8000
    """
    settings = ServiceSettings.load(
        config,
        bundles=tuple(bundle) if bundle else None,
        experiments=experiments,
        host=host,
        port=port,
        processes=processes,
        redis_url=redis_url,
        provider=provider,
        event_log=event_log,
        examples=tuple(example) if example else None,
        log_level=log_level,
    )
    logs.configure(settings.log_level)
    with listen(settings.host, settings.port) as listener:
        url = url_of(listener)

        def announce() -> None:
            Console().print(json.dumps({"url": url}) if as_json else f"serving on {url}", soft_wrap=True)

        if settings.processes == 1:
            uvloop.run(run(create_app(settings), listener, settings.drain_s, announce))
        else:
            uvloop.run(supervise(settings, listener, announce))
