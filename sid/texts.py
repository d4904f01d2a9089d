"""The text of an item: what its embedding and its BM25 are made from."""

from collections.abc import Mapping, Sequence


def item_text(title: str, attributes: Mapping[str, str | Sequence[str] | None]) -> str:
    """Write an item as one text.

    Args:
        title: of the item.
        attributes: those that hold a text or texts, by name; None where the item has no value.

    Returns:
        The title, then the values ordered by the attribute's name: the order of columns does not matter.
    """
    values = [title]
    for name in sorted(attributes):
        value = attributes[name]
        if isinstance(value, str):
            values += [value] if value else []
        elif value is not None:
            values += value
    return " ".join(values)
