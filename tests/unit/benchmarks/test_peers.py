"""What is said about peers renders to what is run, and what they answer is compared whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import yaml

from benchmarks import peers
from benchmarks.peers import install, proof, running
from benchmarks.peers.catalogue import HERE, PINS, Launch, Pins, Values, read_launch, read_pins
from benchmarks.scenarios import MODELS
from benchmarks.targets import NotMeasured

VALUES = Values(bin="/env/bin", folder="/run/peer", port=4001, metrics=4002, upstream=4010, threads=3)


def test_the_peers_that_there_are() -> None:
    assert peers.NAMES == ("smg", "vllm-router", "litellm", "portkey")
    assert {path.parent.name for path in HERE.glob("*/launch.toml")} == set(peers.NAMES)


@pytest.mark.parametrize("name", peers.NAMES)
def test_every_template_renders(name: str, tmp_path: Path) -> None:
    launch = read_launch(name)
    words = [VALUES.render(word) for word in [*launch.command, *launch.version]]
    texts = [VALUES.render(text) for text in [*launch.environment.values(), *launch.headers.values()]]
    running.write_files(name, launch, VALUES, tmp_path)
    texts += [(tmp_path / file).read_text() for file in launch.files]
    assert any("4001" in word for word in words)
    assert any("http://127.0.0.1:4010" in text for text in [*words, *texts])
    assert not any("$" in line for text in [*words, *texts] for line in text.splitlines() if not line.startswith("#"))


@pytest.mark.parametrize("name", ["smg", "vllm-router"])
def test_routers_get_their_worker_and_as_many_threads_as_cores(name: str) -> None:
    launch = read_launch(name)
    command = [VALUES.render(word) for word in launch.command]
    assert command[command.index("--worker-urls") + 1] == "http://127.0.0.1:4010"
    assert command[command.index("--prometheus-port") + 1] == "4002"
    assert "--disable-retries" in command
    assert VALUES.render(launch.environment["TOKIO_WORKER_THREADS"]) == "3"


def test_litellm_has_every_model_under_its_public_name(tmp_path: Path) -> None:
    launch = read_launch("litellm")
    running.write_files("litellm", launch, VALUES, tmp_path)
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    found = {entry["model_name"]: entry["litellm_params"] for entry in config["model_list"]}
    assert {public: params["model"] for public, params in found.items()} == {
        public: f"openai/{model}" for public, model in MODELS.items()
    }
    assert {params["api_base"] for params in found.values()} == {"http://127.0.0.1:4010/v1"}
    assert config["litellm_settings"]["num_retries"] == config["router_settings"]["num_retries"] == 0
    assert running.target("litellm", launch, VALUES, 1, "1.0").models == MODELS


def test_portkey_is_told_its_upstream_by_each_call() -> None:
    target = running.target("portkey", read_launch("portkey"), VALUES, 1, "1.0")
    assert dict(target.headers)["x-portkey-custom-host"] == "http://127.0.0.1:4010/v1"
    assert (target.unary_url, target.models) == ("http://127.0.0.1:4001/v1/chat/completions", {})


def test_a_template_that_refers_to_nothing() -> None:
    with pytest.raises(KeyError, match="elsewhere"):
        VALUES.render("http://$elsewhere")


@pytest.mark.parametrize(
    "text, said",
    [
        ('[a]\nregistry = "pypi"\npackages = ["a>=1"]', "not of the form name==version"),
        ('[a]\nregistry = "pypi"\npackages = []', "must name the peer"),
        ('[a]\nregistry = "npm"\npackages = ["a==1"]\noverrides = ["b"]', "not of the form name==version"),
        ('[a]\nregistry = "cargo"\npackages = ["a==1"]', "registry"),
        ('[a]\nregistry = "npm"\npackages = ["a==1"]\nextra = 1', "extra"),
    ],
)
def test_pins_that_are_none(text: str, said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        read_pins(text)


def test_npm_gets_exact_versions() -> None:
    pins = Pins(registry="npm", packages=["@a/b==1.2.3"], overrides=["@c/d==4.5.6"])
    assert install.package_json(pins) == {
        "private": True,
        "dependencies": {"@a/b": "1.2.3"},
        "overrides": {"@c/d": "4.5.6"},
    }


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "penstock" / "peers"


def test_what_is_not_installed_is_not_measured(cache: Path, tmp_path: Path) -> None:
    for name in peers.NAMES:
        with pytest.raises(NotMeasured, match=f"benchmarks.peers install {name}"):
            peers.version(name)
        with pytest.raises(NotMeasured, match=f"benchmarks.peers install {name}"):
            peers.start(name, tmp_path / name, 1, None)
    assert not cache.exists()


def test_an_environment_belongs_to_its_pins(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = install.folder("smg")
    monkeypatch.setitem(PINS, "smg", Pins(registry="pypi", packages=["smg==0.0.1"]))
    assert install.folder("smg") != before
    assert install.folder("smg").parent == cache


def test_an_installation_that_fails_leaves_no_environment(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho first >&2\necho E404 no such version >&2\nexit 7\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    with pytest.raises(NotMeasured, match=r"npm failed with status 7: first \| E404 no such version"):
        install.install("portkey")
    with pytest.raises(NotMeasured, match="not installed"):
        install.programs("portkey")
    npm.write_text('#!/bin/sh\nmkdir -p node_modules/.bin && cp package.json seen.json && echo "$@" >> runs\n')
    former = cache / "portkey-0123456789ab"
    other = cache / "portkey-two-0123456789ab"
    for folder in (former, other):
        folder.mkdir(parents=True)
    made = install.install("portkey")
    assert json.loads((made / "seen.json").read_text()) == install.package_json(PINS["portkey"])
    assert install.programs("portkey") == made / "node_modules" / ".bin"
    assert install.install("portkey") == made
    assert len((made / "runs").read_text().splitlines()) == 1
    assert (former.exists(), other.exists()) == (False, True)


def test_no_npm(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(cache))
    with pytest.raises(NotMeasured, match="npm is not installed"):
        install.install("portkey")


@pytest.mark.parametrize(
    "printed, said",
    [
        ("tool 9.9.9", None),
        ("tool 9.9.8", "9.9.9 is pinned"),
        ("no version", "9.9.9 is pinned"),
        (None, "does not say"),
    ],
)
def test_the_version_is_what_the_program_says(
    cache: Path, monkeypatch: pytest.MonkeyPatch, printed: str | None, said: str | None
) -> None:
    monkeypatch.setitem(PINS, "smg", Pins(registry="pypi", packages=["smg==9.9.9"]))
    command = ["false"] if printed is None else ["echo", printed]
    monkeypatch.setattr(running, "read_launch", lambda _: Launch(command=["none"], version=command))
    install.folder("smg").mkdir(parents=True)
    (install.folder("smg") / install.STAMP).touch()
    if said is None:
        assert peers.version("smg") == "9.9.9"
    else:
        with pytest.raises(NotMeasured, match=said):
            peers.version("smg")


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
DONE = b"data: [DONE]\n"


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n"


def delta(content: str | None, finish: str | None = None) -> bytes:
    return event(choices=[{"delta": {} if content is None else {"content": content}, "finish_reason": finish}])


WHOLE = [delta(""), delta(" time"), b"\n", delta(" river"), delta(None, "stop"), event(choices=[], usage=USAGE), DONE]


def timed(lines: list[bytes]) -> Iterator[tuple[float, bytes]]:
    return ((0.1 * number, line) for number, line in enumerate(lines))


def test_a_stream_is_read_whole() -> None:
    streamed = proof.read_stream(timed(WHOLE))
    assert streamed.answer == proof.Answer(" time river", "stop", (3, 2, 5), deltas=2)
    assert streamed.spread == pytest.approx(0.2)


@pytest.mark.parametrize(
    "lines, said",
    [
        (WHOLE[:-1], "no .DONE."),
        ([*WHOLE[:5], DONE], "no usage"),
        ([*WHOLE[:1], *WHOLE[4:]], "no delta"),
        ([WHOLE[1], b"data: {\n", *WHOLE[2:]], "no JSON"),
        ([WHOLE[1], event(choices=[], usage={"total_tokens": 3}), DONE], "usage has no 'prompt_tokens'"),
    ],
)
def test_a_stream_that_is_not_whole(lines: list[bytes], said: str) -> None:
    with pytest.raises(proof.Unequal, match=said):
        proof.read_stream(timed(lines))


def test_what_tells_streams_apart() -> None:
    expected = proof.Streamed(proof.Answer(" time river", "stop", (3, 2, 5), deltas=2), spread=0.3)
    assert proof.difference_streamed(expected, replace(expected, spread=0.2)) is None
    assert "all deltas came within" in str(proof.difference_streamed(expected, replace(expected, spread=0.1)))
    merged = replace(expected, answer=replace(expected.answer, deltas=1))
    assert "deltas=1" in str(proof.difference_streamed(expected, merged))
