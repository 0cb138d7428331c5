"""The counts that the guards compare with, in `instructions.json`, and what they hold for.

A count holds for the compiler that made the program and for the instructions it may choose from at run time: another
rustc inlines differently, and without AVX2 other loops run. With another rustc counts are compared all the same, but
with a tolerance that is wide enough for that; for another target or without AVX2 they say nothing.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
PATH = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.10
OTHER_RUSTC = 0.25
"""Where the compiler is not the one that counts were recorded with."""
RECORD = "make guards-record"


class Toolchain(msgspec.Struct, frozen=True):
    """What counts depend on beside the sources."""

    target: str
    """The compiler's target triple."""
    rustc: str
    """The compiler's version."""
    simd: str
    """The widest vector instructions that valgrind lets the program see."""

    def __str__(self) -> str:
        return f"{self.target}, rustc {self.rustc}, {self.simd}"


class Stored(msgspec.Struct, frozen=True):
    """The document."""

    recorded_with: Toolchain
    instructions: dict[str, int]
    """Of one operation or call of each name."""
    syscalls: dict[str, float]
    """Of the data plane's thread, for one call of each name; a mean, to one decimal."""


class Change(msgspec.Struct, frozen=True):
    """A count beside the stored one."""

    name: str
    stored: float
    measured: float
    unit: str = "instructions"
    tolerance: float = TOLERANCE

    @property
    def ratio(self) -> float:
        """Above 1: more than stored."""
        return self.measured / self.stored

    @property
    def is_loss(self) -> bool:
        """More than the tolerance allows."""
        return self.ratio > 1 + self.tolerance

    @property
    def is_gain(self) -> bool:
        """So much less that the stored count would let the gain be lost again unnoticed."""
        return self.ratio < 1 - self.tolerance

    def __str__(self) -> str:
        return f"{self.name}: {self.measured:,} {self.unit}, stored are {self.stored:,} ({self.ratio - 1:+.1%})"


def tolerance(recorded: Toolchain, here: Toolchain) -> float | None:
    """How far counts of two toolchains may differ; None: they cannot be compared."""
    if (recorded.target, recorded.simd) != (here.target, here.simd):
        return None
    return TOLERANCE if recorded.rustc == here.rustc else OTHER_RUSTC


def load() -> Stored:
    """What is stored."""
    return msgspec.json.decode(PATH.read_bytes(), type=Stored)


def save(stored: Stored) -> None:
    """Store it."""
    PATH.write_bytes(msgspec.json.format(msgspec.json.encode(stored), indent=2) + b"\n")


def toolchain() -> Toolchain:
    """What this machine compiles with and runs."""
    told = subprocess.run(["rustc", "-vV"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    fields = dict(re.findall(r"^(\w+): (.*)$", told, re.M))
    target = fields["host"]
    if not target.startswith("x86_64"):
        return Toolchain(target, fields["release"], "baseline")
    has_avx2 = re.search(r"^flags\s*:.* avx2( |$)", Path("/proc/cpuinfo").read_text(), re.M) is not None
    return Toolchain(target, fields["release"], "avx2" if has_avx2 else "baseline")
