"""Every environment variable that Penstock knows, and the only place where the environment is read.

One module, so that the list is complete, tests can pass a dictionary, and no import has a side effect.
Names that other gateways made common are honoured beside Penstock's own; the first one that is set wins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

from penstock.config.problems import ENVIRONMENT, Problem
from penstock.config.secret import Secret

MASTER_KEY: Final = ("PENSTOCK_MASTER_KEY", "LITELLM_MASTER_KEY")
"""The admin key. `general_settings.master_key` in the config goes before it."""
SECRET_KEY: Final = ("PENSTOCK_SECRET_KEY", "LITELLM_SALT_KEY")
"""Key under which provider credentials in the database are sealed."""
PEPPER: Final = ("PENSTOCK_PEPPER",)
"""HMAC key under which virtual keys are stored; when absent one is made and kept in the data directory."""
DATABASE_URL: Final = ("DATABASE_URL",)
"""PostgreSQL or SQLite address of the state; without it a SQLite file in the data directory."""
REDIS_URL: Final = ("REDIS_URL",)
"""Redis address; goes before host, port and password."""
REDIS_HOST: Final = ("REDIS_HOST",)
"""Redis host name."""
REDIS_PORT: Final = ("REDIS_PORT",)
"""Redis port, 6379 when absent."""
REDIS_USERNAME: Final = ("REDIS_USERNAME",)
"""Redis user, the default one when absent."""
REDIS_PASSWORD: Final = ("REDIS_PASSWORD",)
"""Redis password."""
REDIS_SSL: Final = ("REDIS_SSL",)
"""Speak TLS to `REDIS_HOST` (true or false)."""
HOST: Final = ("PENSTOCK_HOST",)
"""Address of the public listener."""
PORT: Final = ("PENSTOCK_PORT", "PORT")
"""Port of the public listener."""
THREADS: Final = ("PENSTOCK_THREADS",)
"""Data-plane threads."""
WORKERS: Final = ("PENSTOCK_WORKERS", "NUM_WORKERS")
"""Worker processes."""
DATA_DIR: Final = ("PENSTOCK_DATA_DIR",)
"""Directory of the database file, the generated keys and the sockets."""
CONFIG: Final = ("PENSTOCK_CONFIG", "CONFIG_FILE_PATH")
"""Path of the configuration file when `--config` is not given."""
LOG_LEVEL: Final = ("PENSTOCK_LOG_LEVEL", "LITELLM_LOG")
"""debug, info, warning or error."""
CONFIG_S3_BUCKET: Final = ("CONFIG_S3_BUCKET",)
"""Bucket that holds the configuration."""
CONFIG_S3_KEY: Final = ("CONFIG_S3_KEY",)
"""Object in that bucket."""
CONFIG_HOT_RELOAD: Final = ("CONFIG_HOT_RELOAD",)
"""Apply a changed configuration without a restart (true or false)."""
CONFIG_SYNC_INTERVAL: Final = ("CONFIG_SYNC_INTERVAL",)
"""Seconds between two looks at the configuration's source."""
MALLOC_TUNABLES: Final = ("GLIBC_TUNABLES",)
"""Settings of the C library's allocator, `name=value:name=value`; `serve` adds one that is not there."""
STORE_MODEL_IN_DB: Final = ("STORE_MODEL_IN_DB",)
"""Keep models in the database too (true or false)."""
OTEL_ENDPOINT: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_ENDPOINT")
"""Where spans are sent."""
OTEL_HEADERS: Final = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_HEADERS")
"""Headers of that export, `name=value,name=value`."""
OTEL_PROTOCOL: Final = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER")
"""grpc or http/protobuf."""
OTEL_SERVICE_NAME: Final = ("OTEL_SERVICE_NAME",)
"""Name of the service in traces."""

AZURE_API_VERSION: Final = ("AZURE_API_VERSION", "AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION")
"""Azure OpenAI's `api-version`."""
AZURE_AD_TOKEN: Final = ("AZURE_AD_TOKEN", "AZURE_OPENAI_AD_TOKEN")
"""Entra token used instead of an Azure API key."""
OPENAI_ORGANIZATION: Final = ("OPENAI_ORGANIZATION", "OPENAI_ORG_ID")
"""Sent to OpenAI as `OpenAI-Organization`."""


