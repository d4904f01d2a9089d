"""``radsearch key``: make and revoke the keys of a service."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service.keys import Scope, add_key, revoke_key

key = typer.Typer(
    no_args_is_help=True,
    help="""Make and revoke the bearer keys of a service.

    Example: radsearch key new --scope admin --name ops --keys keys.toml
    """,
)

File = Annotated[
    Path, typer.Option(metavar="FILE", help="Keys file; the service reads it by RADSEARCH_KEYS.")
]
Name = Annotated[str, typer.Option(help="Whose key it is; logs and the rate limit know it by this name.")]


@key.command()
def new(
    scope: Annotated[Scope, typer.Option(help="What it allows.")],
    name: Name,
    keys: File = Path("keys.toml"),
) -> None:
    """Print a new key, once, and add its hash to the keys file.

    Example: radsearch key new --scope admin --name ops --keys keys.toml
    """
    Console(soft_wrap=True).print(add_key(keys, scope, name), highlight=False, markup=False)


@key.command()
def revoke(name: Name, keys: File = Path("keys.toml")) -> None:
    """Let a key count no longer; running services follow within two seconds.

    Example: radsearch key revoke --name ops --keys keys.toml
    """
    revoke_key(keys, name)
