"""The client's generated modules are those that the protocol files make."""

from __future__ import annotations

from pathlib import Path

from tests.proto.compiling import generator


def test_generating_again_gives_the_same(tmp_path: Path) -> None:
    module = generator()
    module.generate(tmp_path / "made")
    made = {path.name: path.read_text() for path in (tmp_path / "made").iterdir()}
    kept = {path.name: path.read_text() for path in module.TARGET.iterdir() if path.is_file()}
    assert len(made) > 20
    assert kept == made, "run proto/generate.py"
