"""`penstock check` and `penstock explain`: what a configuration says, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli.failure import explained
from penstock.config import check as report
from penstock.config import load
from penstock.config.env import Environment
from penstock.config.problems import Problem
from penstock.config.schema import Config
from penstock.money import NANOS_PER_DOLLAR

if TYPE_CHECKING:
    from penstock.engine.snapshot import Deployment

_DEMO_ADDRESS = "http://127.0.0.1:0"
"""Stands for the simulator, which is not running."""


def run_check(file: Path) -> None:
    """Print every problem; exit with 1 when one is an error."""
    from penstock.config.problems import ConfigError
    from penstock.engine.compile import compile_snapshot

    loaded = load(file, Environment())
    problems = [*loaded.problems, *_absent_files(loaded.config, file)]
    summary = ""
    if loaded.ok:
        try:
            snapshot = compile_snapshot(
                loaded.config, loaded.environment, version=1, master_token="", demo_base_url=_DEMO_ADDRESS
            )
            summary = f"{len(snapshot.groups)} models, {len(snapshot.deployments)} deployments"
        except ConfigError as error:
            problems = list(dict.fromkeys([*problems, *error.problems]))
    failed = any(problem.severity == "error" for problem in problems)
    text = report.render(problems, loaded.sources)
    if text:
        click.echo(text.rstrip("\n"), err=failed)
    if failed:
        raise SystemExit(1)
    click.echo(f"{file}: valid; {summary}")


def _absent_files(config: Config, file: Path) -> list[Problem]:
    """Warnings: the configuration may be checked on another machine than it is served on."""
    tls = config.penstock.listener.tls
    named = {"penstock.upstream.ca_file": config.penstock.upstream.ca_file}
    if tls is not None:
        for field in ("certificate", "key", "client_ca"):
            named[f"penstock.listener.tls.{field}"] = getattr(tls, field)
    message = "there is no such file here: `penstock serve` will not start without it"
    return [
        Problem(severity="warning", message=message, file=str(file), path=path)
        for path, name in named.items()
        if name is not None and not Path(name).is_file()
    ]


def run_explain(model: str, config: Path | None) -> None:
    """Print how a model name resolves; exit with 1 when it does not."""
    from penstock.config import load_or_raise
    from penstock.engine.compile import compile_snapshot
    from penstock.models.service import resolve

    environment = Environment()
    with explained():
        loaded = load_or_raise(config or environment.config, environment)
        snapshot = compile_snapshot(
            loaded.config, loaded.environment, version=1, master_token="", demo_base_url=_DEMO_ADDRESS
        )
    found = resolve(snapshot, model)
    if found.group is None:
        names = ", ".join(group.name for group in snapshot.groups) or "none"
        click.echo(f"{model}: no model group has this name. Known: {names}", err=True)
        raise SystemExit(1)
    click.echo(f"{model}: group `{found.group.name}` (by {found.via})")
    if found.group.access_groups:
        click.echo(f"  access groups: {', '.join(found.group.access_groups)}")
    orders = sorted({deployment.order for deployment in found.deployments})
    for rank, order in enumerate(orders, 1):
        same = [deployment for deployment in found.deployments if deployment.order == order]
        total = sum(deployment.weight for deployment in same) or 1
        click.echo(f"  {rank}. order {order}")
        for deployment in same:
            click.echo(_deployment(deployment, found.wildcard, deployment.weight / total))
    fallbacks = found.group.fallbacks or snapshot.settings.default_fallbacks
    if fallbacks:
        click.echo(f"  then: {', '.join(fallbacks)}")


def _deployment(deployment: Deployment, wildcard: str, share: float) -> str:
    name = deployment.model.replace("*", wildcard)
    limits = [f"{label} {value}" for label, value in (("rpm", deployment.rpm), ("tpm", deployment.tpm)) if value]
    address = deployment.base_url if deployment.base_url != _DEMO_ADDRESS else "built-in simulator"
    lines = [
        f"     {deployment.id}: {deployment.provider} `{name}` at {address} ({deployment.wire} wire), {share:.0%} of calls",
        f"       price: {_price(deployment)}",
    ]
    if limits:
        lines.append(f"       limits: {', '.join(limits)}")
    return "\n".join(lines)


def _price(deployment: Deployment) -> str:
    if deployment.price is None:
        return "unknown, calls cost nothing"
    parts = []
    for tier in deployment.price.tiers:
        start = f"from {tier.from_input_tokens} input tokens: " if tier.from_input_tokens else ""
        money = f"${tier.input / NANOS_PER_DOLLAR:g} in, ${tier.output / NANOS_PER_DOLLAR:g} out per million tokens"
        parts.append(start + money)
    return f"{'; '.join(parts)} ({deployment.price.version})"
