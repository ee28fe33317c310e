"""What an answer holds: its records as untouched bytes, and the members by which it leads on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from penstock.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.connectors.sources.rest.options import RestOptions

LISTS = ("data", "items", "results", "records")
"""Where the records of an answer are looked for when nothing is said, in this order."""
NEXT_CURSOR = "next_cursor"
"""Where the next cursor is looked for when nothing is said."""
_BLANK = b" \t\r"
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Unreadable(Exception):
    """An answer breaks off, or is not what its format says: asked again, it may be whole."""


class Page(msgspec.Struct, frozen=True):
    """The records of one answer, each as it was written; `cursor` is the next one, None where there is none.

    `knows_cursors` tells whether the answer has the member at all that holds the next cursor.
    """

    records: tuple[bytes, ...]
    cursor: str | None = None
    knows_cursors: bool = False


def read_page(body: bytes, options: RestOptions, where: str) -> Page:
    """Read an answer. Raises Unreadable where it is cut short, UserMistake where it is not as described; see docs."""
    if options.response_format == "jsonl":
        return Page(_lines(body))
    whole = _decode(body)
    if not isinstance(whole, dict):
        if not isinstance(whole, list) or options.records:
            raise _no_records(where, options.records or "a list", whole)
        return Page(tuple(map(bytes, whole)))
    records = tuple(map(bytes, _records(whole, options.records, where)))
    if options.pagination != "cursor":
        return Page(records)
    knows, cursor = _member(whole, options.cursor_field or NEXT_CURSOR)
    return Page(records, _cursor(cursor, where), knows)


def _decode(body: bytes) -> dict[str, msgspec.Raw] | list[msgspec.Raw] | object:
    start = body.lstrip()[:1]
    shape: type = dict[str, msgspec.Raw] if start == b"{" else list[msgspec.Raw] if start == b"[" else object
    try:
        found: object = msgspec.json.decode(body, type=shape)
    except _NOT_JSON as error:
        raise Unreadable(f"the answer is not JSON: {str(error)[:100]}") from error
    return found


def _lines(body: bytes) -> tuple[bytes, ...]:
    """Return the lines that hold something. One that does not end may have been cut short, so it must be whole."""
    if body and not body.endswith(b"\n"):
        try:
            msgspec.json.decode(body[body.rfind(b"\n") + 1 :])
        except _NOT_JSON as error:
            raise Unreadable("the answer's last line breaks off") from error
    return tuple(line.rstrip(b"\r") for line in body.split(b"\n") if line.strip(_BLANK))


def _records(whole: Mapping[str, msgspec.Raw], path: str, where: str) -> list[msgspec.Raw]:
    """Return the list at `path`, or where nothing is said the first of LISTS that is there, or the only list."""
    lists = [name for name, value in whole.items() if _begins(value) == b"["]
    if path:
        there, raw = _member(whole, path)
        if not there and lists:
            raise _no_records(where, f"`{path}`", whole)
        if raw is None or bytes(raw) == b"null":
            return []  # many APIs leave out a list that is empty
        if _begins(raw) != b"[":
            raise _no_records(where, f"a list at `{path}`", whole)
        return msgspec.json.decode(raw, type=list[msgspec.Raw])
    name = next((name for name in LISTS if name in lists), lists[0] if len(lists) == 1 else None)
    if name is None:
        raise _no_records(where, "one list", whole)
    return msgspec.json.decode(whole[name], type=list[msgspec.Raw])


def _begins(raw: msgspec.Raw) -> bytes:
    return bytes(memoryview(raw)[:1])


def _member(whole: Mapping[str, msgspec.Raw], path: str) -> tuple[bool, msgspec.Raw | None]:
    """Return whether there is something at the dotted `path`, and what; a name with dots in it goes first."""
    if path in whole:
        return True, whole[path]
    first, dot, rest = path.partition(".")
    if not dot or first not in whole or _begins(whole[first]) != b"{":
        return False, None
    return _member(msgspec.json.decode(whole[first], type=dict[str, msgspec.Raw]), rest)


def _cursor(raw: msgspec.Raw | None, where: str) -> str | None:
    """Return a cursor as text; null, false and an empty text are the end."""
    text = b"null" if raw is None else bytes(raw)
    if text in {b"null", b"false", b'""'}:
        return None
    if text[:1] == b'"':
        return msgspec.json.decode(text, type=str)
    if text[:1] in b"-0123456789":
        return text.decode()
    raise UserMistake("INT_ALPHA_020", f"{where}: what holds the next cursor is no text and no number")


def _no_records(where: str, wanted: str, found: object) -> UserMistake:
    has = f"it has {', '.join(f'`{name[:40]}`' for name in list(found)[:10])}" if isinstance(found, dict) else ""
    return UserMistake(
        "INT_ALPHA_020",
        f"{where}: the answer has not {wanted} where its records should be{f': {has}' if has else ''}",
        remedy="say where they are with `records`",
    )
