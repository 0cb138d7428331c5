"""What a start imports: it is most of the time that one takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def _imported(code: str, directory: Path) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stdout.split())


def test_the_app_is_made_without_libraries_that_happen_to_be_installed(tmp_path: Path) -> None:
    pytest.importorskip("pydantic", reason="it is not installed")
    found = _imported("import penstock.app; penstock.app.create_app()", tmp_path)
    assert "litestar.app" in found
    assert not {"pydantic", "attrs"} & found


def test_who_wants_the_environment_waits_for_no_more(tmp_path: Path) -> None:
    found = _imported("from penstock.config import Environment", tmp_path)
    assert "penstock.config.env" in found
    assert not {"penstock.config.schema", "yaml"} & found


def test_everything_of_the_configuration_is_where_it_says() -> None:
    import penstock.config as package

    assert all(hasattr(package, name) for name in package.__all__)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        getattr(package, "nothing_like_it")  # noqa: B009 - the type checker knows
