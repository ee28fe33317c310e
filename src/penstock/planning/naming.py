"""Names as documents mean them: found without regard to case, and the two conventions that fill in what is unsaid."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_PREFIX = re.compile(r"(?:fct|fact|dim|stg|mart)_", re.IGNORECASE)


def find(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that `name` means, in its declared spelling."""
    return next((known for known in names if known.casefold() == name.casefold()), None)


def singulars(table: str) -> tuple[str, ...]:
    """Return what one row of a table may be called: "orders" gives "order". English, and generous."""
    endings = (("ies", "y"), ("es", ""), ("s", ""))
    stems = [table[: -len(plural)] + one for plural, one in endings if table.casefold().endswith(plural)]
    return tuple(stem for stem in [*stems, table] if stem)


def likely_source(model: str, tables: Iterable[str]) -> str | None:
    """Return the table that a model such as `fct_orders` or `dim_customer` is made of, by its name."""
    stem = _PREFIX.sub("", model, count=1)
    known = tuple(tables)
    for table in known:
        if table.casefold() == stem.casefold():
            return table
    for table in known:
        if {one.casefold() for one in singulars(table)} & {one.casefold() for one in singulars(stem)}:
            return table
    return None


def key_aliases(table: str, primary_key: str) -> tuple[str, ...]:
    """Return what the key `id` of `orders` is called elsewhere: `order_id`."""
    return tuple(f"{one}_{primary_key}" for one in singulars(table))


def slug(text: str) -> str:
    """Return a text as an identifier that people can read: `total_amount >= 0` is `total_amount_at_least_0`."""
    for sign, word in ((">=", "at least"), ("<=", "at most"), ("<>", "is not"), ("!=", "is not"), (">", "above"),
                       ("<", "below"), ("=", "is")):  # fmt: skip
        text = text.replace(sign, f" {word} ")
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:80] or "rule"
