"""The configuration to the snapshot that the data plane applies.

Everything that can be decided before a call is decided here, so that a call only looks things up.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from penstock.config.accesses import effective, is_catch_all
from penstock.config.env import PROVIDERS as VARIABLES
from penstock.config.env import Environment
from penstock.config.problems import ENVIRONMENT, ConfigError, Mark, Path, Problem, Report
from penstock.config.schema import AliasTarget, Config, LitellmParams, ModelEntry, ModelInfo
from penstock.config.validate import Names
from penstock.config.values import first as _first
from penstock.engine.deployment import Compiled, StoredDeployments, build, compiled
from penstock.engine.snapshot import Deployment, ModelGroup, Settings, Snapshot
from penstock.providers import (
    PROVIDERS,
    Access,
    MissingKeyError,
    NotYetError,
    UpstreamError,
    bare_patterns,
    connect,
)
from penstock.providers.registry import Provider

_WEIGHT_SCALE_DIGITS = 6
_LARGEST_WEIGHT = 1_000_000


def compile_snapshot(
    config: Config,
    environment: Environment,
    *,
    version: int,
    master_token: str,
    demo_base_url: str | None,
    stored: Iterable[StoredDeployments] = (),
    problems: list[Problem] | None = None,
) -> Snapshot:
    """Compile ``config``.

    ``environment`` is `Loaded.environment`, ``master_token`` the digest of the master key (empty: none),
    ``demo_base_url`` where the simulator listens (None: there is none), ``stored`` what the database adds to the
    file's models, in the same groups where the names are the same. Deployments whose key or environment
    variable is missing are left out. What else is wrong goes into ``problems`` and leaves out the entry
    alone; without that list it is raised.

    Raises:
        ConfigError: an entry cannot be compiled and ``problems`` was not given.
    """
    report = Report()
    groups = _Groups()
    for entry in config.model_list:
        _entry(entry, config, environment, groups, report)
    for one in stored:
        for member in one.members:
            groups.add(one.group, member, one.access_groups)
    if not config.from_file or config.general_settings.infer_model_from_keys:
        for provider in _available(environment):
            _wildcard(f"{provider.name}/*", provider, "*", config, environment, groups, report)
    if demo_base_url is not None and config.penstock.demo:
        _demo(demo_base_url, groups)
    if report.problems and problems is None:
        raise ConfigError(report.problems)
    if problems is not None:
        problems.extend(report.problems)
    return groups.snapshot(config, version, master_token)


def settings(config: Config, names: Names) -> Settings:
    """The policies of a snapshot: `penstock` goes before `router_settings`, and that before `litellm_settings`.

    Fallbacks that are not among ``names`` are left out.
    """
    own, router, lite = config.penstock, config.router_settings, config.litellm_settings
    default = Settings()
    cooldown = 0 if router.disable_cooldowns else router.cooldown_time
    usage = own.streams.include_usage
    return Settings(
        retries=_first(own.routing.retries, router.num_retries, lite.num_retries, default.retries),
        retry_backoff_ms=_first(own.routing.retry_backoff, router.retry_after, default.retry_backoff_ms),
        allowed_fails=_first(own.routing.allowed_fails, router.allowed_fails, default.allowed_fails),
        cooldown_ms=_first(own.routing.cooldown, cooldown, default.cooldown_ms),
        max_fallbacks=_first(own.routing.max_fallbacks, router.max_fallbacks, default.max_fallbacks),
        default_fallbacks=_known(
            own.routing.default_fallbacks
            or router.default_fallbacks
            or lite.default_fallbacks
            or _fallbacks(config).get("*", []),
            names,
        ),
        budget_exceeded_status=_first(
            own.budgets.exceeded_status, lite.budget_exceeded_status_code, default.budget_exceeded_status
        ),
        default_output_tokens=_first(own.limits.default_output_tokens, default.default_output_tokens),
        max_parallel_requests=own.limits.max_parallel_requests or config.general_settings.global_max_parallel_requests,
        passthrough_group=own.routing.passthrough_group if own.routing.passthrough_group in names else None,
        always_include_stream_usage=config.general_settings.always_include_stream_usage if usage is None else usage,
        spend_logs=not config.general_settings.disable_spend_logs,
    )


class _Groups:
    """Groups in the order in which they are first named, with their deployments."""

    def __init__(self) -> None:
        self._members: dict[str, list[Compiled]] = {}
        self._access: dict[str, list[str]] = {}
        self._ids: dict[str, int] = {}

    def add(self, name: str, member: Compiled, access_groups: Iterable[str] = ()) -> None:
        # Two deployments that differ in nothing but their key would share an id.
        seen = self._ids.get(member.deployment.id, 0) + 1
        self._ids[member.deployment.id] = seen
        if seen > 1:
            named = msgspec.structs.replace(member.deployment, id=f"{member.deployment.id}-{seen}")
            member = msgspec.structs.replace(member, deployment=named)
        self._members.setdefault(name, []).append(member)
        known = self._access.setdefault(name, [])
        known.extend(group for group in access_groups if group not in known)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def snapshot(self, config: Config, version: int, master_token: str) -> Snapshot:
        names = Names(self._members, config.router_settings.model_group_alias)
        fallbacks = _fallbacks(config)
        deployments: list[Deployment] = []
        groups: list[ModelGroup] = []
        for name, members in self._members.items():
            first = len(deployments)
            deployments.extend(_weighted(members))
            groups.append(
                ModelGroup(
                    name=name,
                    deployments=list(range(first, len(deployments))),
                    access_groups=self._access[name],
                    fallbacks=_known(fallbacks.get(name, []), names),
                    owned_by=members[0].deployment.provider,
                )
            )
        aliases, hidden = _aliases(config, groups)
        return Snapshot(
            version=version,
            deployments=deployments,
            groups=[*groups, *hidden],
            aliases=aliases,
            master_token=master_token,
            settings=settings(config, names),
        )


def _aliases(config: Config, groups: list[ModelGroup]) -> tuple[dict[str, str], list[ModelGroup]]:
    """Listed aliases by name, and hidden ones as groups that share their target's deployments."""
    by_name = {group.name: group for group in groups}
    names = Names(by_name, ())
    aliases: dict[str, str] = {}
    hidden: list[ModelGroup] = []
    for alias, target in config.router_settings.model_group_alias.items():
        name = target.model if isinstance(target, AliasTarget) else target
        if alias in by_name or name not in names:
            continue
        group = by_name.get(name)
        if isinstance(target, AliasTarget) and target.hidden and group is not None:
            hidden.append(msgspec.structs.replace(group, name=alias, hidden=True))
        else:
            aliases[alias] = name
    return aliases, hidden


