"""The second contract is the one that the published client carries: the same names, numbers and types."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from tests.proto.breaking import surface
from tests.proto.compiling import compiled

pytest.importorskip("xai_sdk", reason="xai-sdk is not installed")

WHOLE = ("auth", "chat", "deferred", "embed", "models", "sample", "tokenize", "usage")
"""Files that we have all of; of `image` and `documents` only what these refer to."""
PARTS = ("image", "documents")


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    protos = importlib.import_module("xai_sdk.proto")
    files = []
    for name in (*WHOLE, *PARTS):
        file = descriptor_pb2.FileDescriptorProto()
        getattr(protos, f"{name}_pb2").DESCRIPTOR.CopyToProto(file)
        files.append(file)
    return surface(files, "xai_api")


@pytest.fixture(scope="module")
def ours() -> dict[str, Any]:
    return surface(compiled("xai/api/v1").file, "xai_api")


def test_services(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for name, service in ours["services"].items():
        assert service == theirs["services"][name]
    of_whole = {name for name, service in theirs["services"].items() if _is_whole(service)}
    assert set(ours["services"]) == of_whole


@pytest.mark.parametrize("kind", ["messages", "enums"])
def test_messages_and_enums(ours: dict[str, Any], theirs: dict[str, Any], kind: str) -> None:
    assert len(ours[kind]) > 15
    for name, mine in ours[kind].items():
        other = theirs[kind][name]
        assert {**mine, "reserved_numbers": _spans(mine)} == {**other, "reserved_numbers": _spans(other)}, name
    missing = {name for name, item in theirs[kind].items() if _is_whole(item)} - set(ours[kind])
    assert missing == set()


def _is_whole(item: dict[str, Any]) -> bool:
    return item["file"].rpartition("/")[2].removesuffix(".proto") in WHOLE


def _spans(item: dict[str, Any]) -> set[int]:
    return {number for low, high in item["reserved_numbers"] for number in range(low, high + 1)}
