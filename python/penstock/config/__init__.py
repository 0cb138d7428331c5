"""Configuration: LiteLLM's `config.yaml` and Penstock's own section, read, checked and typed.

    load(path, environment) -> Loaded        everything that is wrong, at once
    load_or_raise(path, environment)         the same, ConfigError when it cannot be used
    check.render(problems, sources)          for people to read

The environment is read in ``env`` and nowhere else in the product.
"""

from penstock.config.env import Environment
from penstock.config.loader import Loaded, load, load_or_raise, load_text
from penstock.config.master_key import master_key, weakness
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
    "master_key",
    "weakness",
]
