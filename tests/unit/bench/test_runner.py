"""A load generator that breaks off takes nothing with it that was measured before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from penstock.bench import charts, command, files, results, tables
from penstock.bench.asked import Asked
from penstock.bench.command import Failed, Status
from penstock.bench.document import Document, machine
from penstock.bench.load import Client, LoadError, Options, Progress
from penstock.bench.report import Report
from penstock.bench.wire import UsageError
from tests.unit.bench.reports import report, sample, settings

pytest.importorskip("penstock._core", reason="the extension is not built: `make setup`")

KEY = "sk-in-the-way"
ASKED = Asked("http://127.0.0.1:1/v1", model="m", requests=100, warmup=0, connections="1,2", key=KEY)


def breaks_off(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Loads are answered without any; the one with this number, the probe being 0, fails."""
    runs: list[Options] = []

    def run(
        _self: Client,
        options: Options,
        *,
        timeout: float | None = None,
        meanwhile: Callable[[Progress], None] = lambda _progress: None,
        stop: threading.Event | None = None,
    ) -> Report:
        runs.append(options)
        if len(runs) > at:
            raise LoadError(f"the load generator ended: -9, asked for {KEY}")
        return report()

    monkeypatch.setattr(Client, "run", run)


def test_what_was_measured_before_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    breaks_off(monkeypatch, 2)
    assert command.run(ASKED, output=tmp_path / "out", shown_as="json") is Status.NOTHING
    out, err = capsys.readouterr()
    document = msgspec.json.decode(out, type=Document)
    assert document.partial
    assert [row.point for row in document.rows] == [0]
    assert document.warnings[0].startswith("target, 2 connections: the load generator ended: -9")
    assert "the load generator ended" in err
    assert KEY not in out + err
    assert (tmp_path / "out" / "results.json").read_text() == out


def test_with_nothing_measured_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    breaks_off(monkeypatch, 1)
    with pytest.raises(Failed, match=r"ended: -9, asked for \*{8}$"):
        command.run(ASKED, output=None, shown_as="json")


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    breaks_off(monkeypatch, 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--output"):
        command.run(ASKED, output=tmp_path / "file" / "out", shown_as="text")


def test_results_that_cannot_be_written_in_the_end_are_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    breaks_off(monkeypatch, 9)

    def full(_path: Path, _content: bytes) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(files, "_whole", full)
    with pytest.raises(Failed, match="--output: no space left"):
        command.run(ASKED, output=tmp_path, shown_as="json")
    assert len(msgspec.json.decode(capsys.readouterr().out, type=Document).rows) == 2


@pytest.mark.parametrize("error", [RuntimeError("no font"), OSError("read-only cache"), charts.ChartsUnavailable("x")])
def test_charts_that_cannot_be_drawn_cost_no_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    def draw(*_: object) -> None:
        raise error

    monkeypatch.setattr(files, "draw", draw)
    of = settings()
    document = results.document(
        of,
        [sample("target", 0, report())],
        started_at="",
        partial=False,
        where=machine(),
        judge=lambda _rows, _settings: [],
    )
    assert str(error) in (files.write(tmp_path, document, of) or "")
    assert (tmp_path / "results.json").read_bytes() == files.encoded(document)
    assert (tmp_path / "results.md").read_text() == tables.markdown(document)
