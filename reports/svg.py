"""Pieces of inline SVG: no library, no script, colours from the style sheet by class."""

from collections.abc import Iterable, Sequence
from html import escape

N_HUES = 6

Point = tuple[float, float]


def figure(title: str, width: float, height: float, parts: Sequence[str], below: str = "") -> str:
    """A titled drawing; ``below`` is HTML under it."""
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg><p class="note">{below}</p></figure>'
    )


def key(names: Iterable[str]) -> str:
    """What the hues stand for."""
    return "".join(
        f'<span class="key {hue(number)}">{escape(name)}</span>' for number, name in enumerate(names)
    )


def hue(number: int) -> str:
    """The class of a series; after the last hue the first comes again."""
    return f"hue{number % N_HUES}"


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line."""
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def polyline(points: Iterable[Point], kind: str) -> str:
    """Lines from point to point."""
    return f'<polyline class="{kind}" points="{_joined(points)}"/>'


def polygon(points: Iterable[Point], kind: str) -> str:
    """An area."""
    return f'<polygon class="{kind}" points="{_joined(points)}"/>'


def rect(x: float, y: float, width: float, height: float, kind: str, said: str = "") -> str:
    """A rectangle; ``said`` is shown to who points at it."""
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" '
        f'height="{max(height, 0):.1f}">{_title(said)}</rect>'
    )


def circle(x: float, y: float, radius: float, kind: str, said: str = "") -> str:
    """A dot; ``said`` is shown to who points at it."""
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}">{_title(said)}</circle>'


def text(x: float, y: float, words: str, anchor: str, kind: str = "label") -> str:
    """Words; ``anchor`` is ``start``, ``middle`` or ``end``."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _title(said: str) -> str:
    return f"<title>{escape(said)}</title>" if said else ""


def _joined(points: Iterable[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
