"""What a person at a terminal sees when the gateway is up: where it is, the key, and a command to try."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from penstock.engine.runtime import Runtime


def show(runtime: Runtime) -> None:
    """Print it. The key itself is printed when it was made just now, or on request; else where it is kept."""
    secrets, settings = runtime.secrets, runtime.settings
    path = secrets.master_key_path
    visible = secrets.master_key_is_new or (settings.show_key and path is not None)
    if visible:
        key, shown = secrets.master_key, secrets.master_key
    elif path is not None:
        key, shown = f"$(cat {path})", f"kept in {path}"
    else:
        key, shown = "$PENSTOCK_MASTER_KEY", "the one you configured"
    names = [group.name for group in runtime.snapshot.groups if not group.hidden and "*" not in group.name]
    lines = ["", f"  Penstock is ready at {runtime.address}", "", f"  admin key   {shown}"]
    if secrets.master_key_is_new:
        lines.append(f"              generated now, kept in {path}, not shown again")
    if names:
        model = "demo" if "demo" in names else names[0]
        lines += [
            "",
            "  Try:",
            "",
            f"  curl {runtime.address}/v1/chat/completions \\",
            f'    -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\',
            f"""    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'""",
        ]
    click.echo("\n".join([*lines, ""]))
