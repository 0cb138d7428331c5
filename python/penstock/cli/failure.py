"""What ends a command with words instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click


@contextmanager
def explained() -> Iterator[None]:
    """Turn the failures that an operator can put right into a message and exit status 1."""
    from penstock.access.master import WeakKey
    from penstock.config.problems import ConfigError, describe
    from penstock.credentials.service import CredentialSealed
    from penstock.engine.certificates import TlsUnusable
    from penstock.errors import ApiError
    from penstock.persistence import DatabaseUnavailable, MigrationError

    try:
        yield
    except ConfigError as error:
        for problem in error.problems:
            click.echo(describe(problem), err=True)
        raise SystemExit(1) from error
    except ApiError as error:
        raise click.ClickException(error.message) from error
    except DatabaseUnavailable as error:
        raise click.ClickException(f"the database cannot be used: {error}") from error
    except (WeakKey, MigrationError, CredentialSealed, TlsUnusable, OSError) as error:
        raise click.ClickException(str(error)) from error
