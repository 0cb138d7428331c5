"""What a failure of PostgreSQL means to a store.

DatabaseUnavailable            as the stores know it
+-- ConnectionLost             nothing can be asked on this connection any more
+-- ReadOnlyNode               the server is a standby, or became one: its connections are of no use
+-- LockNotFree                a lock was not to be had in the time that the work is worth
+-- TryAgain                   rolled back for the sake of another transaction
    +-- SchemaChanged          a statement was prepared for columns that are others by now
Conflict                       a uniqueness rule, or another constraint
ValueRefused                   a value that does not fit; trying again would not help
"""

from __future__ import annotations

import asyncpg

from penstock.persistence.database import Conflict, DatabaseUnavailable, TryAgain, ValueRefused

READ_ONLY = "25006"
TOO_MANY_CONNECTIONS = "53300"
_NUL_IN_TEXT = "22021"
_TRY_AGAIN = frozenset({"40001", "40P01"})
"""Serialization failure, deadlock."""
_LOCK_NOT_FREE = "55P03"
_REFUSED_CLASSES = frozenset({"22", "54"})
"""Data exceptions; limits of the program, such as a text that is too long for an index."""
_LOST_CLASSES = frozenset({"08", "57"})
"""Connection exceptions; operator intervention, but for `57014`, a cancelled statement."""
_CANCELLED = "57014"


class ConnectionLost(DatabaseUnavailable):
    """The connection broke, or the server did not answer in time."""


class ReadOnlyNode(DatabaseUnavailable):
    """The node refuses writes."""


class LockNotFree(DatabaseUnavailable):
    """Within `lock_timeout`: who sets that must not hold up others, as asking again at once would."""


class SchemaChanged(TryAgain):
    """Another version has migrated: every connection has prepared statements of before."""


class NulInText(ValueRefused):
    """U+0000, which no TEXT holds."""


def explained(error: Exception) -> Exception:
    """What to raise instead. Never with the row that PostgreSQL adds in `DETAIL`: it may hold anything."""
    if isinstance(error, asyncpg.PostgresError):
        return _by_state(error)
    if isinstance(error, TimeoutError):
        return ConnectionLost("PostgreSQL did not answer in time")
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return ReadOnlyNode("the node takes no writes: it is a standby")
    if isinstance(error, asyncpg.exceptions.OutdatedSchemaCacheError):
        return SchemaChanged(_text(error))
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return ValueRefused(_text(error))
    if isinstance(error, UnicodeEncodeError | OverflowError):
        return ValueRefused(f"{type(error).__name__}: {error}")
    if isinstance(error, FileNotFoundError):
        return ConnectionLost("there is no such file: the socket, or what `sslrootcert`, `sslcert` or `sslkey` names")
    if isinstance(error, OSError):
        return ConnectionLost(str(error) or type(error).__name__)
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return ConnectionLost(_text(error) or type(error).__name__)
    return error


def _by_state(error: asyncpg.PostgresError) -> Exception:
    state = str(error.sqlstate or "")
    text = _text(error)
    if state == READ_ONLY:
        return ReadOnlyNode(text)
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return SchemaChanged(text)
    if state in _TRY_AGAIN:
        return TryAgain(text)
    if state == _LOCK_NOT_FREE:
        return LockNotFree(text)
    if state == _NUL_IN_TEXT:
        return NulInText(text)
    if state[:2] == "23":
        return Conflict(text)
    if state[:2] in _REFUSED_CLASSES:
        return ValueRefused(text)
    if state[:2] in _LOST_CLASSES and state != _CANCELLED:
        return ConnectionLost(text)
    return DatabaseUnavailable(text)


def _text(error: Exception) -> str:
    return str(error.args[0]) if error.args else ""
