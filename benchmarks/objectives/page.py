"""The frame of the HTML page: style for light and dark, and the small pieces that sections are made of."""

from collections.abc import Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5f6670; --line: #d9dde2; --paper: #ffffff;
  --blue: #1f5fbf; --orange: #b3480a; --green: #28753a; --violet: #7a3fb0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #9aa3ad; --line: #363c44;
  --paper: #16181b; --blue: #7fb0ff; --orange: #ffa468; --green: #7fd394; --violet: #c9a0f5; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 76rem; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
p, li { max-width: 50rem; } .note, small { color: var(--soft); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 500; }
td small { display: block; font-size: .75rem; }
td.better { color: var(--blue); font-weight: 600; } td.worse { color: var(--orange); font-weight: 600; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem 2rem; } figure { margin: 0; }
figcaption { font-weight: 600; } figure .note { margin: 0; font-size: .8rem; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 12px; }
svg .tick { fill: var(--soft); font-size: 11px; } svg line, svg polyline { fill: none; stroke-width: 1.5; }
.zero, .grid { stroke: var(--line); } .same { stroke: var(--soft); fill: var(--paper); }
.better { stroke: var(--blue); } .worse { stroke: var(--orange); }
circle.better { fill: var(--blue); } circle.worse { fill: var(--orange); }
.line0 { stroke: var(--blue); } .line1 { stroke: var(--orange); }
.line2 { stroke: var(--green); } .line3 { stroke: var(--violet); }
circle.line0 { fill: var(--blue); } circle.line1 { fill: var(--orange); }
circle.line2 { fill: var(--green); } circle.line3 { fill: var(--violet); }
.key { color: var(--ink); margin-right: 1rem; } .key::before { content: "■ "; }
.key.line0::before { color: var(--blue); } .key.line1::before { color: var(--orange); }
.key.line2::before { color: var(--green); } .key.line3::before { color: var(--violet); }
code, pre { font: .85rem ui-monospace, monospace; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
"""


def page(title: str, sections: Sequence[str]) -> str:
    """A whole page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><h1>{escape(title)}</h1>"
        + "\n".join(sections)
        + "</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A section; nothing where it has no parts."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>" if any(parts) else ""


def text(*sentences: str) -> str:
    """A paragraph."""
    return f"<p>{escape(' '.join(sentences))}</p>"


def plots(figures: Sequence[str]) -> str:
    """Plots beside one another."""
    return f'<div class="plots">{"".join(figures)}</div>' if figures else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are made by :func:`cell`, the first one of each row is plain text."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr><td>{escape(first)}</td>{''.join(rest)}</tr>" for first, *rest in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def cell(value: str = "", below: str = "", kind: str = "") -> str:
    """A cell, with a smaller line below its value."""
    small = f"<small>{escape(below)}</small>" if below else ""
    named = f' class="{kind}"' if kind in ("better", "worse") else ""
    return f"<td{named}>{escape(value)}{small}</td>"
