"""A data plane in a process of its own, to be killed: `python -m tests.integration.ledger.plane`.

It reads one line of JSON (`options`, `snapshot`, `keys` and `scopes` as Python hands them to the extension), answers with its port,
and serves until standard input ends. On a line with a number it waits until all calls are settled, acknowledges usage
records up to that ordinal, and says `ok`.
"""

from __future__ import annotations

import json
import sys

from penstock import _core
from tests.rig import until


def tell(what: object) -> None:
    """Answer with a line."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve."""
    setup = json.loads(sys.stdin.readline())
    engine = _core.Engine(json.dumps(setup["options"]).encode())
    engine.apply_snapshot(json.dumps(setup["snapshot"]).encode())
    engine.put_scopes(json.dumps(setup["scopes"]).encode())
    engine.put_keys(json.dumps(setup["keys"]).encode())
    tell(engine.start())
    engine.set_ready(True)
    for line in sys.stdin:
        # An answer is read before its call is settled.
        until(lambda: json.loads(engine.status())["in_flight"] == 0, "all calls settled")
        engine.take_usage(1_000_000)
        engine.ack_usage(int(line))
        tell("ok")
    engine.stop()


if __name__ == "__main__":
    main()
