"""From the prepared configuration to the parts that the runtime is put together from.

Apart from the runtime because these are functions without state, which the command line uses too.
"""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from penstock.access.master import LocalSecrets, load_secrets
from penstock.config import Config, Secret
from penstock.config.master_key import master_key
from penstock.config.schema import Credential, CredentialValues
from penstock.config.values import BaseUrl
from penstock.engine.options import engine_options

if TYPE_CHECKING:
    from penstock.settings import Prepared

_LOCK_FILE = "serve.lock"


class DataDirectoryInUse(OSError):
    """Another process serves from the same data directory."""


def lock_data_directory(directory: Path) -> IO[str]:
    """Make this the only process that serves from the directory, until the file is closed.

    Limits, budgets in flight and the key table are kept per process: two of them would each allow the full limit.

    Raises:
        DataDirectoryInUse: there is one already.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = (directory / _LOCK_FILE).open("a", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise DataDirectoryInUse(
            f"another process serves from {directory}: limits are kept per process, so stop it or use another "
            "--data-dir; for more cores use --threads"
        ) from error
    return file


def local_secrets(prepared: Prepared) -> LocalSecrets:
    """The master key, pepper and sealing key of this installation.

    Raises:
        WeakKey: one of them does not do.
    """
    from penstock import _core

    environment = prepared.environment
    master = master_key(prepared.config, environment)
    pepper, sealing = environment.pepper, environment.secret_key
    return load_secrets(
        prepared.settings.data_dir,
        _core.generate_key,
        master_key=None if master is None else master.reveal(),
        pepper=None if pepper is None else pepper.reveal(),
        sealing_key=None if sealing is None else sealing.reveal(),
    )


def fixed_at_start(prepared: Prepared) -> dict[str, object]:
    """What only another start changes, by the section that says it. Holds secrets: for comparison alone."""
    config, environment = prepared.config, prepared.environment
    return {
        "general_settings.master_key": master_key(config, environment),
        "general_settings.database_url": config.general_settings.database_url,
        "penstock.listener, grpc, limits, ledger or upstream": engine_options(config, environment),
        "penstock.data_dir": config.penstock.data_dir,
        "penstock.log_level": config.penstock.log_level,
        "penstock.listener.shutdown_delay": config.penstock.listener.shutdown_delay,
        "penstock.listener.grace": config.penstock.listener.grace,
        "penstock.demo": config.penstock.demo,
    }


def with_credentials(config: Config, stored: Mapping[str, Mapping[str, str]]) -> Config:
    """The configuration with the credentials of the database added; the file's own go before them."""
    known = {credential.credential_name for credential in config.credential_list}
    added = [
        Credential(credential_name=name, credential_values=_credential_values(values))
        for name, values in stored.items()
        if name not in known
    ]
    return msgspec.structs.replace(config, credential_list=[*config.credential_list, *added]) if added else config


def _credential_values(values: Mapping[str, str]) -> CredentialValues:
    api_base = values.get("api_base")
    api_key, azure_ad_token = values.get("api_key"), values.get("azure_ad_token")
    return CredentialValues(
        api_key=Secret(api_key) if api_key else None,
        api_base=BaseUrl(api_base.rstrip("/")) if api_base else None,
        api_version=values.get("api_version"),
        organization=values.get("organization"),
        azure_ad_token=Secret(azure_ad_token) if azure_ad_token else None,
    )