class ProviderVariables(msgspec.Struct, frozen=True):
    """The variables of one provider, each list in order of preference."""

    key: tuple[str, ...] = ()
    """API key."""
    base: tuple[str, ...] = ()
    """Base URL."""


PROVIDERS: Final[Mapping[str, ProviderVariables]] = {
    "openai": ProviderVariables(("OPENAI_API_KEY",), ("OPENAI_BASE_URL", "OPENAI_API_BASE")),
    "azure": ProviderVariables(
        ("AZURE_API_KEY", "AZURE_OPENAI_API_KEY"), ("AZURE_API_BASE", "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_BASE")
    ),
    "anthropic": ProviderVariables(("ANTHROPIC_API_KEY",), ("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL")),
    "groq": ProviderVariables(("GROQ_API_KEY",), ("GROQ_API_BASE",)),
    "mistral": ProviderVariables(("MISTRAL_API_KEY",), ("MISTRAL_API_BASE",)),
    "deepseek": ProviderVariables(("DEEPSEEK_API_KEY",), ("DEEPSEEK_API_BASE",)),
    "openrouter": ProviderVariables(("OPENROUTER_API_KEY", "OR_API_KEY"), ("OPENROUTER_API_BASE",)),
    "xai": ProviderVariables(("XAI_API_KEY",), ("XAI_API_BASE",)),
    "together_ai": ProviderVariables(
        ("TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_API_KEY"), ("TOGETHER_AI_API_BASE",)
    ),
    "fireworks_ai": ProviderVariables(("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"), ("FIREWORKS_API_BASE",)),
    "perplexity": ProviderVariables(("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"), ("PERPLEXITY_API_BASE",)),
    "cerebras": ProviderVariables(("CEREBRAS_API_KEY",), ("CEREBRAS_API_BASE",)),
    "gemini": ProviderVariables(("GEMINI_API_KEY", "GOOGLE_API_KEY"), ("GEMINI_API_BASE",)),
    "sambanova": ProviderVariables(("SAMBANOVA_API_KEY",), ("SAMBANOVA_API_BASE",)),
    "nvidia_nim": ProviderVariables(("NVIDIA_NIM_API_KEY",), ("NVIDIA_NIM_API_BASE",)),
    "moonshot": ProviderVariables(("MOONSHOT_API_KEY",), ("MOONSHOT_API_BASE",)),
    "dashscope": ProviderVariables(("DASHSCOPE_API_KEY",), ("DASHSCOPE_API_BASE",)),
    "deepinfra": ProviderVariables(("DEEPINFRA_API_KEY",), ("DEEPINFRA_API_BASE",)),
    "novita": ProviderVariables(("NOVITA_API_KEY",), ("NOVITA_API_BASE",)),
    "hyperbolic": ProviderVariables(("HYPERBOLIC_API_KEY",), ("HYPERBOLIC_API_BASE",)),
    "nebius": ProviderVariables(("NEBIUS_API_KEY",), ("NEBIUS_API_BASE",)),
    "baseten": ProviderVariables(("BASETEN_API_KEY",), ("BASETEN_API_BASE",)),
    "zai": ProviderVariables(("ZAI_API_KEY",), ("ZAI_API_BASE",)),
    "meta_llama": ProviderVariables(("LLAMA_API_KEY",), ("LLAMA_API_BASE",)),
    "vercel_ai_gateway": ProviderVariables(("VERCEL_AI_GATEWAY_API_KEY",), ("VERCEL_AI_GATEWAY_API_BASE",)),
    "litellm_proxy": ProviderVariables(("LITELLM_PROXY_API_KEY",), ("LITELLM_PROXY_API_BASE",)),
    "ollama": ProviderVariables(("OLLAMA_API_KEY",), ("OLLAMA_API_BASE",)),
    "hosted_vllm": ProviderVariables(("HOSTED_VLLM_API_KEY",), ("HOSTED_VLLM_API_BASE",)),
    "lm_studio": ProviderVariables(("LM_STUDIO_API_KEY",), ("LM_STUDIO_API_BASE",)),
    "llamafile": ProviderVariables(("LLAMAFILE_API_KEY",), ("LLAMAFILE_API_BASE",)),
    "openai_like": ProviderVariables(("OPENAI_LIKE_API_KEY",), ("OPENAI_LIKE_API_BASE",)),
}
"""Keys and base URLs by provider name, as `penstock.providers` registers them."""

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_LEVELS: Final = ("debug", "info", "warning", "error")


