"""Protocol files compiled into descriptors, by the same code that makes the client's modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("grpc_tools", reason="the protocol compiler is not installed")

ROOT = Path(__file__).resolve().parents[2] / "proto"


def generator() -> Any:
    """The module `proto/generate.py`, which is a program and in no package."""
    spec = importlib.util.spec_from_file_location("penstock_proto_generate", ROOT / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compiled(package: str, root: Path = ROOT) -> Any:
    """A `FileDescriptorSet` with comments, of a folder under ``root``."""
    return generator().descriptors(package, root)


def compiled_text(directory: Path, **files: str) -> Any:
    """The same of files given as text, by their names without `.proto`, in the package `acme.v1`."""
    folder = directory / "acme" / "v1"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.proto").write_text(text)
    return compiled("acme/v1", directory)
