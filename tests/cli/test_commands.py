"""The command line: arguments in, exit code out, and what it prints in between."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from penstock.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    Said = tuple[int, str, str]

DOCUMENT = """\
## SCHEMA_TO_STREAM_HANDOFF

```yaml
pipeline: shop
connections:
  shop: {kind: files, path: data}
source_models:
  - table: orders
    schema: public
    database: shop
    columns:
      - {name: id, type: bigint, primary_key: true}
      - {name: amount, type: "numeric(10,2)"}
      - {name: note, type: text}
destination_requirements:
  warehouse: duckdb
  schema: analytics
  models:
    - {name: fct_orders, source: orders, grain: id}
quality_requirements:
  - "amount >= 0"
```
"""
ORDERS = ("1,10.00,fine", "2,[/red],bad amount", "3,-1.00,negative", "4,4.00,fine")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a document and four orders, two of which are bad."""
    (tmp_path / "shop.md").write_text(DOCUMENT, encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "orders.csv").write_text("\n".join(["id,amount,note", *ORDERS, ""]), encoding="utf-8")
    return tmp_path


class Line:
    """Runs commands, and keeps what they said."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def run(self, *arguments: object) -> Said:
        self._capture.readouterr()
        code = main([str(argument) for argument in arguments])
        said = self._capture.readouterr()
        return int(code), said.out, said.err

    def json(self, *arguments: object) -> Any:  # noqa: ANN401 - whatever it says
        code, out, err = self.run(*arguments)
        assert (code, err) == (0, ""), err
        return json.loads(out)


@pytest.fixture
def line(capsys: pytest.CaptureFixture[str]) -> Line:
    return Line(capsys)


# --- usage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("rnu",),
        ("run",),
        ("run", ".", "--sample", "0"),
        ("run", ".", "--sample", "many"),
        ("run", ".", "--set", "READ_BYTES"),
        ("run", ".", "--rewind", "--accept"),
        ("run", ".", "--format", "xml"),
        ("dead-letters",),
        ("dead-letters", "list", ".", "--status", "lost"),
        ("dead-letters", "list", ".", "--limit", "-1"),
        ("dead-letters", "show", "."),
        ("dead-letters", "discard", ".", "--id", "x"),
        ("check", ".", "--set", "READ_BYTES=64"),
    ],
)
def test_what_cannot_be_understood_is_a_usage_error(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("usage: penstock")


def test_help_names_every_command_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    for word in (
        "check",
        "plan",
        "run",
        "schema",
        "dead-letters",
        "0 done",
        "1 findings",
        "2 usage",
        "3 stopped",
        "130",
    ):
        assert word in said


# --- documents ----------------------------------------------------------------------------------------------------


def test_a_document_without_errors_passes_the_check(line: Line, shop: Path) -> None:
    code, out, _ = line.run("check", shop)
    assert code == 0
    assert "0 errors" in out


def test_a_document_with_an_error_is_a_finding_everywhere(line: Line, shop: Path) -> None:
    path = shop / "shop.md"
    path.write_text(DOCUMENT.replace("type: bigint", "type: bigitn"), encoding="utf-8")
    code, out, _ = line.run("check", shop)
    assert code == 1
    assert "1 errors" in out
    assert "shop.md:12:" in out
    code, out, _ = line.run("check", "--format", "json", shop)
    assert code == 1
    (finding,) = [each for each in json.loads(out) if each["level"] == "error"]
    assert finding["place"]["line"] == 12
    assert line.run("plan", shop)[0] == 1
    code, out, err = line.run("run", "--quiet", shop)
    assert (code, out) == (1, "")
    assert err.startswith("penstock: INT_PIPELINE_003 ")
    code, out, _ = line.run("run", "--quiet", "--format", "json", shop)
    assert code == 1
    assert json.loads(out)["error"]["code"] == "INT_PIPELINE_003"


def test_a_plan_can_be_read_by_people_and_by_programs(line: Line, shop: Path) -> None:
    code, out, _ = line.run("plan", shop)
    assert code == 0
    assert "fct_orders" in out
    assert line.json("plan", "--format", "json", shop)["models"][0]["name"] == "fct_orders"


def test_the_schema_of_documents_is_json(line: Line) -> None:
    assert "$schema" in line.json("schema") or "properties" in line.json("schema") or "$defs" in line.json("schema")


# --- runs ---------------------------------------------------------------------------------------------------------


def test_a_run_prints_its_account_and_what_to_do_next(line: Line, shop: Path) -> None:
    code, out, err = line.run("run", "--quiet", shop)
    assert (code, err) == (0, "")
    assert out.startswith("shop completed in ")
    assert "2 dead-lettered" not in out
    assert "1 dead-lettered, INT_ALPHA_002" in out
    assert out.endswith(f"Next: penstock dead-letters list {shop}\n")


def test_a_run_as_json_is_one_document_that_balances(line: Line, shop: Path) -> None:
    said = line.json("run", "--quiet", "--format", "json", shop)
    assert said["status"] == "completed"
    (account,) = said["account"]
    (to,) = account["destinations"]
    left = sum(entry["records"] for entry in (*to["filtered"], *to["dead_lettered"]))
    assert account["read"] == 4 == to["delivered"] + left + to["in_flight"]
    assert {requirement["result"] for requirement in said["requirements"]} <= {"pass", "not checked"}


def test_a_sample_touches_nothing_and_points_at_nothing(line: Line, shop: Path) -> None:
    before = sorted(path.name for path in shop.iterdir())
    code, out, _ = line.run("run", "--quiet", "--sample", "2", shop)
    assert code == 0
    assert "2 rows read" in out
    assert "Next:" not in out
    assert sorted(path.name for path in shop.iterdir()) == before


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_stops_a_run_before_it_begins_is_one_line_and_exit_3(line: Line, shop: Path, form: str) -> None:
    code, out, err = line.run("run", "--quiet", "--format", form, "--set", "READ_BYTES=1", shop)
    assert code == 3
    if form == "json":
        assert json.loads(out)["error"]["code"] == "INT_PIPELINE_005"
    else:
        assert err.startswith("penstock: INT_PIPELINE_005 READ_BYTES = 1: it takes a whole number from 64 to ")
        assert err.count("\n") == 1


def test_what_stops_a_run_later_is_in_its_report_and_exit_3(line: Line, shop: Path) -> None:
    (shop / "data" / "orders.csv").unlink()
    code, out, _ = line.run("run", "--quiet", shop)
    assert code == 3
    assert out.startswith("shop failed in ")
    assert "INT_ALPHA_010" in out


def test_a_requirement_that_does_not_hold_is_exit_1_after_the_work_is_done(line: Line, shop: Path) -> None:
    limited = DOCUMENT.replace("grain: id}", "grain: id, max_dead_letters: 1}")
    (shop / "shop.md").write_text(limited, encoding="utf-8")
    code, out, _ = line.run("run", "--quiet", shop)
    assert code == 1
    assert "shop completed" in out
    assert "FAIL" in out


# --- dead letters -------------------------------------------------------------------------------------------------


def test_before_anything_ran_there_are_no_dead_letters_to_look_at(line: Line, shop: Path) -> None:
    code, _, err = line.run("dead-letters", "list", shop)
    assert code == 3
    assert err.startswith("penstock: INT_LEDGER_004 ")


def test_dead_letters_are_listed_with_line_field_and_value_and_originals_masked(line: Line, shop: Path) -> None:
    line.run("run", "--quiet", shop)
    code, out, _ = line.run("dead-letters", "list", shop)
    assert code == 0
    assert "[/red]" in out
    assert "INT_ALPHA_004" in out
    letters = line.json("dead-letters", "list", "--format", "json", shop)
    assert [(letter["line"], letter["code"], letter["field"]) for letter in letters] == [
        (3, "INT_ALPHA_002", "amount"),
        (4, "INT_ALPHA_004", "amount"),
    ]
    assert all("bad amount" not in letter["original"] for letter in letters)


def test_letters_are_chosen_by_what_is_asked_for(line: Line, shop: Path) -> None:
    line.run("run", "--quiet", shop)
    command = ("dead-letters", "list", "--format", "json", shop)
    assert len(line.json(*command, "--code", "INT_ALPHA_002")) == 1
    assert len(line.json(*command, "--limit", "1")) == 1
    assert len(line.json(*command, "--source", "customers")) == 0
    assert len(line.json(*command, "--status", "all", "--field", "amount")) == 2


def test_a_letter_is_shown_unmasked_only_when_revealed(line: Line, shop: Path) -> None:
    line.run("run", "--quiet", shop)
    (masked,) = line.json("dead-letters", "show", shop, "--id", "1")
    (shown,) = line.json("dead-letters", "show", "--reveal", shop, "--id", "1")
    assert masked["original"] != shown["original"] == "2,[/red],bad amount"


def test_a_letter_that_is_not_there_is_said_to_be_so(line: Line, shop: Path) -> None:
    line.run("run", "--quiet", shop)
    code, out, err = line.run("dead-letters", "show", shop, "--id", "1", "77")
    assert (code, out) == (3, "")
    assert "there is no dead letter 77" in err


def test_discarded_letters_are_gone_from_the_list_and_from_replays(line: Line, shop: Path) -> None:
    line.run("run", "--quiet", shop)
    assert line.run("dead-letters", "discard", shop, "--id", "1", "--reason", "a test")[:2] == (0, "1 discarded\n")
    assert [letter["id"] for letter in line.json("dead-letters", "list", "--format", "json", shop)] == [2]
    code, _, err = line.run("dead-letters", "discard", shop, "--id", "1")
    assert code == 3
    assert "INT_LEDGER_005" in err


def test_a_replay_runs_open_letters_once_more(line: Line, shop: Path) -> None:
    line.run("run", "--quiet", shop)
    relaxed = DOCUMENT.replace("amount >= 0", "amount >= -5")
    (shop / "shop.md").write_text(relaxed, encoding="utf-8")
    code, out, _ = line.run("dead-letters", "replay", "--quiet", shop)
    assert code == 0
    assert "2 rows read" in out
    assert [letter["line"] for letter in line.json("dead-letters", "list", "--format", "json", shop)] == [3]


def test_an_interrupt_is_exit_130(line: Line, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("penstock.project.Project.run", interrupted)
    assert line.run("run", "--quiet", shop)[0] == 130


# --- preview ------------------------------------------------------------------------------------------------------


def test_a_preview_shows_records_in_their_types_and_says_what_would_be_refused(line: Line, shop: Path) -> None:
    code, out, err = line.run("preview", shop, "--source", "orders")
    assert (code, err) == (0, "")
    assert "decimal128(10, 2)" in out
    assert out.count("fine") == 2
    assert "orders.csv, line 3: INT_ALPHA_002: `amount` is not of type decimal(10,2), which is [/red]" in out
    assert "line 4: INT_ALPHA_004" in out


def test_a_preview_touches_nothing(line: Line, shop: Path) -> None:
    before = sorted(path.name for path in shop.rglob("*"))
    line.run("preview", shop, "--source", "orders")
    assert sorted(path.name for path in shop.rglob("*")) == before


def test_a_preview_shows_as_many_records_as_are_asked_for(line: Line, shop: Path) -> None:
    found = line.json("preview", shop, "--source", "orders", "--rows", "2", "--format", "json")
    assert found["rows"] == [{"id": "1", "amount": "10.00", "note": "fine"}]
    assert [refused["line"] for refused in found["refused"]] == [3]


def test_a_preview_hides_what_a_model_masks(line: Line, shop: Path) -> None:
    document = (shop / "shop.md").read_text(encoding="utf-8")
    masking = "    - {name: fct_orders, source: orders, grain: id, columns: ['*', {name: note, mask: hash}]}"
    plain = "    - {name: fct_orders, source: orders, grain: id}"
    assert plain in document
    (shop / "shop.md").write_text(document.replace(plain, masking), encoding="utf-8")
    code, out, err = line.run("preview", shop, "--source", "orders")
    assert (code, err) == (0, "")
    assert "fine" not in out
    assert "***" in out


def test_a_preview_of_a_source_that_is_not_there_is_one_clear_error(line: Line, shop: Path) -> None:
    code, out, err = line.run("preview", shop, "--source", "odrers")
    assert (code, out) == (3, "")
    assert "there is no source `odrers`" in err
    assert "take one of `orders`" in err


# --- doctor -------------------------------------------------------------------------------------------------------


def test_a_doctor_finds_nothing_wrong_where_a_run_would_succeed(line: Line, shop: Path) -> None:
    code, out, err = line.run("doctor", shop)
    assert (code, err) == (0, ""), out
    assert "source orders" in out
    assert "partitions: 1, 77 bytes" in out
    assert "destination fct_orders" in out
    assert "nothing has run here yet" in out
    assert "✗" not in out


def test_a_doctor_writes_nothing(line: Line, shop: Path) -> None:
    before = sorted(path.name for path in shop.rglob("*"))
    line.run("doctor", shop)
    assert sorted(path.name for path in shop.rglob("*")) == before


def test_a_doctor_tells_of_the_last_run(line: Line, shop: Path) -> None:
    line.run("run", shop)
    found = {each["what"]: each for each in line.json("doctor", shop, "--format", "json")}
    assert "the last run completed" in found["state"]["found"]
    assert "table `analytics.fct_orders` is there" in found["destination fct_orders"]["found"]


def test_a_doctor_says_of_everything_that_is_wrong_what_to_do(line: Line, shop: Path) -> None:
    (shop / "data" / "orders.csv").write_text("id,note\n1,fine\n", encoding="utf-8")
    (shop / "warehouse.duckdb").write_text("no database " * 100, encoding="utf-8")
    code, out, _ = line.run("doctor", shop)
    assert code == 1
    assert out.count("✗") == 2
    assert "INT_ALPHA_011" in out
    assert "INT_GAMMA_015" in out


def test_a_doctor_notices_that_the_clock_was_put_back(line: Line, shop: Path) -> None:
    line.run("run", shop)
    ahead_s = time.time() + 3600
    os.utime(shop / ".penstock" / "ledger.sqlite", (ahead_s, ahead_s))
    code, out, _ = line.run("doctor", shop)
    assert code == 1
    assert "INT_PIPELINE_009 the clock is 3,600 s behind the last run" in out
