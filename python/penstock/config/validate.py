"""What types cannot say: providers that exist, addresses that can be called, names that refer to something.

Errors are what would make a deployment wrong or unsafe; names that lead nowhere are warnings, since LiteLLM
starts with them too.
"""

from __future__ import annotations

from collections.abc import Iterable

from penstock.config.accesses import accesses, effective, is_catch_all
from penstock.config.database import target_of
from penstock.config.env import Environment
from penstock.config.master_key import weakness
from penstock.config.penstock_section import GrpcSettings
from penstock.config.problems import ENVIRONMENT, ConfigError, Mark, Path, Report
from penstock.config.redis import redis_settings
from penstock.config.schema import Config, LitellmParams, LitellmSettings, ModelEntry
from penstock.durations import parse_duration
from penstock.keys.models import GenerateKeyRequest
from penstock.providers import PROVIDERS, MissingKeyError, NotYetError, UpstreamError, bare_patterns, connect, names
from penstock.users.models import ROLES

_SHORTEST_GRPC_MS = 100
"""Shorter intervals would end connections that are well."""


def validate(config: Config, environment: Environment, report: Report) -> None:
    """Report everything that is wrong with a configuration whose types are right."""
    for entry in config.model_list:
        _entry(entry, config, environment, report)
    _ids(config, report)
    _weights(config, report)
    _references(config, report)
    _master_key(config, environment, report)
    _database(config, report)
    _redis(config, environment, report)
    _grpc(config.penstock.grpc, report)
    _keys(config.litellm_settings, report)
    strategy = config.router_settings.routing_strategy
    if strategy not in {None, "simple-shuffle"}:
        report.warning(
            ("router_settings", "routing_strategy"),
            "accepted, has no effect in this version: deployments are picked by weight (`simple-shuffle`)",
        )
    if config.from_file and not config.model_list and not config.penstock.demo:
        report.warning(("model_list",), "there is no model: add one, or leave `penstock.demo` on")


def _redis(config: Config, environment: Environment, report: Report) -> None:
    try:
        redis_settings(config, environment)
    except ConfigError as error:
        for problem in error.problems:
            report.error(tuple(problem.path.split(".")), problem.message)


def _keys(settings: LitellmSettings, report: Report) -> None:
    for field in ("duration", "budget_duration"):
        text = getattr(settings.upperbound_key_generate_params, field)
        try:
            if text is not None:
                parse_duration(text, field)
        except ValueError as error:
            report.error(("litellm_settings", "upperbound_key_generate_params", field), str(error))
    path: Path = ("litellm_settings", "key_generation_settings")
    generation = settings.key_generation_settings
    for section in ("team_key_generation", "personal_key_generation"):
        for param in getattr(generation, section).required_params:
            if param not in GenerateKeyRequest.__struct_fields__:
                report.error((*path, section, "required_params"), f"`{param}` is no field of /key/generate")
    for role in generation.personal_key_generation.allowed_user_roles:
        place = (*path, "personal_key_generation", "allowed_user_roles")
        if role not in ROLES:
            report.error(place, f"`{role}` is not one of {', '.join(ROLES)}")
        elif role.endswith("_viewer"):
            report.warning(place, f"`{role}` has no effect: who only looks on makes no keys")


def _grpc(settings: GrpcSettings, report: Report) -> None:
    path: Path = ("penstock", "grpc")
    times = {
        "keepalive": settings.keepalive,
        "max_connection_age": settings.max_connection_age,
    }
    for name, value in times.items():
        if value is not None and 0 < value < _SHORTEST_GRPC_MS:
            report.error((*path, name), f"must be 0 (off) or at least {_SHORTEST_GRPC_MS}ms")
    if settings.keepalive_timeout is not None and settings.keepalive_timeout < _SHORTEST_GRPC_MS:
        report.error((*path, "keepalive_timeout"), f"must be at least {_SHORTEST_GRPC_MS}ms: answers take a moment")
    if settings.max_connection_age_grace is not None and not settings.max_connection_age:
        report.warning((*path, "max_connection_age_grace"), "has no effect without `max_connection_age`")


def check_names(entry: ModelEntry, params: LitellmParams, place: Path, report: Report) -> None:
    """Report what is wrong with the names of an entry that stands at ``place``; ``params`` are its effective ones."""
    path = (*place, "litellm_params")
    if entry.model_name.count("*") > 1:
        report.error((*place, "model_name"), "may hold only one `*`")
    if not entry.model_name.strip():
        report.error((*place, "model_name"), "is empty: give the model the name clients ask for")
    if not params.model:
        report.error(path, "`model` is missing: add it, as `<provider>/<model>`")
        return
    if params.model.count("*") > 1:
        report.error((*path, "model"), "may hold only one `*`")
    if "*" in params.model and "*" not in entry.model_name:
        report.error((*path, "model"), "holds `*`, but `model_name` does not, so that nothing could take its place")
    for parameter in params.additional_drop_params:
        if any(letter in parameter for letter in ".[]"):
            report.warning(
                (*path, "additional_drop_params"), "only top-level parameters are dropped in this version, not paths"
            )


def is_fit_for_id(name: str) -> bool:
    """Whether a deployment may have this id: it stands in headers, records and metrics."""
    return name.isascii() and name.isprintable() and 0 < len(name) <= 256


