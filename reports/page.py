"""The frame of a page, and the small pieces that its sections are made of.

A page stands alone: no script, no font, no picture from elsewhere. It is light or dark as its reader's system
is, prints, and its tables hold plain numbers that can be copied.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


def page(title: str, sections: Sequence[str]) -> str:
    """A whole page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        + "\n".join(sections)
        + "</main></body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A section; nothing where it has no parts."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>" if any(parts) else ""


def text(*sentences: str) -> str:
    """A paragraph."""
    return f"<p>{escape(' '.join(sentences))}</p>"


def note(*sentences: str) -> str:
    """A paragraph that stands back."""
    return f'<p class="note">{escape(" ".join(sentences))}</p>'


def verdict(sentences: Sequence[str], kind: str = "same") -> str:
    """What a reader who reads one thing shall read; ``kind`` is ``better``, ``worse`` or ``same``."""
    return f'<p class="verdict {kind}">{escape(" ".join(sentences))}</p>'


def bullets(remarks: Sequence[str]) -> str:
    """Remarks, one below the other."""
    return f"<ul>{''.join(f'<li>{escape(remark)}</li>' for remark in remarks)}</ul>"


def plots(figures: Sequence[str]) -> str:
    """Plots beside one another."""
    return f'<div class="plots">{"".join(figures)}</div>' if figures else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are made by :func:`cell`, the first one of each row is plain text."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr><td>{escape(first)}</td>{''.join(rest)}</tr>" for first, *rest in rows)
    return _scrolled(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def cell(value: str = "", below: str = "", kind: str = "") -> str:
    """A cell, with a smaller line below its value; ``kind`` may be ``better`` or ``worse``."""
    small = f"<small>{escape(below)}</small>" if below else ""
    named = f' class="{kind}"' if kind in ("better", "worse") else ""
    return f"<td{named}>{escape(value)}{small}</td>"


def facts(values: Mapping[str, Any]) -> str:
    """Names and values, as they are needed to make the report again."""
    lines = "".join(
        f"<tr><td>{escape(name)}</td>{cell(_plain(value))}</tr>" for name, value in values.items()
    )
    return _scrolled(f'<table class="facts">{lines}</table>')


def _scrolled(wide: str) -> str:
    """What may be wider than the page: the keyboard reaches it, so that arrow keys scroll it."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="Table">{wide}</div>'


def _plain(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, Mapping):
        return " · ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
