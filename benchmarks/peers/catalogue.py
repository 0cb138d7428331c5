"""What the checked-in files say about the peers: pins, command lines, config templates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Literal

import msgspec

HERE = Path(__file__).resolve().parent


class Pins(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is installed for one peer."""

    registry: Literal["pypi", "npm"]
    packages: list[str]
    """As `name==version`; the first is the peer itself."""
    overrides: list[str] = []
    """The same for packages that `packages` depend on."""

    def __post_init__(self) -> None:
        for pin in [*self.packages, *self.overrides]:
            if not all(split(pin)):
                raise ValueError(f"{pin!r} is not of the form name==version")
        if not self.packages:
            raise ValueError("packages must name the peer")

    @property
    def version(self) -> str:
        """The peer's own."""
        return split(self.packages[0])[1]


class Launch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one peer is run. Texts are templates; :class:`Values` has what they may refer to."""

    command: list[str]
    version: list[str]
    """Command that prints the version of what is installed."""
    environment: dict[str, str] = {}
    headers: dict[str, str] = {}
    """Header fields that every call through it carries."""
    files: list[str] = []
    """Templates in the peer's folder, rendered into the folder it runs in."""
    aliases: bool = False
    """It has the models under the benchmark's public names."""
    probes_health: bool = False
    """It sends no call to an upstream that does not answer `GET /health`."""
    start_seconds: float = 30


class Values(msgspec.Struct, frozen=True):
    """What templates refer to as `$name`."""

    bin: str
    """Where the environment's programs are."""
    folder: str = ""
    """Where the peer may write."""
    port: int = 0
    metrics: int = 0
    """A second free port."""
    upstream: int = 0
    """The simulator's port."""
    threads: int = 1
    """As many as it has cores."""

    def render(self, text: str, more: Mapping[str, str] | None = None) -> str:
        """The text with every `$name` replaced.

        Raises:
            KeyError: the text refers to something else.
        """
        return Template(text).substitute(
            {name: str(value) for name, value in msgspec.structs.asdict(self).items()}, **(more or {})
        )

    def render_file(self, text: str, models: Mapping[str, str]) -> str:
        """The same for a whole file; a line with `$public` is written for each model, with its `$model`."""
        lines = []
        for line in text.splitlines(keepends=True):
            if line.lstrip().startswith("#"):
                lines.append(line)
            elif "$public" in line:
                lines += [self.render(line, {"public": public, "model": model}) for public, model in models.items()]
            else:
                lines.append(self.render(line))
        return "".join(lines)


def split(pin: str) -> tuple[str, str]:
    """Name (with extras) and version of a pin; either is empty when the pin is none."""
    name, _, version = pin.partition("==")
    return name.strip(), version.strip()


def read_pins(text: str) -> dict[str, Pins]:
    """Parses ``pins.toml``.

    Raises:
        msgspec.ValidationError: it is not as it should be; names the entry.
    """
    return msgspec.toml.decode(text, type=dict[str, Pins])


def read_launch(name: str) -> Launch:
    """Parses a peer's ``launch.toml``."""
    return msgspec.toml.decode((HERE / name / "launch.toml").read_text(encoding="utf-8"), type=Launch)


PINS = read_pins((HERE / "pins.toml").read_text(encoding="utf-8"))
NAMES: tuple[str, ...] = tuple(PINS)
"""In the order in which they are reported."""
