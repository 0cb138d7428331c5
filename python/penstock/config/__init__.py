"""Configuration: LiteLLM's `config.yaml` and Penstock's own section, read, checked and typed.

    load(path, environment) -> Loaded        everything that is wrong, at once
    load_or_raise(path, environment)         the same, ConfigError when it cannot be used
    check.render(problems, sources)          for people to read

The environment is read in ``env`` and nowhere else in the product. Modules are imported when something of theirs is asked for, so that
who wants the environment alone does not wait for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.config.env import Environment
    from penstock.config.loader import Loaded, load, load_or_raise, load_text
    from penstock.config.problems import ConfigError, Problem
    from penstock.config.schema import Config
    from penstock.config.secret import Json, Secret

__all__ = [
    "Config",
    "ConfigError",
    "Environment",
    "Json",
    "Loaded",
    "Problem",
    "Secret",
    "load",
    "load_or_raise",
    "load_text",
]

_HOMES = {
    "env": ["Environment"],
    "loader": ["Loaded", "load", "load_or_raise", "load_text"],
    "problems": ["ConfigError", "Problem"],
    "schema": ["Config"],
    "secret": ["Json", "Secret"],
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        for module, names in _HOMES.items():
            if name in names:
                found = getattr(import_module(f"{__name__}.{module}"), name)
                globals()[name] = found
                return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