class Environment:
    """Typed reading of a mapping of variables; the process environment when none is given.

    A variable that is set to nothing counts as absent. Getters never raise: :meth:`problems` lists the
    variables whose values do not fit, and their getters answer as if they were absent.
    """

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables: Mapping[str, str] = os.environ if variables is None else variables

    def __repr__(self) -> str:
        return f"Environment({len(self._variables)} variables)"

    def overlay(self, variables: Mapping[str, str]) -> Environment:
        """This environment with ``variables`` before its own (the config's `environment_variables`)."""
        return Environment({**self._variables, **variables})

    def with_variable(self, name: str, value: str) -> dict[str, str]:
        """All variables and this one, for a process to be started."""
        return {**self._variables, name: value}

    def get(self, *names: str) -> str | None:
        """The first of ``names`` that is set to something."""
        for name in names:
            value = self._variables.get(name)
            if value:
                return value
        return None

    def only(self, names: Iterable[str]) -> Environment:
        """This environment with nothing but the variables of these names."""
        return Environment({name: self._variables[name] for name in names if name in self._variables})

    def secret(self, *names: str) -> Secret | None:
        """Like :meth:`get`, for values that must not be shown."""
        value = self.get(*names)
        return Secret(value) if value is not None else None

    def problems(self) -> list[Problem]:
        """Variables whose values cannot be used, by name; values are not repeated."""
        checks: list[tuple[tuple[str, ...], Callable[[str], object], str]] = [
            (PORT, _port, "must be a port number, 0 to 65535"),
            (REDIS_PORT, _port, "must be a port number, 0 to 65535"),
            (REDIS_SSL, _flag, "must be true or false"),
            (THREADS, _count, "must be a whole number of at least 1"),
            (WORKERS, _count, "must be a whole number of at least 1"),
            (CONFIG_HOT_RELOAD, _flag, "must be true or false"),
            (STORE_MODEL_IN_DB, _flag, "must be true or false"),
            (CONFIG_SYNC_INTERVAL, _seconds, "must be a number of seconds"),
            (LOG_LEVEL, _level, "must be debug, info, warning or error"),
        ]
        found = []
        for names, parse, rule in checks:
            name = next((name for name in names if self._variables.get(name)), None)
            if name is not None and parse(self._variables[name]) is None:
                found.append(Problem(severity="error", message=f"{name} {rule}", file=ENVIRONMENT, path=name))
        return found + self._unused()

    def _unused(self) -> list[Problem]:
        """Variables that are honoured in a later version: whoever sets them must not believe that they work."""
        waits = (
            (CONFIG_S3_BUCKET, self.config_s3 is not None),
            (CONFIG_HOT_RELOAD, self.config_hot_reload),
            (OTEL_ENDPOINT, self.otel_endpoint is not None),
            (WORKERS, (self.workers or 1) > 1),
        )
        return [
            Problem(
                severity="warning",
                message="accepted, has no effect in this version",
                file=ENVIRONMENT,
                path=next(name for name in names if self._variables.get(name)),
            )
            for names, is_asked_for in waits
            if is_asked_for
        ]

    @property
    def master_key(self) -> Secret | None:
        """Admin key. Set to nothing it is not absent but empty, and refused later: some deployment lost its secret."""
        empty = Secret("") if any(name in self._variables for name in MASTER_KEY) else None
        return self.secret(*MASTER_KEY) or empty

    @property
    def master_key_name(self) -> str | None:
        """The variable that :attr:`master_key` comes from."""
        there = [name for name in MASTER_KEY if name in self._variables]
        return next((name for name in there if self._variables[name]), there[0] if there else None)

    @property
    def secret_key(self) -> Secret | None:
        """Text from which the sealing key is derived."""
        return self.secret(*SECRET_KEY)

    @property
    def pepper(self) -> Secret | None:
        """Text of the pepper, hexadecimal."""
        return self.secret(*PEPPER)

    @property
    def database_url(self) -> Secret | None:
        """Database address; secret because it holds a password."""
        return self.secret(*DATABASE_URL)

    @property
    def redis_url(self) -> Secret | None:
        """Redis address, put together from host, port and password when `REDIS_URL` is absent."""
        url = self.secret(*REDIS_URL)
        host = self.get(*REDIS_HOST)
        if url is not None or host is None:
            return url
        return redis_address(
            host,
            _port(self.get(*REDIS_PORT) or ""),
            self.get(*REDIS_USERNAME),
            self.get(*REDIS_PASSWORD),
            is_tls=_flag(self.get(*REDIS_SSL) or "") or False,
        )

    @property
    def host(self) -> str | None:
        """Address of the public listener."""
        return self.get(*HOST)

    @property
    def port(self) -> int | None:
        """Port of the public listener."""
        return _port(self.get(*PORT) or "")

    @property
    def threads(self) -> int | None:
        """Data-plane threads."""
        return _count(self.get(*THREADS) or "")

    @property
    def workers(self) -> int | None:
        """Worker processes."""
        return _count(self.get(*WORKERS) or "")

    @property
    def data_dir(self) -> Path | None:
        """Directory of everything that is kept."""
        value = self.get(*DATA_DIR)
        return Path(value) if value is not None else None

    @property
    def config(self) -> Path | None:
        """Configuration file."""
        value = self.get(*CONFIG)
        return Path(value) if value is not None else None

    @property
    def log_level(self) -> str | None:
        """debug, info, warning or error."""
        return _level(self.get(*LOG_LEVEL) or "")

    @property
    def config_s3(self) -> tuple[str, str] | None:
        """Bucket and key of the configuration."""
        bucket, key = self.get(*CONFIG_S3_BUCKET), self.get(*CONFIG_S3_KEY)
        return (bucket, key) if bucket is not None and key is not None else None

    @property
    def config_hot_reload(self) -> bool:
        """Apply a changed configuration without a restart."""
        return _flag(self.get(*CONFIG_HOT_RELOAD) or "") or False

    @property
    def config_sync_interval(self) -> float | None:
        """Seconds between two looks at the configuration's source."""
        return _seconds(self.get(*CONFIG_SYNC_INTERVAL) or "")

    @property
    def store_model_in_db(self) -> bool:
        """Keep models in the database too."""
        return _flag(self.get(*STORE_MODEL_IN_DB) or "") or False

    @property
    def otel_endpoint(self) -> str | None:
        """Where spans are sent."""
        return self.get(*OTEL_ENDPOINT)

    @property
    def otel_headers(self) -> Secret | None:
        """Headers of the span export; they usually hold a token."""
        return self.secret(*OTEL_HEADERS)

    @property
    def otel_protocol(self) -> str | None:
        """grpc or http/protobuf."""
        return self.get(*OTEL_PROTOCOL)

    @property
    def otel_service_name(self) -> str:
        """Name of the service in traces."""
        return self.get(*OTEL_SERVICE_NAME) or "penstock"

    @property
    def azure_api_version(self) -> str | None:
        """Azure OpenAI's `api-version`."""
        return self.get(*AZURE_API_VERSION)

    @property
    def azure_ad_token(self) -> Secret | None:
        """Entra token for Azure OpenAI."""
        return self.secret(*AZURE_AD_TOKEN)

    @property
    def openai_organization(self) -> str | None:
        """Organization of OpenAI calls."""
        return self.get(*OPENAI_ORGANIZATION)

    def provider_key(self, provider: str) -> Secret | None:
        """API key of a registered provider."""
        variables = PROVIDERS.get(provider)
        return self.secret(*variables.key) if variables is not None else None

    def provider_base(self, provider: str) -> str | None:
        """Base URL of a registered provider."""
        variables = PROVIDERS.get(provider)
        return self.get(*variables.base) if variables is not None else None


def redis_address(
    host: str, port: int | None, user: str | None, password: str | None, *, database: int | None = None, is_tls: bool
) -> Secret:
    """One Redis URL of its parts."""
    login = f"{quote(user or '', safe='')}:{quote(password or '', safe='')}@" if user or password else ""
    named = f"[{host}]" if ":" in host else host
    path = f"/{database}" if database else ""
    return Secret(f"{'rediss' if is_tls else 'redis'}://{login}{named}:{6379 if port is None else port}{path}")


def _port(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 6 and int(value) <= 65535 else None


def _count(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 6 and int(value) > 0 else None


def _flag(value: str) -> bool | None:
    word = value.strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _seconds(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number < 1e9 else None


def _level(value: str) -> str | None:
    word = value.strip().lower()
    return word if word in _LEVELS else None