def _entry(entry: ModelEntry, config: Config, environment: Environment, report: Report) -> None:
    place: Path = ("model_list", entry.position)
    path: Path = (*place, "litellm_params")
    params = effective(entry.litellm_params, config)
    check_names(entry, params, place, report)
    if not params.model:
        return
    if entry.unresolved:
        report.warning(path, f"this deployment is left out until {', '.join(dict.fromkeys(entry.unresolved))} is set")
        return
    if is_catch_all(entry, params):
        return
    try:
        for access in accesses(params, config):
            connect(access, environment)
    except KeyError:
        report.warning(
            (*path, "litellm_credential_name"),
            "there is no entry of this name in `credential_list`: unless it is stored in the database, this deployment is left out",
        )
    except MissingKeyError as error:
        report.warning((*path, error.field), f"{error}; until then this deployment is left out")
    except NotYetError as error:
        report.warning((*path, error.field), f"{error}; this deployment is left out")
    except UpstreamError as error:
        report.error((*path, error.field), str(error))


def _ids(config: Config, report: Report) -> None:
    seen: set[str] = set()
    for entry in config.model_list:
        name = entry.model_info.id
        if name is None:
            continue
        if name in seen:
            report.error(
                ("model_list", entry.position, "model_info", "id"), "another deployment has this id: give each its own"
            )
        if not is_fit_for_id(name):
            report.error(
                ("model_list", entry.position, "model_info", "id"), "must be 1 to 256 printable ASCII characters"
            )
        seen.add(name)


def _weights(config: Config, report: Report) -> None:
    groups: dict[str, list[tuple[int, LitellmParams]]] = {}
    for entry in config.model_list:
        groups.setdefault(entry.model_name, []).append((entry.position, effective(entry.litellm_params, config)))
    for members in groups.values():
        # The first of these that any deployment has is what all of them are weighed by, as in LiteLLM.
        measures = ("weight", "rpm", "tpm")
        name = next((name for name in measures if any(getattr(params, name) for _, params in members)), None)
        if name is None:
            continue
        preferred = {params.order for _, params in members if getattr(params, name)}
        for position, params in members:
            # Of another order than those that have it, a deployment waits for their failure anyway.
            if getattr(params, name) is None and params.order in preferred:
                report.warning(
                    ("model_list", position, "litellm_params"),
                    f"has no `{name}` while others of its group do, so that it gets no calls unless they fail: set one",
                )


def _references(config: Config, report: Report) -> None:
    settings, router, own = config.litellm_settings, config.router_settings, config.penstock.routing
    known = _declared(config)
    for alias, target in router.model_group_alias.items():
        name = target if isinstance(target, str) else target.model
        here: Path = ("router_settings", "model_group_alias", alias)
        if name not in known:
            report.warning(here, "refers to no model group, so that it has no effect")
        if alias in known.groups:
            report.warning(here, "is the name of a model group too; the group is served")
    for section, rules in (("router_settings", router.fallbacks), ("litellm_settings", settings.fallbacks)):
        for index, rule in enumerate(rules):
            for source, targets in rule.items():
                where: Path = (section, "fallbacks", index, source)
                if source != "*" and source not in known:
                    report.warning(where, "is no model group, so that its fallbacks have no effect")
                _targets(targets, known, where, report)
    _targets(router.default_fallbacks, known, ("router_settings", "default_fallbacks"), report)
    _targets(settings.default_fallbacks, known, ("litellm_settings", "default_fallbacks"), report)
    _targets(own.default_fallbacks, known, ("penstock", "routing", "default_fallbacks"), report)
    if own.passthrough_group is not None:
        _targets([own.passthrough_group], known, ("penstock", "routing", "passthrough_group"), report)


def _targets(targets: Iterable[str], known: Names, path: Path, report: Report) -> None:
    for target in targets:
        if target not in known:
            report.warning(path, "names a model group that does not exist, which is left out")


def _master_key(config: Config, environment: Environment, report: Report) -> None:
    settings = config.general_settings
    if settings.dangerously_permit_weak_or_unset_master_key:
        report.warning(
            ("general_settings", "dangerously_permit_weak_or_unset_master_key"),
            "has no effect: a weak master key is refused whatever this says; without one, one is generated",
        )
    path: Path = ("general_settings", "master_key")
    key, place = settings.master_key, None
    if key is None and environment.master_key is not None:
        key, path, place = environment.master_key, (environment.master_key_name or "",), Mark(ENVIRONMENT)
    if key is not None and (reason := weakness(key)) is not None:
        report.error(path, f"the master key {reason}: use a long random one (`openssl rand -hex 32`)", mark=place)


def _database(config: Config, report: Report) -> None:
    url = config.general_settings.database_url
    if url is None:
        return
    try:
        target_of(url.reveal())
    except ValueError as error:
        report.error(("general_settings", "database_url"), str(error))


class Names:
    """The names that a client, an alias or a fallback may ask for."""

    def __init__(self, groups: Iterable[str], aliases: Iterable[str]) -> None:
        self.groups = frozenset(groups)
        self._aliases = frozenset(aliases)
        self._wildcards = [tuple(name.split("*", 1)) for name in self.groups if name.count("*") == 1]

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        if name in self.groups or name in self._aliases:
            return True
        return any(
            len(name) > len(before) + len(after) and name.startswith(before) and name.endswith(after)
            for before, after in self._wildcards
        )


def _declared(config: Config) -> Names:
    """What will have a name whatever the environment holds."""
    groups: set[str] = set()
    for entry in config.model_list:
        if is_catch_all(entry, effective(entry.litellm_params, config)):
            groups |= _of_providers()
        else:
            groups.add(entry.model_name)
    if config.penstock.demo:
        groups |= {"demo", "demo-claude"}
    if config.general_settings.infer_model_from_keys or not config.from_file:
        groups |= {f"{name}/*" for name in names()}
    return Names(groups, config.router_settings.model_group_alias)


def _of_providers() -> set[str]:
    return {pattern for provider in PROVIDERS.values() for pattern in (f"{provider.name}/*", *bare_patterns(provider))}
