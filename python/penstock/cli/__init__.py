"""The `penstock` command. Each command imports what it needs when it runs, so that `--help` is instant."""

from __future__ import annotations

from pathlib import Path

import click

from penstock import __version__
from penstock.cli.bench import bench
from penstock.cores import available_cores

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="penstock")
def main() -> None:
    """Penstock, an LLM gateway."""


@main.command()
@click.option(
    "--config", type=_FILE, help="LiteLLM-compatible YAML; without it the demo model and the environment's keys."
)
@click.option("--host", help="Address of the public port [127.0.0.1].")
@click.option("--port", type=click.IntRange(0, 65_535), help="Public port [4000]; 0 picks a free one.")
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help=f"Data-plane threads [1]; {available_cores()} CPU cores are available, and one thread uses one of them.",
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Worker processes.")
@click.option("--data-dir", type=_DIRECTORY, help="Database and generated secrets [.penstock].")
@click.option(
    "--listener",
    type=click.Choice(["native", "granian"]),
    default="native",
    show_default=True,
    help="Who owns the public port: the Rust data plane, or Granian.",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[info]")
@click.option("--show-key", is_flag=True, help="Print the generated master key, not only where it is kept.")
def serve(
    config: Path | None,
    host: str | None,
    port: int | None,
    threads: int | None,
    workers: int,
    data_dir: Path | None,
    listener: str,
    log_level: str | None,
    show_key: bool,
) -> None:
    """Run the gateway until SIGTERM or SIGINT; a second signal ends it at once."""
    from penstock.cli import allocator
    from penstock.config import Environment

    # It may begin the process anew: before anything that takes long to import.
    allocator.provide(Environment())
    from penstock.cli.serve import run
    from penstock.settings import Flags

    flags = Flags(
        config=config,
        host=host,
        port=port,
        threads=threads,
        data_dir=data_dir,
        listener="granian" if listener == "granian" else "native",
        log_level=log_level,
        show_key=show_key,
        banner=True,
    )
    run(flags, workers)


@main.command()
@click.argument("file", type=_FILE)
def check(file: Path) -> None:
    """Check a configuration: every problem with its line; exits with 1 when there is an error."""
    from penstock.cli.inspect import run_check

    run_check(file)


@main.command()
@click.argument("model")
@click.option("--config", type=_FILE, help="The configuration to look into.")
def explain(model: str, config: Path | None) -> None:
    """Show which group, deployments, order and price a model name resolves to."""
    from penstock.cli.inspect import run_explain

    run_explain(model, config)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65_535), default=4010, show_default=True)
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option("--ttft-ms", type=click.FloatRange(0), default=0, show_default=True, help="Time to the first token.")
@click.option("--tokens-per-second", type=click.FloatRange(0), default=0, show_default=True, help="0: without pause.")
@click.option("--tokens", type=click.IntRange(1), default=16, show_default=True, help="Tokens of an unbounded answer.")
def simulate(host: str, port: int, threads: int, ttft_ms: float, tokens_per_second: float, tokens: int) -> None:
    """Run the upstream simulator until SIGTERM or SIGINT."""
    from penstock.cli.simulate import run

    run(host, port, threads, ttft_ms, tokens_per_second, tokens)


@main.command()
@click.option("--config", type=_FILE, help="The configuration that `serve` runs with.")
@click.option(
    "--data-dir", type=_DIRECTORY, help="Where the SQLite file is when nothing else is configured [.penstock]."
)
@click.option("--database-url", help="Goes before what is configured. Visible to other users: prefer DATABASE_URL.")
@click.option("--status", "only_status", is_flag=True, help="Only list; exits with 3 when something is to be applied.")
def migrate(config: Path | None, data_dir: Path | None, database_url: str | None, only_status: bool) -> None:
    """Bring the database's schema up to date and list what was applied.

    `serve` does it too. Any number of processes may do it at the same time: one applies, the others wait. The version
    before can go on serving meanwhile. Exits with 1 when it cannot be done.
    """
    from penstock.cli.migrate import run_migrate

    run_migrate(config, data_dir, database_url, only_status=only_status)


