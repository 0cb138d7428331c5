"""`penstock bench`: the options and their help; what they mean is `penstock.bench`'s business."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SECTIONS: dict[str, str] = {}
"""The heading of each parameter, in the order in which they are declared."""


class _Sectioned(click.Command):
    """Shows its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            # The argument is explained in the text above.
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(_SECTIONS.get(parameter.name or "", _TELL), []).append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def _option(section: str, *names: str, **rest: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    name = next((n for n in names if not n.startswith("-")), names[0]).split("/")[0]
    _SECTIONS[name.removeprefix("--").replace("-", "_")] = section
    return click.option(*names, **rest)


_ASK, _LOAD, _CHECK = "What to ask", "How much", "What to expect of streams"
_WHO, _SEE, _TELL = "Comparing", "Processes and TLS", "What to tell"


@click.command(
    cls=_Sectioned,
    context_settings={"max_content_width": 110},
    epilog=(
        "Exit status: 0 measured; 1 nothing could be measured; 2 wrong command line; 3 a --fail-on condition holds; "
        "130 interrupted, what was measured is written. The key is never shown, nor written."
    ),
)
@click.argument("url")
@_option(_ASK, "--model", help="The model's name at the gateway.")
@_option(
    _ASK,
    "--surface",
    type=click.Choice(["chat", "completions", "embeddings", "responses", "messages"]),
    help="The API to speak [the URL's, else chat].",
)
@_option(_ASK, "--grpc", is_flag=True, help="Addresses without a scheme, host:port, are of gRPC servers.")
@_option(_ASK, "--stream/--unary", default=None, help="Ask for a stream, or for one answer [unary].")
@_option(_ASK, "--key", help="API key. Others on this machine can see it: rather use the next two.")
@_option(_ASK, "--key-file", type=_FILE, help="File that holds the key.")
@_option(_ASK, "--key-env", metavar="NAME", help="Variable that holds the key [PENSTOCK_BENCH_KEY].")
@_option(_ASK, "--header", multiple=True, metavar="'NAME: VALUE'", help="Sent with each request. May be repeated.")
@_option(_ASK, "--prompt-tokens", type=click.IntRange(1, 1_000_000), metavar="N", help="Length of the prompt [64].")
@_option(_ASK, "--body-bytes", metavar="N[,N...]", help="Length of the whole body instead; a list is a sweep.")
@_option(_ASK, "--max-tokens", type=click.IntRange(1), metavar="N", help="Longest answer to ask for [64].")
@_option(_ASK, "--body", type=_FILE, help="File with a request of your own; {pad} in it is filled to --body-bytes.")
@_option(
    _LOAD, "--connections", metavar="N[,N...]", help="Each has one request at a time; a list is a sweep [1, or 64]."
)
@_option(
    _LOAD,
    "--calls-per-connection",
    type=click.IntRange(1),
    metavar="N",
    help="gRPC: calls at a time on each connection. REST targets beside it get so many times the connections [1].",
)
@_option(
    _LOAD,
    "--rate",
    metavar="R[,R...]",
    help="Requests per second, evenly spaced, whether or not answers come (open loop). Latencies count from when a "
    "request was due. A list is a sweep. Without it each connection sends when it has its answer (closed loop).",
)
@_option(_LOAD, "--duration", metavar="TIME", help="Of each run: 10s, 500ms, 2m [10s, unless --requests].")
@_option(_LOAD, "--requests", type=click.IntRange(1), metavar="N", help="Of each run.")
@_option(
    _LOAD,
    "--warmup",
    type=click.IntRange(0),
    metavar="N",
    help="Requests before each run that do not count [2 per connection].",
)
@_option(
    _LOAD,
    "--ramp",
    metavar="TIME",
    help="Begin the connections spread over this time, so that streams are not in step.",
)
@_option(_LOAD, "--timeout", metavar="TIME", default="60s", show_default=True, help="Longest time for one request.")
@_option(_LOAD, "--threads", type=click.IntRange(1, 256), metavar="N", default=1, help="Of the client [1].")
@_option(_LOAD, "--client-cores", metavar="N[,N...]", help="Cores that the client may use [all].")
@_option(
    _CHECK,
    "--deltas",
    type=click.IntRange(0),
    metavar="N",
    help="So many events, or messages, with text in each stream [any number].",
)
@_option(
    _CHECK,
    "--check-order",
    type=click.Choice(["none", "same", "numbered"]),
    help="same: all streams carry the same deltas in the same order; numbered: the words of `penstock simulate` [none].",
)
@_option(_CHECK, "--check-usage", is_flag=True, help="Each stream must state its usage.")
@_option(
    _CHECK,
    "--check-done/--no-check-done",
    default=True,
    help="Each event stream must have its wire's end marker [yes]. Over gRPC the status says it.",
)
@_option(_WHO, "--compare", multiple=True, metavar="LABEL=URL", help="Measure this too, in turns. May be repeated.")
@_option(_WHO, "--label", default="target", show_default=True, help="What the first URL is called.")
@_option(_WHO, "--baseline", metavar="LABEL", help="Show what the others add to this one.")
@_option(
    _WHO, "--rounds", type=click.IntRange(1, 1000), help="Runs per target; medians are shown [1, with --compare 3]."
)
@_option(
    _WHO, "--compare-model", multiple=True, metavar="LABEL=MODEL", help="The model's name there, where it differs."
)
@_option(_WHO, "--compare-key-env", multiple=True, metavar="LABEL=NAME", help="Variable with the key there.")
@_option(
    _SEE,
    "--process",
    multiple=True,
    metavar="[LABEL=]WHICH",
    help="Read CPU and memory of this process and its children: id, pidfile or name. May be repeated.",
)
@_option(_SEE, "--ca-file", type=_FILE, help="PEM certificates to trust for https:// and grpcs:// [Mozilla's].")
@_option(_SEE, "--insecure", is_flag=True, help="Accept any certificate.")
@_option(
    _TELL, "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for JSON, Markdown and charts."
)
@_option(
    _TELL,
    "--format",
    "shown_as",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="Of standard output.",
)
@_option(_TELL, "--fail-on", multiple=True, metavar="'p99_ms>50'", help="End with status 3 if so. May be repeated.")
def bench(output: Path | None, shown_as: Any, **given: Any) -> None:
    """Measure a gateway: latency, throughput, streams, CPU and memory.

    URL is a base address such as http://127.0.0.1:4000/v1 or a whole endpoint, spoken to over HTTP/1.1; or
    grpc://127.0.0.1:4000, spoken to over gRPC (penstock.v1.Chat). https:// and grpcs:// are the same over TLS.

    \b
    penstock bench http://127.0.0.1:4000/v1 --model demo --connections 1,8,32 --process penstock
    penstock bench http://127.0.0.1:4000/v1 --model demo --stream --connections 64 --ramp 1s
    penstock bench grpc://127.0.0.1:4000 --model demo --connections 2 --calls-per-connection 16 \\
        --compare rest=http://127.0.0.1:4000/v1
    penstock bench http://127.0.0.1:4000/v1 --model demo --rate 500 --fail-on 'p99_ms>50'
    penstock bench http://127.0.0.1:4000/v1 --model demo --label gateway \\
        --compare direct=http://127.0.0.1:4010/v1 --baseline direct --output results
    """
    from penstock.bench.asked import Asked
    from penstock.bench.command import Failed, run
    from penstock.bench.wire import UsageError
    from penstock.cli.descriptors import raise_limit

    # The client takes one for each connection.
    raise_limit()
    try:
        status = run(Asked(**given), output=output, shown_as=shown_as)
    except UsageError as e:
        raise click.UsageError(str(e)) from e
    except (Failed, OSError) as e:
        raise click.ClickException(str(e)) from e
    raise SystemExit(int(status))
