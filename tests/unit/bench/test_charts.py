"""Charts are pictures, the same for the same numbers, and not needed for the rest."""

from __future__ import annotations

import builtins
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.bench import charts, files, results
from penstock.bench.document import machine
from penstock.bench.settings import Checks, Point
from tests.unit.bench.reports import report, sample, settings

VALUES = {"nginx": {"c=1": 9.8, "c=32": 8.1}, "a gateway whose name is rather long": {"c=1": 35.2}}
DRAWN: dict[str, Callable[[Path], None]] = {
    "bars": lambda path: charts.bars(path, title="CPU", unit="us", series=VALUES, goal=20.0),
    "percentiles": lambda path: charts.percentiles(
        path, title="Latency", unit="ms", series={name: {"p50": 0.1, "p999": 900.0, "max": 0.0} for name in VALUES}
    ),
    "lines": lambda path: charts.lines(
        path, title="Over time", x_label="s", y_label="requests/s", series={"a": [(1, 5.0), (2, 7.5)], "b": []}
    ),
}


@pytest.mark.parametrize("name", DRAWN)
def test_pictures(tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib")
    one, two = tmp_path / "one.png", tmp_path / "deeper" / "two.png"
    DRAWN[name](one)
    DRAWN[name](two)
    content = one.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert width == charts.WIDTH_INCHES * charts.DPI
    assert height >= 150
    assert content == two.read_bytes()


def test_nothing_to_draw_is_no_error(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    charts.bars(tmp_path / "a.png", title="", unit="", series={})
    charts.percentiles(tmp_path / "b.png", title="", unit="", series={})
    charts.lines(tmp_path / "c.png", title="", x_label="", y_label="", series={})


def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    actual = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return actual(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_without_matplotlib_the_rest_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_matplotlib(monkeypatch)
    of = settings()
    document = results.document(
        of,
        [sample("target", 0, report())],
        started_at="",
        partial=False,
        where=machine(),
        judge=lambda _r, _s: [],
    )
    missing = files.write(tmp_path / "out", document, of)
    assert missing is not None
    assert "penstock[bench]" in missing
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["results.json", "results.md"]


def test_a_sweep_is_drawn_over_what_varies(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    of = settings("a", "b", points=(Point(1, 10.0), Point(8, 10.0), Point(1, 20.0), Point(8, 20.0)), stream=Checks())
    samples = [
        sample(target, 0, report(ttft=(1.0, 2.0), send_delay=(1.0, 2.0)), point=point)
        for point in range(4)
        for target in ("a", "b")
    ]
    document = results.document(of, samples, started_at="", partial=False, where=machine(), judge=lambda _r, _s: [])
    assert files.write(tmp_path, document, of) is None
    names = {path.name for path in tmp_path.iterdir()}
    assert {"sweep-rate-p99.png", "sweep-connections-rps.png", "latency-c8-r20.png", "ttft-c1-r10.png"} <= names
    assert not any(name.startswith("sweep-size") for name in names)
    said = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert all(f"({name})" in said for name in names if name.endswith(".png"))
