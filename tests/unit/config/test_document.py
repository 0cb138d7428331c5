"""YAML to marked nodes: places, duplicates, bounds, and that no text whatever makes it raise."""

from __future__ import annotations

import pytest

from penstock.config import document
from penstock.config.document import Mapping, Scalar, Sequence, parse
from penstock.config.problems import Report


def read(text: str) -> tuple[Mapping, Report]:
    report = Report()
    return parse(text, "f.yaml", report), report


def test_every_key_and_value_keeps_its_place() -> None:
    root, report = read("a:\n  b: [1, two]\n")
    inner = root.entries["a"].value
    assert isinstance(inner, Mapping)
    entry = inner.entries["b"]
    assert (entry.mark.line, entry.mark.column) == (2, 3)
    assert isinstance(entry.value, Sequence)
    second = entry.value.items[1]
    assert isinstance(second, Scalar)
    assert (second.text, second.mark.line, second.mark.column) == ("two", 2, 10)
    assert report.problems == []


def test_quoted_values_are_not_plain() -> None:
    root, _ = read("a: 'true'\nb: true\nc: !!str 5\n")
    assert [node.value.plain for node in root.entries.values() if isinstance(node.value, Scalar)] == [
        False,
        True,
        False,
    ]


def test_a_duplicate_key_is_an_error_that_names_the_first_line() -> None:
    _, report = read("a: 1\nb: 2\na: 3\n")
    (problem,) = report.problems
    assert (problem.severity, problem.line, problem.column) == ("error", 3, 1)
    assert "line 1" in problem.message


@pytest.mark.parametrize(
    "text,line",
    [
        ("a: [1, 2\nb: 3\n", 2),
        ("a: 1\n\tb: 2\n", 2),
        ("a: b: c\n", 1),
        ('a: "unclosed\n', 2),
        ("a:\n  - 1\n b: 2\n", 3),
        ("a: *nowhere\n", 1),
        ("a: 1\n---\nb: 2\n", 2),
        ("- 1\n- 2\n", 1),
        ("a: !python/object:os.system x\n", 1),
        ("? [1, 2]\n: 3\n", 1),
    ],
)
def test_what_is_not_readable_is_one_error_with_its_line(text: str, line: int) -> None:
    _, report = read(text)
    assert [(problem.severity, problem.line) for problem in report.problems] == [("error", line)]


def test_syntax_errors_do_not_quote_the_file() -> None:
    for text in ("api_key: *hunter2\n", "api_key: !hunter2\n", 'api_key: "hunter2\n', "api_key: &a &hunter2 x\n"):
        _, report = read(text)
        assert "hunter2" not in repr(report.problems)


def test_anchors_and_merge_keys_are_resolved() -> None:
    root, report = read("base: &b {x: 1, y: 2}\nused:\n  <<: *b\n  y: 3\nagain: *b\n")
    used = root.entries["used"].value
    assert isinstance(used, Mapping)
    texts = {name: entry.value.text for name, entry in used.entries.items() if isinstance(entry.value, Scalar)}
    assert texts == {"x": "1", "y": "3"}
    assert root.entries["again"].value is root.entries["base"].value
    assert report.problems == []


def test_an_alias_inside_its_own_anchor_is_refused() -> None:
    _, report = read("a: &x\n  b: *x\n")
    assert [problem.severity for problem in report.problems] == ["error"]


def test_alias_bombs_are_refused_before_they_expand() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    _, report = read("\n".join(rows))
    (problem,) = report.problems
    assert "aliases" in problem.message


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "- - "])
def test_deep_nesting_is_refused(opening: str) -> None:
    _, report = read("a:\n  " + opening * 20_000)
    assert [problem.severity for problem in report.problems] == ["error"]


def test_a_file_that_is_too_long_is_refused() -> None:
    _, report = read("#" * (document.MAX_BYTES + 1))
    assert "MiB" in report.problems[0].message


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    root, report = read(text)
    assert (root.entries, [p.severity for p in report.problems if p.severity == "error"]) == ({}, [])


@pytest.mark.parametrize("text", ["a: \x00\n", "a: \x07\n", "\ud800: 1\n", "a: \ufffe\n"])
def test_characters_that_yaml_does_not_allow_are_an_error(text: str) -> None:
    _, report = read(text)
    assert [problem.severity for problem in report.problems] == ["error"]
