"""Records of a JSON Lines file: one object a line, as text columns. Numbers keep every digit that was written."""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa

from penstock.connectors.sources.files.textformat import (
    Refusal,
    Taken,
    encoding_error,
    is_plain_text,
    length_error,
    length_without_break,
    lines_fit,
)
from penstock.errors import UserMistake
from penstock.model.outcome import RecordError
from penstock.model.schema import Kind
from penstock.ports import Reread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from penstock.model.schema import Field

BLANK = b" \t\r"
"""What a line may hold and still be blank."""
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NULL = msgspec.Raw(b"null")


class JsonLines:
    """JSON Lines as a TextFormat: a missing key is null, a nested value is its JSON text, a key said twice counts last.

    Columns of type json hold the JSON text of any value; other columns hold strings without their quotes.
    """

    def __init__(self, fields: Sequence[Field], record_bytes_max: int) -> None:
        self._limit = record_bytes_max
        self.schema = pa.schema([pa.field(field.name, pa.string()) for field in fields])
        self._keys = [f"key_{place}" for place in range(len(fields))]
        names = dict(zip(self._keys, (field.name for field in fields), strict=True))
        is_json = [field.type.kind is Kind.JSON for field in fields]
        members = [
            (key, msgspec.Raw, _NULL) if json else (key, Any, None)
            for key, json in zip(self._keys, is_json, strict=True)
        ]
        # An untyped number with a point or an exponent goes through float_hook as it was written, not through a float.
        self._decode = msgspec.json.Decoder(_struct(members, names), float_hook=str).decode
        self._decode_raw = msgspec.json.Decoder(
            _struct([(key, msgspec.Raw, _NULL) for key in self._keys], names)
        ).decode
        self._is_json = is_json

    def take(self, block: bytes, *, final: bool) -> Taken:  # noqa: ARG002 - a line needs nothing after it
        """See TextFormat."""
        cut = block.rfind(b"\n") + 1
        lines = block[:cut].split(b"\n")[:-1]
        if is_plain_text(block, cut) and lines_fit(block, cut, self._limit):
            objects = [line for line in lines if line]
            try:
                values = [self._decode(line) for line in objects]
            except _NOT_JSON:
                pass
            else:
                return Taken(cut, len(lines), len(objects), self._records(objects, values))
        return self._triage(lines, cut)

    def bounds(self, block: bytes) -> Iterator[tuple[int, int]]:
        """See TextFormat."""
        start = 0
        for line in block.split(b"\n"):
            if line.strip(BLANK):
                yield start, start + length_without_break(line)
            start += len(line) + 1

    def reread(self, originals: Sequence[bytes]) -> Reread:
        """See TextFormat."""
        values: list[object] = []
        decoded = ((number, self._decode_into(original, values)) for number, original in enumerate(originals))
        errors = {number: error for number, error in decoded if error is not None}
        return Reread(self._records([text for n, text in enumerate(originals) if n not in errors], values), errors)

    def _triage(self, lines: Sequence[bytes], cut: int) -> Taken:
        refusals: list[Refusal] = []
        good: list[bytes] = []
        values: list[object] = []
        number = start = 0
        for place, line in enumerate(lines):
            if line.strip(BLANK):
                error = self._decode_into(line, values)
                if error is None:
                    good.append(line)
                else:
                    refusals.append(Refusal(number, place, start, start + length_without_break(line), error))
                number += 1
            start += len(line) + 1
        records = self._records(good, values)
        return Taken(cut, len(lines), number, records, tuple(refusals), triaged=True)

    def _decode_into(self, line: bytes, values: list[object]) -> RecordError | None:
        """Append the record's values, or say why there are none."""
        length = length_without_break(line)
        error = encoding_error(line) if length <= self._limit else length_error(length, self._limit)
        if error is not None:
            return error
        try:
            values.append(self._decode(line))
        except _NOT_JSON as reason:
            message = f"not a JSON object: {str(reason)[:200]}"
            return RecordError("INT_ALPHA_001", "", message, expected="one JSON object", actual="")
        return None

    def _records(self, lines: Sequence[bytes], values: Sequence[object]) -> pa.RecordBatch:
        columns = []
        for key, json in zip(self._keys, self._is_json, strict=True):
            column = list(map(attrgetter(key), values))
            if json:
                columns.append(pa.array([_json_text(raw) for raw in column], pa.string()))
            else:
                columns.append(_text(column, partial(self._raw, lines, key)))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _raw(self, lines: Sequence[bytes], key: str, place: int) -> msgspec.Raw:
        raw: msgspec.Raw = getattr(self._decode_raw(lines[place]), key)
        return raw


def keys_of(lines: bytes) -> tuple[str, ...]:
    """Return the keys of the objects among `lines`, in the order in which they are first met."""
    keys: dict[str, None] = {}
    for line in lines.split(b"\n"):
        try:
            keys |= dict.fromkeys(msgspec.json.decode(line, type=dict[str, msgspec.Raw]))
        except _NOT_JSON:
            continue
    return tuple(keys)


def _struct(members: Sequence[tuple[str, Any, object]], names: dict[str, str]) -> type[msgspec.Struct]:
    try:
        return msgspec.defstruct("Record", members, rename=names, gc=False)
    except ValueError as error:
        raise UserMistake("INT_ALPHA_011", f"a column's name cannot be a key of JSON Lines: {error}") from error


def _json_text(raw: msgspec.Raw) -> str | None:
    text = bytes(raw)
    return None if text == b"null" else text.decode()


def _text(values: Sequence[object], raw: Callable[[int], msgspec.Raw]) -> pa.Array:
    """Turn decoded values into text. `raw` gives the JSON text of the value at a place."""
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        array = None
    if array is not None and not pa.types.is_nested(array.type):
        return array.cast(pa.string())
    texts = [_json_text(raw(place)) if isinstance(value, dict | list) else _scalar(value)
             for place, value in enumerate(values)]  # fmt: skip
    return pa.array(texts, pa.string())


def _scalar(value: object) -> str | None:
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case _:
            return str(value)
