"""How figures are written for people."""

from experiments.comparison import MetricResult
from experiments.metrics import Unit
from experiments.split import Variation
from reports.intervals import Interval


def percent(share: float, digits: int = 3) -> str:
    """A share to so many significant digits: ``0.0312`` → ``3.12%``."""
    shown = 100 * share
    if shown == 0 or abs(shown) >= 10 ** (digits - 1):
        return f"{shown:.0f}%"
    return f"{float(f'{shown:.{digits}g}'):g}%"


def relative(difference: Interval | None) -> str:
    """A relative difference: ``+2.10% [+0.90, +3.40]``."""
    if difference is None:
        return "–"
    mean, low, high = (f"{100 * value:+.2f}" for value in (difference.mean, difference.low, difference.high))
    return f"{mean}% [{low}, {high}]"


def amount(value: float, unit: Unit) -> str:
    """A value of a metric."""
    if unit == "share":
        return f"{100 * value:.2f}%"
    return f"{value:.2f} ms" if unit == "ms" else f"{value:,.3f}"


def value(metric: MetricResult, variation: Variation) -> str:
    """What a metric is in a variation."""
    measured = metric.values.get(variation.number)
    return amount(measured.mean, metric.unit) if measured is not None else "–"


def p_value(p: float) -> str:
    """A p-value."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"
