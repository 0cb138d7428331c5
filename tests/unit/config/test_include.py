"""`include:` merges files; problems stay with the file in which they were made."""

from __future__ import annotations

from pathlib import Path

from penstock.config import Environment, load

ENVIRONMENT = Environment({"OPENAI_API_KEY": "k"})


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / "main.yaml"


def test_lists_are_joined_and_mappings_merged(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main="include: [models.yaml]\n"
        "model_list: [{model_name: a, litellm_params: {model: openai/a}}]\n"
        "router_settings: {num_retries: 1, allowed_fails: 7}\n",
        models="model_list: [{model_name: b, litellm_params: {model: openai/b}}]\nrouter_settings: {cooldown_time: 9}\n",
    )
    config = load(main, ENVIRONMENT).config
    assert [entry.model_name for entry in config.model_list] == ["a", "b"]
    router = config.router_settings
    assert (router.num_retries, router.allowed_fails, router.cooldown_time) == (1, 7, 9000)


def test_an_included_value_wins_with_a_warning(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main="include: [other.yaml]\nrouter_settings: {num_retries: 1}\n",
        other="router_settings: {num_retries: 5}\n",
    )
    loaded = load(main, ENVIRONMENT)
    assert loaded.config.router_settings.num_retries == 5
    (problem,) = loaded.problems
    assert (problem.severity, problem.file) == ("warning", str(tmp_path / "other.yaml"))
    assert "main.yaml:2" in problem.message


def test_problems_name_the_included_file_and_its_line(tmp_path: Path) -> None:
    main = write(tmp_path, main="include: [sub.yaml]\n", sub="# first\npenstock:\n  nonsense: 1\n")
    loaded = load(main, ENVIRONMENT)
    (problem,) = loaded.problems
    assert (problem.file, problem.line) == (str(tmp_path / "sub.yaml"), 3)
    assert set(loaded.sources) == {str(main), problem.file}


def test_cycles_are_refused(tmp_path: Path) -> None:
    main = write(tmp_path, main="include: [other.yaml]\n", other="include: [main.yaml]\n")
    (problem,) = load(main, ENVIRONMENT).problems
    assert (problem.severity, problem.file) == ("error", str(tmp_path / "other.yaml"))
    assert "includes itself" in problem.message


def test_a_file_may_be_included_from_two_places(tmp_path: Path) -> None:
    main = write(
        tmp_path,
        main="include: [left.yaml, right.yaml]\n",
        left="include: [common.yaml]\n",
        right="litellm_settings: {drop_params: true}\n",
        common="penstock: {demo: false}\nmodel_list: [{model_name: a, litellm_params: {model: openai/a}}]\n",
    )
    loaded = load(main, ENVIRONMENT)
    assert loaded.problems == []
    assert loaded.config.litellm_settings.drop_params
    assert not loaded.config.penstock.demo


def test_a_missing_file_is_reported_where_it_is_asked_for(tmp_path: Path) -> None:
    main = write(tmp_path, main="penstock: {}\ninclude:\n  - absent.yaml\n")
    (problem,) = load(main, ENVIRONMENT).problems
    assert (problem.severity, problem.file, problem.line) == ("error", str(main), 3)
