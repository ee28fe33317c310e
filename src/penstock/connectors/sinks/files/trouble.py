"""What the operating system refuses, in people's words."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from penstock.errors import PenstockError, Unavailable, UserMistake

if TYPE_CHECKING:
    from collections.abc import Iterator

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_SOMETHING_ELSE = frozenset({errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP})


@contextmanager
def explained(place: object) -> Iterator[None]:
    """Turn an OSError about `place` into an error of ours."""
    try:
        yield
    except OSError as error:
        raise explain(error, place) from error


def explain(error: OSError, place: object) -> PenstockError:
    """Return the error of ours that `error`, met at `place`, is."""
    said = f"`{error.filename or place}`: {error.strerror or error}"
    if error.errno in _FULL:
        return Unavailable("INT_GAMMA_012", f"no room to write {said}")
    if error.errno in _FORBIDDEN:
        return UserMistake("INT_GAMMA_011", f"may not write {said}")
    if error.errno in _SOMETHING_ELSE:
        return UserMistake("INT_GAMMA_015", f"something else is in the way at {said}", remedy="move it away")
    return Unavailable("INT_GAMMA_010", f"cannot write {said}")
