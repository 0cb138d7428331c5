"""The ledger as a command writes to it: with everybody charged whom a gateway charges, in the same order.

Apart from the commands because what is charged must not depend on who does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from penstock.persistence import Database
from penstock.settings import Prepared

if TYPE_CHECKING:
    from penstock.keys.service import KeyService
    from penstock.ledger.apply import Ledger
    from penstock.scopes.service import ScopeService


class Charging(NamedTuple):
    """A ledger and who is charged by it."""

    ledger: Ledger
    keys: KeyService
    scopes: ScopeService


def charging(prepared: Prepared, database: Database) -> Charging:
    """Of a database, beside the gateways that use it."""
    from penstock import _core
    from penstock.audit import AuditTrail
    from penstock.engine.entities import beside
    from penstock.keys.changes import KeySource
    from penstock.keys.service import KeyService
    from penstock.keys.store import KeyStore
    from penstock.ledger.accounting import make_ledger

    # Records name keys by their digests, so that none of the installation's secrets is needed.
    source = KeySource(_core.generate_key, _undigested)
    # For records that no table takes.
    prepared.settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    ledger = make_ledger(database, prepared.settings.data_dir)
    ledger.keeps_rows = not prepared.config.general_settings.disable_spend_logs
    audit = AuditTrail(database)
    keys = KeyService(KeyStore(database), audit, source)
    scopes = beside(database, audit, keys, prepared.config).scopes
    ledger.attach(keys.charge, scopes.charge)
    return Charging(ledger, keys, scopes)


def _undigested(_: str) -> str:
    raise RuntimeError("this command does not know the pepper")
