"""The protocol files keep buf's rules, and each rule catches what it is there for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.proto.compiling import ROOT, compiled, compiled_text
from tests.proto.lint import elements, lint

GOOD = """
syntax = "proto3";
package acme.v1;
// Does things.
service ThingService {
  // Does one.
  rpc Do(DoRequest) returns (DoResponse);
}
// Asks.
message DoRequest {
  // One or the other.
  oneof choice {
    // This.
    string one = 1;
  }
  // Which.
  optional Kind kind = 2;
}
// Answers.
message DoResponse {}
// A kind.
enum Kind {
  // Not said.
  KIND_UNSPECIFIED = 0;
}
"""


def test_the_protocol_keeps_the_rules() -> None:
    config = yaml.safe_load((ROOT / "buf.yaml").read_text())["lint"]
    assert config["use"] == ["STANDARD", "COMMENTS"]
    files = compiled("penstock/v1").file
    assert sum(1 for file in files if file.package == "penstock.v1") > 10
    assert [str(problem) for problem in lint(files, "penstock.v1", config["except"])] == []


def test_no_exception_is_idle() -> None:
    """What `buf.yaml` leaves out, and what comments ignore, would be a problem otherwise."""
    files = compiled("penstock/v1").file
    left_out = yaml.safe_load((ROOT / "buf.yaml").read_text())["lint"]["except"]
    assert {problem.rule for problem in lint(files, "penstock.v1")} == set(left_out)
    for file in files:
        for element in elements(file):
            assert "buf:lint:ignore" not in element.comment or element.name.endswith(".Stream")


def test_good_is_good(tmp_path: Path) -> None:
    assert lint(compiled_text(tmp_path, good=GOOD).file, "acme.v1") == []


@pytest.mark.parametrize(
    "old, new, rules",
    [
        ("// Does things.\n", "", {"COMMENT_SERVICE"}),
        ("  // Does one.\n", "", {"COMMENT_RPC"}),
        ("  // Does one.\n", "  // buf:lint:ignore RPC_PASCAL_CASE\n", {"COMMENT_RPC"}),
        ("// Asks.\n", "", {"COMMENT_MESSAGE"}),
        ("  // Which.\n", "", {"COMMENT_FIELD"}),
        ("  // One or the other.\n", "", {"COMMENT_ONEOF"}),
        ("// A kind.\n", "", {"COMMENT_ENUM"}),
        ("  // Not said.\n", "", {"COMMENT_ENUM_VALUE"}),
        ("ThingService", "Thing", {"SERVICE_SUFFIX"}),
        ("ThingService", "thingService", {"SERVICE_PASCAL_CASE"}),
        ("rpc Do(", "rpc do(", {"RPC_PASCAL_CASE", "RPC_REQUEST_STANDARD_NAME", "RPC_RESPONSE_STANDARD_NAME"}),
        ("DoRequest", "Ask", {"RPC_REQUEST_STANDARD_NAME"}),
        ("DoResponse", "Do2", {"RPC_RESPONSE_STANDARD_NAME"}),
        ("message DoResponse {}", "message DoResponse {}\n// x\nmessage bad_name {}", {"MESSAGE_PASCAL_CASE"}),
        ("kind = 2", "Kind2 = 2", {"FIELD_LOWER_SNAKE_CASE"}),
        ("kind = 2", "kind_ = 2", {"FIELD_LOWER_SNAKE_CASE"}),
        ("oneof choice", "oneof theChoice", {"ONEOF_LOWER_SNAKE_CASE"}),
        ("KIND_UNSPECIFIED", "KIND_NONE", {"ENUM_ZERO_VALUE_SUFFIX"}),
        ("KIND_UNSPECIFIED", "UNSPECIFIED", {"ENUM_VALUE_PREFIX", "ENUM_ZERO_VALUE_SUFFIX"}),
        ("KIND_UNSPECIFIED", "KIND_unset_UNSPECIFIED", {"ENUM_VALUE_UPPER_SNAKE_CASE"}),
        ("package acme.v1;", 'package acme.v1;\nimport "google/protobuf/any.proto";', {"IMPORT_USED"}),
        ("package acme.v1;", "package acme;", {"PACKAGE_DIRECTORY_MATCH", "PACKAGE_VERSION_SUFFIX"}),
        ('syntax = "proto3";', 'syntax = "proto2";', {"SYNTAX_SPECIFIED"}),
        (
            "  rpc Do(DoRequest) returns (DoResponse);\n",
            "  rpc Do(DoRequest) returns (DoResponse);\n  // Again.\n  rpc Again(DoRequest) returns (AgainResponse);\n",
            {"RPC_REQUEST_RESPONSE_UNIQUE", "RPC_REQUEST_STANDARD_NAME"},
        ),
    ],
)
def test_each_rule_catches(tmp_path: Path, old: str, new: str, rules: set[str]) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new)
    if "AgainResponse" in new:
        text += "// Answers.\nmessage AgainResponse {}\n"
    package = "acme" if "package acme;" in text else "acme.v1"
    assert {problem.rule for problem in lint(compiled_text(tmp_path, thing=text).file, package)} == rules


def test_file_names_and_public_imports(tmp_path: Path) -> None:
    files = compiled_text(
        tmp_path,
        BadName=GOOD,
        other='syntax = "proto3";\npackage acme.v1;\nimport public "acme/v1/BadName.proto";\n',
    ).file
    assert {problem.rule for problem in lint(files, "acme.v1")} == {
        "FILE_LOWER_SNAKE_CASE",
        "IMPORT_NO_PUBLIC",
        "IMPORT_USED",
    }


def test_one_method_can_be_excused(tmp_path: Path) -> None:
    text = GOOD.replace("  // Does one.\n", "  // Does one.\n  // buf:lint:ignore RPC_PASCAL_CASE\n").replace(
        "rpc Do(DoRequest) returns (DoResponse)", "rpc do(doRequest) returns (doResponse)"
    )
    text = text.replace("message DoRequest", "message doRequest").replace("message DoResponse", "message doResponse")
    rules = {problem.rule for problem in lint(compiled_text(tmp_path, thing=text).file, "acme.v1")}
    assert rules == {"MESSAGE_PASCAL_CASE"}
