"""Keeps the protocol as it is now as that of the last release: `python -m tests.proto.release`, once per release."""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.proto.breaking import surface
from tests.proto.compiling import ROOT, compiled

PATH = ROOT / "released" / "v1.json"


def dumps(value: Any, depth: int = 4) -> str:
    """JSON with a line for each field, which is what a person compares."""
    if not depth or not isinstance(value, dict) or not value:
        return json.dumps(value, sort_keys=True)
    indent = " " * (5 - depth)
    lines = (
        f"{indent}{json.dumps(name)}: {dumps(item, depth - 1)}" for name, item in sorted(value.items(), key=_order)
    )
    return "{\n" + ",\n".join(lines) + f"\n{indent[1:]}}}"


def _order(item: tuple[str, Any]) -> tuple[int, str]:
    return (int(item[0]) if item[0].isdecimal() else 0, item[0])


if __name__ == "__main__":
    PATH.write_text(dumps(surface(compiled("penstock/v1").file, "penstock.v1")) + "\n")
    sys.stdout.write(f"{PATH.name} written\n")