@main.command()
@click.option("--config", type=_FILE, help="The configuration that `serve` runs with.")
@click.option("--data-dir", type=_DIRECTORY, help="For records that no table takes [.penstock].")
@click.option("--once", is_flag=True, help="Write down what is in the stream, and end.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[info]")
def coworker(config: Path | None, data_dir: Path | None, once: bool, log_level: str | None) -> None:
    """Write usage records from the Redis stream to PostgreSQL until SIGTERM or SIGINT.

    Any number may run beside the gateways, which do this too unless `penstock.ledger.coworker` is false.
    """
    from penstock.cli.coworker import run_coworker

    run_coworker(config, data_dir, log_level, once=once)


@main.group()
def ledger() -> None:
    """What calls cost, as it is written down."""


@ledger.command("import")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--config", type=_FILE, help="The gateway's configuration, for its database.")
@click.option("--data-dir", type=_DIRECTORY, help="Of this installation, for a SQLite database [.penstock].")
@click.option(
    "--ended",
    "has_ended",
    is_flag=True,
    help="The gateway has ended for certain: do not wait until it was silent for long.",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="[warning]")
def ledger_import(
    directory: Path, config: Path | None, data_dir: Path | None, has_ended: bool, log_level: str | None
) -> None:
    """Write down what a gateway left that does not come back.

    DIRECTORY is its data directory, or a copy. What is in the ledger is not written again, and what is durable is deleted from
    the directory. A journal that is in use is refused.
    """
    from penstock.cli.ledger import run_import

    run_import(directory, config, data_dir, log_level, has_ended=has_ended)


@main.group()
def key() -> None:
    """Virtual keys. A running gateway sees the changes within a second."""


@key.command("create")
@click.option("--alias")
@click.option("--model", "models", multiple=True, help="May be given several times; none: every model.")
@click.option("--rpm", type=click.IntRange(0), help="Requests per minute.")
@click.option("--tpm", type=click.IntRange(0), help="Tokens per minute.")
@click.option("--max-parallel", type=click.IntRange(0), help="Calls in flight.")
@click.option("--max-budget", help="US dollars per budget window.")
@click.option("--budget-duration", help="Length of a budget window, e.g. 30d or 1mo.")
@click.option("--duration", help="Life of the key, e.g. 30d.")
@click.option("--user-id")
@click.option("--team-id")
@click.option("--config", type=_FILE)
@click.option("--data-dir", type=_DIRECTORY)
def key_create(
    alias: str | None,
    models: tuple[str, ...],
    rpm: int | None,
    tpm: int | None,
    max_parallel: int | None,
    max_budget: str | None,
    budget_duration: str | None,
    duration: str | None,
    user_id: str | None,
    team_id: str | None,
    config: Path | None,
    data_dir: Path | None,
) -> None:
    """Create a key and print it, this once."""
    from penstock.cli.keys import run_create

    fields: dict[str, object] = {
        "key_alias": alias,
        "models": list(models) or None,
        "rpm_limit": rpm,
        "tpm_limit": tpm,
        "max_parallel_requests": max_parallel,
        "max_budget": max_budget,
        "budget_duration": budget_duration,
        "duration": duration,
        "user_id": user_id,
        "team_id": team_id,
    }
    run_create({name: value for name, value in fields.items() if value is not None}, config, data_dir)


@key.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option("--config", type=_FILE)
@click.option("--data-dir", type=_DIRECTORY)
def key_list(as_json: bool, config: Path | None, data_dir: Path | None) -> None:
    """List keys, latest first."""
    from penstock.cli.keys import run_list

    run_list(as_json, config, data_dir)


@key.command("revoke")
@click.argument("identifier")
@click.option("--config", type=_FILE)
@click.option("--data-dir", type=_DIRECTORY)
def key_revoke(identifier: str, config: Path | None, data_dir: Path | None) -> None:
    """Delete the key with this token, alias or secret."""
    from penstock.cli.keys import run_revoke

    run_revoke(identifier, config, data_dir)


main.add_command(bench)
