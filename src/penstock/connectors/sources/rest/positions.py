"""What a position of a REST source holds: the page to ask for next, and what the pass it belongs to began with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from penstock.errors import ContentChanged

if TYPE_CHECKING:
    from penstock.model.position import Position


class Token(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place in a pass over all pages.

    `page` leads to the next page (see `paging`), None where the pass is over. `since` is the newest value of the
    incremental key when the pass began, `newest` that by now: what the next pass begins with. `began_s` is when it
    began, in seconds since 1970; `digest` is that of the last page's records.
    """

    page: str | None = None
    since: str | None = None
    newest: str | None = None
    began_s: float = 0.0
    digest: str = ""


def write_token(token: Token) -> str:
    """Serialise for a Position."""
    return msgspec.json.encode(token).decode()


def read_token(position: Position | None) -> Token:
    """Return what `write_token` wrote; a pass that is over, and saw nothing, for a partition's beginning.

    Raises ContentChanged for what is none of ours.
    """
    if position is None or not position.token:
        return Token()
    try:
        return msgspec.json.decode(position.token, type=Token)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ContentChanged(
            "INT_ALPHA_013",
            f"{position.partition}: its position does not fit an API ({error})",
            remedy="--rewind reads it from its beginning again",
        ) from error
