"""Every setting of every package as one Markdown page: ``python -m radsearch.configuration``."""

import ast
import inspect
import textwrap
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from loadtest.settings import LoadtestSettings
from service.settings import ServiceSettings
from training.objectives import OBJECTIVES
from training.settings import ModelSettings, TrainSettings

HEAD = """# Settings

One typed object per package. A flag goes before the environment, the environment before the TOML file of
`--config`, the file before the default. The keys of the file are the names below. This page is written by
`python -m radsearch.configuration`; a test holds it to the code.
"""


def page() -> str:
    """The whole page."""
    parts = [
        HEAD,
        _section("Training: `radsearch train`", "RADSEARCH_TRAIN_", TrainSettings),
        _section(
            "Shape of a decoder from scratch, table `[model]`", "RADSEARCH_TRAIN_MODEL__", ModelSettings
        ),
        *(_objective(name) for name in OBJECTIVES if is_dataclass(OBJECTIVES[name].Settings)),
        _section("Service: `radsearch serve`", "RADSEARCH_", ServiceSettings),
        _section("Load test: `radsearch loadtest`", "RADSEARCH_LOADTEST_", LoadtestSettings),
    ]
    return "\n".join(part for part in parts if part)


def _section(title: str, prefix: str, settings: type[BaseModel]) -> str:
    meanings = attribute_docstrings(settings)
    rows = [
        f"| `{name}` | `{_variable(prefix, name, field)}` | {_default(field)} | {meanings[name]} |"
        for name, field in settings.model_fields.items()
    ]
    return _table(title, "| setting | environment | default | what |\n|---|---|---|---|", rows)


def _objective(name: str) -> str:
    """The options of one objective, set as ``--set objective.NAME=VALUE`` or in the table ``[objective]``."""
    options = fields(OBJECTIVES[name].Settings)
    rows = [f"| `objective.{option.name}` | `{option.default!r}` |" for option in options]
    return _table(f"Objective `{name}`", "| setting | default |\n|---|---|", rows) if rows else ""


def _table(title: str, head: str, rows: list[str]) -> str:
    return "\n".join([f"## {title}", "", head, *rows, ""])


def attribute_docstrings(settings: type[Any]) -> dict[str, str]:
    """The string that stands below each field of a class, on one line."""
    body = next(
        node
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(settings))))
        if isinstance(node, ast.ClassDef)
    ).body
    return {
        field.target.id: " ".join(str(below.value.value).split()).replace("|", "\\|")
        for field, below in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
    }


def _variable(prefix: str, name: str, field: FieldInfo) -> str:
    """The plain variable (PORT, REDIS_URL) where a field has one, else the prefixed name."""
    choices = getattr(field.validation_alias, "choices", [])
    return str(choices[-1]) if choices else prefix + name.upper()


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "computed"
    if field.default is None or field.default in ((), {}):
        return "–"
    if isinstance(field.default, BaseModel):
        return "see below"
    return f"`{field.default}`"


if __name__ == "__main__":
    print(page(), end="")
