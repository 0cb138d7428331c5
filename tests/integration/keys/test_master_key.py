"""The master key: where it may be sent, which are refused, and how one is made."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.conftest import Gateway, Process
from tests.integration.managed import Managed, question, until

HEADERS = ["authorization", "x-api-key", "api-key", "x-goog-api-key", "x-litellm-api-key"]


def sent_as(name: str, key: str) -> dict[str, str]:
    """The key in this header."""
    return {name: f"Bearer {key}" if name == "authorization" else key}


@pytest.mark.parametrize("name", HEADERS)
def test_every_header_carries_the_master_key_on_both_planes(managed: Managed, name: str) -> None:
    headers = sent_as(name, managed.gateway.admin_key)
    assert managed.client.get("/key/list", headers=headers).status_code == 200
    assert managed.client.post("/v1/chat/completions", headers=headers, json=question()).status_code == 200
    assert managed.client.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize("name", HEADERS)
def test_every_header_carries_a_virtual_key_on_both_planes(managed: Managed, name: str) -> None:
    headers = sent_as(name, managed.key())
    assert managed.client.get("/key/info", headers=headers).status_code == 200
    assert managed.client.post("/v1/chat/completions", headers=headers, json=question()).status_code == 200


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  "])
def test_the_scheme_may_be_written_anyhow(managed: Managed, scheme: str) -> None:
    headers = {"authorization": f"{scheme} {managed.gateway.admin_key}"}
    assert managed.client.get("/key/list", headers=headers).status_code == 200
    assert managed.client.get("/v1/models", headers=headers).status_code == 200


def test_near_misses_of_the_master_key_are_nobody(managed: Managed) -> None:
    key = managed.gateway.admin_key
    for wrong in (key[:-1], key + "0", key.upper(), key.removeprefix("sk-"), f"Bearer {key}"):
        headers = {"authorization": f"Bearer {wrong}"}
        assert managed.client.get("/key/list", headers=headers).status_code == 401, wrong
        assert managed.client.get("/v1/models", headers=headers).status_code == 401, wrong
    for wrong in ("Basic", "Token"):
        headers = {"authorization": f"{wrong} {key}"}
        assert managed.client.get("/key/list", headers=headers).status_code == 401, wrong
        assert managed.client.get("/v1/models", headers=headers).status_code == 401, wrong


def test_both_planes_believe_the_same_header_of_two(managed: Managed) -> None:
    mine, other = managed.key(models=["priced"]), managed.key(models=["other"])
    for first in HEADERS:
        for second in HEADERS:
            if first == second:
                continue
            headers = sent_as(first, mine) | sent_as(second, other)
            shown = managed.client.get("/key/info", headers=headers).json()["info"]["models"]
            listed = [model["id"] for model in managed.client.get("/v1/models", headers=headers).json()["data"]]
            assert shown[0] == listed[0], f"{first} against {second}"


@pytest.mark.parametrize(
    "key,words",
    [
        ("", "is empty"),
        ("sk-1234", "everybody knows"),
        ("sk-litellm-master-key", "everybody knows"),
        ("sk-ab12cd34", "characters"),
        ("sk-aaaaaaaaaaaaaaaaaaaaaaaa", "repeats"),
        ("sk-your-master-key-goes-here-1", "placeholder"),
        ("sk-with blanks in 0123456789abcdef", "blanks"),
    ],
)
def test_a_weak_master_key_is_refused_at_start(
    tmp_path: Path, start_process: Callable[..., Process], key: str, words: str
) -> None:
    (tmp_path / "c.yaml").write_text(f'general_settings: {{master_key: "{key}"}}\n')
    # At the same time, for each takes a while to start.
    processes = [
        start_process("serve", "--port", "0", "--data-dir", str(tmp_path / str(number)), *arguments, **options)
        for number, (arguments, options) in enumerate(
            (((), {"environment": {"PENSTOCK_MASTER_KEY": key}}), (("--config", str(tmp_path / "c.yaml")), {}))
        )
    ]
    for process in processes:
        assert process.process.wait(timeout=60) == 1
        output = process.output()
        assert "master key" in output
        assert words in output
        assert "Traceback" not in output
        assert '"ready"' not in output
        if len(key) > 10:
            assert key not in output


def test_the_environment_and_the_file_give_the_master_key(
    tmp_path: Path, start_process: Callable[..., Process]
) -> None:
    (tmp_path / "c.yaml").write_text("general_settings: {master_key: os.environ/MY_OWN_NAME}\n")
    key = "sk-9f8e7d6c5b4a39281706f5e4"
    for name, arguments in (
        ("LITELLM_MASTER_KEY", []),
        ("MY_OWN_NAME", ["--config", str(tmp_path / "c.yaml")]),
    ):
        process = start_process(
            *("serve", "--port", "0", "--data-dir", str(tmp_path / name), *arguments), environment={name: key}
        )
        url = process.wait_ready()["address"]
        answer = httpx.get(f"{url}/key/list", headers={"x-api-key": key}, trust_env=False, timeout=30)
        assert answer.status_code == 200
        assert not (tmp_path / name / "master.key").exists()
        assert process.stop() == 0


def test_the_first_start_makes_a_strong_key_and_keeps_it_to_its_owner(
    tmp_path: Path, start_process: Callable[..., Process]
) -> None:
    data = tmp_path / "data"
    process = start_process("serve", "--port", "0", "--data-dir", str(data))
    url = process.wait_ready()["address"]
    until(lambda: "curl " in process.output(), 20, what="the banner")
    key = (data / "master.key").read_text().strip()
    assert key in process.output(), "shown on the first start"
    assert key.startswith("sk-")
    assert len(key) == 68
    for file in ("master.key", "pepper", "sealing.key"):
        assert stat.S_IMODE((data / file).stat().st_mode) == 0o600, file
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    shown = httpx.get(f"{url}/key/list", headers={"x-api-key": key}, trust_env=False, timeout=30)
    assert shown.status_code == 200


def test_two_installations_do_not_share_keys(managed: Managed, start_gateway: Callable[..., Gateway]) -> None:
    other = start_gateway()
    with other.client() as client:
        assert client.get("/v1/models", headers={"x-api-key": managed.key()}).status_code == 401
        assert client.get("/key/list", headers=managed.admin).status_code == 401
