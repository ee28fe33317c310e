from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from penstock.connectors.secrets import resolve
from penstock.errors import UserMistake
from penstock.model.pipeline import Connection

if TYPE_CHECKING:
    from pathlib import Path

SHOP = Connection("shop")


def test_a_reference_stands_for_a_variable_or_for_what_a_file_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_USER", "ada")
    (tmp_path / "password").write_text("open sesame\n")
    url = f"postgresql://${{SHOP_USER}}:${{file:{tmp_path}/password}}@db/shop"
    assert resolve(url, SHOP) == "postgresql://ada:open sesame@db/shop"
    assert resolve(url, SHOP, quote) == "postgresql://ada:open%20sesame@db/shop"


@pytest.mark.parametrize("text", ["", "plain", "$HOME", "${}", "{NAME}"])
def test_what_is_no_reference_stays_as_it_is(text: str) -> None:
    assert resolve(text, SHOP) == text


def test_what_a_reference_stands_for_is_not_looked_through_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTER", "${INNER}")
    monkeypatch.setenv("INNER", "secret")
    assert resolve("${OUTER}", SHOP) == "${INNER}"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("${NOT_SET}", "`shop` refers to `${NOT_SET}`, and there is no such environment variable"),
        ("${file:/no/such/file}", "`shop` refers to `/no/such/file`, which cannot be read: No such file or directory"),
    ],
)
def test_a_reference_to_nothing_is_one_clear_mistake(reference: str, message: str) -> None:
    with pytest.raises(UserMistake) as caught:
        resolve(reference, SHOP)
    assert caught.value.kind.code == "INT_PIPELINE_007"
    assert message in caught.value.message


def test_a_file_that_is_not_text_is_a_mistake_that_shows_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"secret \xff")
    with pytest.raises(UserMistake, match="it is not text") as caught:
        resolve(f"${{file:{tmp_path}/key}}", SHOP)
    assert "secret" not in str(caught.value)