def _entry(entry: ModelEntry, config: Config, environment: Environment, groups: _Groups, report: Report) -> None:
    params = effective(entry.litellm_params, config)
    path: Path = ("model_list", entry.position, "litellm_params")
    if entry.unresolved:
        return
    if is_catch_all(entry, params):
        for provider in _available(environment):
            _wildcard(f"{provider.name}/*", provider, "*", config, environment, groups, report, entry)
            for pattern in bare_patterns(provider):
                _wildcard(pattern, provider, pattern, config, environment, groups, report, entry)
        return
    try:
        if not params.model:
            raise UpstreamError("model", "is missing: add it, as `<provider>/<model>`")  # noqa: TRY301
        for member in build(entry, config, environment):
            groups.add(entry.model_name, member, entry.model_info.access_groups)
    except (MissingKeyError, NotYetError, KeyError):
        # No key, no such credential, a provider that comes later: reported when the configuration was loaded; a call would only be refused.
        return
    except UpstreamError as error:
        report.error((*path, error.field), str(error))


def _available(environment: Environment) -> list[Provider]:
    """Providers that the environment has what it takes to call: a key, or an address where no key is needed."""
    found = []
    for name in VARIABLES:
        provider = PROVIDERS[name]
        key, base = environment.provider_key(name), environment.provider_base(name)
        if provider.wire == "azure" and key is None:
            key = environment.azure_ad_token
        wanted = key if provider.key_required else base
        if wanted is not None and (base or provider.base_url) is not None:
            found.append(provider)
    return found


def _wildcard(
    group: str,
    provider: Provider,
    model: str,
    config: Config,
    environment: Environment,
    groups: _Groups,
    report: Report,
    entry: ModelEntry | None = None,
) -> None:
    if group in groups:
        return
    params = effective(entry.litellm_params if entry is not None else LitellmParams(), config)
    info = entry.model_info if entry is not None else ModelInfo()
    info = msgspec.structs.replace(info, id=None)
    try:
        upstream = connect(Access(model=model, custom_llm_provider=provider.name), environment)
    except UpstreamError as error:
        variables = VARIABLES[provider.name]
        names = variables.base if error.field == "api_base" else variables.key
        report.error((" or ".join(names),), str(error), mark=Mark(ENVIRONMENT))
        return
    groups.add(group, compiled(group, upstream, params, info, config), info.access_groups)


def _demo(base_url: str, groups: _Groups) -> None:
    base_url = base_url.rstrip("/")
    for name, wire, base in (("demo", "openai", f"{base_url}/v1"), ("demo-claude", "anthropic", base_url)):
        if name in groups:
            continue
        deployment = Deployment(
            id=name,
            provider="simulator",
            wire="anthropic" if wire == "anthropic" else "openai",
            model=name,
            base_url=base,
            headers=[("anthropic-version", "2023-06-01")] if wire == "anthropic" else [],
        )
        groups.add(name, Compiled(deployment, None))


def _weighted(members: list[Compiled]) -> list[Deployment]:
    """LiteLLM's rule: the first of weight, rpm and tpm that any deployment of the group has is what all are weighed by."""
    for written in (
        [member.weight for member in members],
        [_decimal(member.deployment.rpm) for member in members],
        [_decimal(member.deployment.tpm) for member in members],
    ):
        if any(written):
            weights = _integers([weight or Decimal(0) for weight in written])
            break
    else:
        weights = [1] * len(members)
    return [
        msgspec.structs.replace(member.deployment, weight=weight)
        for member, weight in zip(members, weights, strict=True)
    ]


def _integers(weights: list[Decimal]) -> list[int]:
    """The same shares in whole numbers up to a million; a share too small to be kept is kept as the smallest."""
    digits = min(max(_decimals(weight) for weight in weights), _WEIGHT_SCALE_DIGITS)
    scaled = [weight.scaleb(digits) for weight in weights]
    largest = max(scaled)
    if largest > _LARGEST_WEIGHT:
        scaled = [weight * _LARGEST_WEIGHT / largest for weight in scaled]
    return [max(int(weight), 1) if weight else 0 for weight in scaled]


def _decimals(weight: Decimal) -> int:
    exponent = weight.normalize().as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def _decimal(number: int | None) -> Decimal | None:
    return Decimal(number) if number is not None else None


def _fallbacks(config: Config) -> dict[str, list[str]]:
    """Fallback groups by group; `router_settings` go before `litellm_settings`."""
    rules = config.router_settings.fallbacks or config.litellm_settings.fallbacks
    merged: dict[str, list[str]] = {}
    for rule in rules:
        for source, targets in rule.items():
            merged.setdefault(source, []).extend(target for target in targets if target not in merged[source])
    return merged


def _known(targets: list[str], names: Names) -> list[str]:
    return [target for target in targets if target in names]
