"""The dependency policy's own judgement: a check that lets everything pass is worse than none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import check_deps

ALLOWED = {"MIT", "Apache-2.0"}
EXCEPTIONS = {"LLVM-exception"}


@pytest.mark.parametrize(
    "expression",
    [
        "MIT",
        "MIT OR GPL-3.0",
        "GPL-3.0 OR MIT",
        "MIT/Unlicense",
        "Apache-2.0 WITH LLVM-exception",
        "(MIT OR GPL-3.0) AND Apache-2.0",
        "GPL-3.0 AND MIT OR Apache-2.0",
    ],
)
def test_satisfiable_licences(expression: str) -> None:
    assert check_deps.licence_allowed(expression, ALLOWED, EXCEPTIONS)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "MIT AND (GPL-3.0 OR LGPL-2.1)",
        "Apache-2.0 WITH Classpath-exception",
        "MIT MIT",
        "(MIT",
        "MIT OR (Apache-2.0",
    ],
)
def test_unsatisfiable_or_malformed_licences(expression: str) -> None:
    assert not check_deps.licence_allowed(expression, ALLOWED, EXCEPTIONS)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout in place of ours; every file in it counts as tracked."""
    (tmp_path / "requirements").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["one>=1"]\n[dependency-groups]\n')
    monkeypatch.setattr(check_deps, "ROOT", tmp_path)
    monkeypatch.setattr(check_deps, "_tracked", lambda: [path for path in tmp_path.rglob("*") if path.is_file()])
    return tmp_path


@pytest.mark.parametrize(
    "lock, breach",
    [
        ("one==1 \\\n    --hash=sha256:00\n", None),
        ("# made by make lock\none==1 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n", None),
        ("one==1\n", "no hash"),
        ("one>=1 --hash=sha256:00\n", "not pinned"),
        ("--index-url http" + "://mirror/simple\none==1 --hash=sha256:00\n", "address"),
        ("one @ http" + "://mirror/one.whl --hash=sha256:00\n", "address"),
        ("two==1 --hash=sha256:00\n", "in no lock"),
    ],
)
def test_python_locks(checkout: Path, lock: str, breach: str | None) -> None:
    (checkout / "requirements/runtime.txt").write_text(lock)
    found = list(check_deps.python_lock_breaches())
    if breach is None:
        assert found == []
    else:
        assert any(breach in line for line in found), found


def test_python_locks_agree(checkout: Path) -> None:
    (checkout / "requirements/runtime.txt").write_text("one==1 --hash=sha256:00\n")
    (checkout / "requirements/dev.txt").write_text("one==2 --hash=sha256:00\n")
    assert any("pinned differently" in line for line in check_deps.python_lock_breaches())


def test_node_lock(checkout: Path) -> None:
    packages = {"": {}, "node_modules/a": {"integrity": "sha512-0"}}
    lock = checkout / "package-lock.json"
    lock.write_text(json.dumps({"packages": packages}))
    assert list(check_deps.node_lock_breaches()) == []
    packages["node_modules/a"] = {"resolved": "somewhere"}
    lock.write_text(json.dumps({"packages": packages}))
    assert len(list(check_deps.node_lock_breaches())) == 2


@pytest.mark.parametrize("trace", ["/ro" + "ot/x", "/wo" + "rk/main", "/home/" + "ann/src", "registry.npm" + "js.org"])
def test_machine_traces(checkout: Path, trace: str) -> None:
    policy: dict[str, dict[str, list[str]]] = {"files": {"registry-hosts-allowed": []}}
    notes = checkout / "notes.md"
    notes.write_text("a/root/path and https://example.org/work/item are nobody's machine\n")
    assert list(check_deps.machine_traces(policy)) == []
    notes.write_text(f"see {trace} for more\n")
    assert len(list(check_deps.machine_traces(policy))) == 1
    policy["files"]["registry-hosts-allowed"] = ["notes.md"]
    assert len(list(check_deps.machine_traces(policy))) == (0 if "npm" in trace else 1)


def test_rows_and_dependencies_match(checkout: Path) -> None:
    contributing = checkout / "CONTRIBUTING.md"
    contributing.write_text("# x\n\n## Dependencies\n\n| package | what for |\n|---|---|\n| `One` | counts |\n")
    assert list(check_deps.undocumented()) == []
    contributing.write_text("# x\n\n## Dependencies\n\n| `two` | counts |\n\n## Next\n\n| `one` | not here |\n")
    found = list(check_deps.undocumented())
    assert any("one is for" in line for line in found), found
    assert any("two is listed" in line for line in found), found
