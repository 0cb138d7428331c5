"""The protocol is what the last release's clients speak, and each kind of break is caught."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.proto.breaking import compare, surface
from tests.proto.compiling import compiled, compiled_text
from tests.proto.release import PATH, dumps

BASE = """
syntax = "proto3";
package acme.v1;
service Things {
  rpc Do(DoRequest) returns (stream DoResponse);
}
message DoRequest {
  reserved 9, 20 to 22;
  reserved "old";
  string one = 1;
  optional int32 two = 2;
  repeated float three = 3;
  oneof choice {
    string four = 4;
    bool five = 5;
  }
  Kind six = 6;
  map<string, double> seven = 7;
}
message DoResponse {
  message Inner {
    string text = 1;
  }
  Inner inner = 1;
}
enum Kind {
  KIND_UNSPECIFIED = 0;
  KIND_ONE = 1;
}
"""


def test_the_protocol_keeps_what_was_released() -> None:
    released = json.loads(PATH.read_text())
    assert len(released["messages"]) > 50
    assert compare(released, surface(compiled("penstock/v1").file, "penstock.v1")) == []


def test_the_release_is_kept_as_its_program_writes_it() -> None:
    assert dumps(json.loads(PATH.read_text())) + "\n" == PATH.read_text()


def test_nothing_changed(tmp_path: Path) -> None:
    one = surface(compiled_text(tmp_path, thing=BASE).file, "acme.v1")
    assert compare(one, json.loads(json.dumps(one))) == []


@pytest.mark.parametrize(
    "old, new",
    [
        ("message DoResponse {", "message Added {}\nmessage DoResponse {\n  string more = 2;"),
        ("  KIND_ONE = 1;", "  KIND_ONE = 1;\n  KIND_TWO = 2;"),
        ("  Kind six = 6;\n", '  reserved 6;\n  reserved "six";\n'),
        ("  KIND_ONE = 1;", '  reserved 1;\n  reserved "KIND_ONE";'),
        ("service Things {", "service More {}\nservice Things {\n  rpc Also(Kind2) returns (Kind3);"),
        ("reserved 9, 20 to 22;", "reserved 9 to 30;"),
    ],
)
def test_additions_are_no_breaks(tmp_path: Path, old: str, new: str) -> None:
    assert _breaks(tmp_path, old, new) == []


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("string one = 1", "bytes one = 1", "type changed from string to bytes"),
        ("string one = 1", "string one = 11", "was removed and its number is not reserved"),
        ("string one = 1", "string uno = 1", "name changed from one to uno"),
        ("string one = 1", "optional string one = 1", "label changed from plain to optional"),
        ("string one = 1", "repeated string one = 1", "label changed from plain to repeated"),
        ("string one = 1", 'string one = 1 [json_name = "uno"]', "json changed from one to uno"),
        ("optional int32 two", "int32 two", "label changed from optional to plain"),
        ("optional int32 two", "optional int64 two", "type changed from int32 to int64"),
        ("float three = 3", "float three = 3 [packed = false]", "packed changed"),
        ("oneof choice", "oneof other", "label changed from oneof choice to oneof other"),
        ("  Kind six = 6;\n", "", "field DoRequest.six (6) was removed and its number is not reserved"),
        ("  Kind six = 6;\n", "  reserved 6;\n", "was removed and its name is not reserved"),
        ("map<string, double> seven", "map<string, float> seven", "type changed from double to float"),
        ("Kind six = 6", "DoResponse six = 6", "type changed from acme.v1.Kind to acme.v1.DoResponse"),
        ("reserved 9, 20 to 22;", "reserved 20 to 22;", "the numbers 9 to 9 are no longer reserved"),
        ("reserved 9, 20 to 22;", "reserved 9, 20;", "the numbers 20 to 22 are no longer reserved"),
        ('  reserved "old";\n', "", "the name old is no longer reserved"),
        ("  KIND_ONE = 1;\n", "", "value Kind.KIND_ONE (1) was removed and its number is not reserved"),
        ("KIND_ONE = 1", "KIND_UNO = 1", "name changed to KIND_UNO"),
        ("returns (stream DoResponse)", "returns (DoResponse)", "streams changed"),
        ("rpc Do(DoRequest)", "rpc Do(stream DoRequest)", "streams changed"),
        ("rpc Do(DoRequest)", "rpc Do(DoResponse)", "request changed"),
        ("rpc Do(", "rpc Make(", "rpc Things/Do was removed"),
        ("service Things", "service Stuff", "service Things was removed"),
        (
            "message Inner {\n    string text = 1;\n  }\n  Inner inner",
            "DoRequest inner",
            "DoResponse.Inner was removed",
        ),
        ("enum Kind", "enum Sort", "enum Kind was removed"),
    ],
)
def test_each_break_is_caught(tmp_path: Path, old: str, new: str, said: str) -> None:
    breaks = _breaks(tmp_path, old, new)
    assert any(said in line for line in breaks), breaks


def test_a_move_to_another_file_is_caught(tmp_path: Path) -> None:
    before = surface(compiled_text(tmp_path / "old", thing=BASE).file, "acme.v1")
    kind = BASE[BASE.index("enum Kind") :]
    head = 'syntax = "proto3";\npackage acme.v1;\n'
    rest = BASE.replace(kind, "").replace("package acme.v1;", 'package acme.v1;\nimport "acme/v1/kind.proto";')
    after = surface(compiled_text(tmp_path / "new", thing=rest, kind=head + kind).file, "acme.v1")
    assert compare(before, after) == ["enum Kind moved from acme/v1/thing.proto to acme/v1/kind.proto"]


def _breaks(directory: Path, old: str, new: str) -> list[str]:
    assert old in BASE
    text = BASE.replace(old, new)
    if "enum Sort" in text:
        text = text.replace("Kind six", "Sort six")
    if "Kind2" in text:
        text += "message Kind2 {}\nmessage Kind3 {}\n"
    before = surface(compiled_text(directory / "old", thing=BASE).file, "acme.v1")
    after = surface(compiled_text(directory / "new", thing=text).file, "acme.v1")
    return compare(before, after)
