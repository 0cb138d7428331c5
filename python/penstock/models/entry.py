"""From what a client sent (or the database kept) to an entry of the kind that the configuration file has.

The same schema, reader and checks as for the file, with two differences. Nobody reads warnings of a running gateway,
so what would be left out of a file's models is refused here. And whoever may add models need not be the one who may
read the gateway's environment: a stored model that has an address of its own is called with what it brings itself,
never with the keys of the environment or of another address.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

import msgspec

from penstock.config.accesses import effective, is_catch_all
from penstock.config.bind import INTERPOLATION, Binder
from penstock.config.document import Entry, Mapping, Node, Scalar, Sequence
from penstock.config.env import AZURE_AD_TOKEN, AZURE_API_VERSION, PROVIDERS, Environment
from penstock.config.problems import Mark, Report
from penstock.config.schema import Config, CredentialValues, LitellmParams, ModelEntry
from penstock.config.validate import check_names, is_fit_for_id
from penstock.engine.deployment import StoredDeployments, build
from penstock.errors import bad_request
from penstock.models.models import JsonObject
from penstock.nesting import DEEPEST, is_too_deep
from penstock.providers import PROVIDERS as REGISTRY
from penstock.providers import UpstreamError
from penstock.providers.resolve import UnknownProviderError, resolve

_NOWHERE: Final = Mark("")
_LONGEST_NAME: Final = 512
_PARAMS: Final = frozenset(LitellmParams.__struct_fields__) - LitellmParams.internal
_KNOWN: Final = _PARAMS | LitellmParams.unused | LitellmParams.parameters
_BROUGHT: Final = ("api_key", "azure_ad_token")
_NOT_LENT: Final = ("api_key", "azure_ad_token", "headers", "extra_headers", "litellm_credential_name", "organization")
"""Defaults of the file that are not sent to an address that the file does not know."""


class Basis(msgspec.Struct, frozen=True):
    """What stored models are built upon."""

    config: Config
    """The file's, with the stored credentials."""
    environment: Environment

    @property
    def has_stored_models(self) -> bool:
        """Models in the database are served."""
        return self.config.general_settings.store_model_in_db or self.environment.store_model_in_db


class Built(msgspec.Struct, frozen=True):
    """A model that can be served."""

    deployments: StoredDeployments
    warnings: list[str]
    """Parameters that have no effect, for whoever sent them."""


def build_model(model_id: str, model_name: str, params: JsonObject, info: JsonObject, basis: Basis) -> Built:
    """The deployments of a model.

    Raises:
        ApiError: 400 naming the field.
    """
    _check_shape(model_id, model_name, params, info)
    has_own_address = _has_own_address(params, basis)
    readable = _readable(params, info, has_own_address, basis)
    report = Report()
    sent: JsonObject = {
        "model_name": model_name,
        "litellm_params": without_nulls(params),
        "model_info": {**without_nulls(info), "id": model_id},
    }
    binder = Binder(report, basis.environment.only(readable))
    entry = binder.section(_node(sent), ModelEntry, ())
    _refuse_errors(report)
    assert entry is not None
    entry = msgspec.structs.replace(entry, model_info=msgspec.structs.replace(entry.model_info, id=model_id))
    if has_own_address:
        basis = _confined(entry.litellm_params, basis)
    effective_params = effective(entry.litellm_params, basis.config)
    check_names(entry, effective_params, (), report)
    _refuse_errors(report)
    if is_catch_all(entry, effective_params):
        raise bad_request(
            "`litellm_params.model`: `*` alone stands for every provider of the environment, which only the "
            "configuration file may offer: write `<provider>/*`",
            "litellm_params.model",
        )
    try:
        members = build(entry, basis.config, basis.environment)
    except UpstreamError as error:
        raise bad_request(f"`litellm_params.{error.field}`: {error}", f"litellm_params.{error.field}") from error
    except KeyError as error:
        raise bad_request(
            "`litellm_params.litellm_credential_name`: there is no credential of this name: create it first",
            "litellm_params.litellm_credential_name",
        ) from error
    warnings = [
        f"`{problem.path}`: {problem.message}"
        for problem in report.problems
        if problem.path.startswith("litellm_params")
    ]
    return Built(StoredDeployments(model_id, model_name, members, entry.model_info.access_groups), warnings)


def _check_shape(model_id: str, model_name: str, params: JsonObject, info: JsonObject) -> None:
    if not is_fit_for_id(model_id):
        raise bad_request("`model_info.id` must be 1 to 256 printable ASCII characters", "model_info.id")
    if len(model_name) > _LONGEST_NAME or not model_name.isprintable():
        raise bad_request(f"`model_name` must be at most {_LONGEST_NAME} printable characters", "model_name")
    for name, value in (("litellm_params", params), ("model_info", info)):
        if is_too_deep(value):
            raise bad_request(f"`{name}` is nested more than {DEEPEST} levels deep", name)
    for name in params:
        if name not in _KNOWN:
            near = get_close_matches(name, _KNOWN, n=1)
            hint = f"did you mean `{near[0]}`?" if near else "take it out"
            raise bad_request(f"`litellm_params.{name}` is not a known parameter: {hint}", f"litellm_params.{name}")
    if info.get("team_id") is not None:
        raise bad_request(
            "`model_info.team_id`: models of one team alone are not supported, everybody could use this one: take it "
            "out, and give the model to the team's keys by `models`",
            "model_info.team_id",
        )


def without_nulls(values: JsonObject) -> JsonObject:
    """What a request really says: null means absent."""
    return {name: value for name, value in values.items() if value is not None}


def _refuse_errors(report: Report) -> None:
    for problem in report.problems:
        if problem.severity == "error":
            raise bad_request(f"`{problem.path}` {problem.message}", problem.path)


def _provider(params: JsonObject) -> str | None:
    """The provider that the parameters name, as far as that can be told before they are read."""
    model, explicit = params.get("model"), params.get("custom_llm_provider")
    if not isinstance(model, str) or not isinstance(explicit, str | None):
        return None
    try:
        return resolve(model, explicit, has_base_url=True).provider.name
    except UnknownProviderError:
        return None


def _has_own_address(params: JsonObject, basis: Basis) -> bool:
    """Whether the model names an address that is neither its provider's own nor the one the environment gives it."""
    address = params.get("api_base") or params.get("base_url")
    if not isinstance(address, str):
        return False
    provider = _provider(params)
    known = PROVIDERS.get(provider or "")
    if address.startswith(INTERPOLATION):
        name = address.removeprefix(INTERPOLATION)
        return known is None or name not in known.base
    usual = [] if provider is None else [basis.environment.provider_base(provider), REGISTRY[provider].base_url]
    return address.rstrip("/") not in [one.rstrip("/") for one in usual if one is not None]


def _readable(params: JsonObject, info: JsonObject, has_own_address: bool, basis: Basis) -> set[str]:
    """The variables that the model may refer to: those that the file lists, and its provider's own on its way there.

    Raises:
        ApiError: 400, it refers to another one, or to one that is not set.
    """
    readable = set(basis.config.penstock.stored_models.environment)
    known = PROVIDERS.get(_provider(params) or "")
    if known is not None:
        readable.update(known.base)
        if not has_own_address:
            readable.update(known.key, *([AZURE_AD_TOKEN, AZURE_API_VERSION] if known is PROVIDERS["azure"] else []))
    for path, name in [*_references(params, "litellm_params"), *_references(info, "model_info")]:
        if name not in readable:
            raise bad_request(
                f"`{path}`: a stored model may not read the environment variable {name}: write the value itself, or "
                "list the variable in `penstock.stored_models.environment` of the configuration file",
                path,
            )
        if basis.environment.get(name) is None:
            raise bad_request(f"`{path}`: the environment variable {name} is not set on the gateway: set it", path)
    return readable


def _references(value: object, path: str) -> list[tuple[str, str]]:
    """`(path, variable)` of every `os.environ/NAME`; nesting is bounded by then."""
    if isinstance(value, str):
        return [(path, value.removeprefix(INTERPOLATION))] if value.startswith(INTERPOLATION) else []
    if isinstance(value, dict):
        return [found for name, inner in value.items() for found in _references(inner, f"{path}.{name}")]
    if isinstance(value, list):
        return [found for index, inner in enumerate(value) for found in _references(inner, f"{path}[{index}]")]
    return []


def _confined(params: LitellmParams, basis: Basis) -> Basis:
    """The basis without anything that must not be sent to the model's own address.

    Raises:
        ApiError: 400, its credential is for another address.
    """
    config = basis.config
    name = params.litellm_credential_name
    if name is not None and not any(getattr(params, field) for field in _BROUGHT):
        found = next((one.credential_values for one in config.credential_list if one.credential_name == name), None)
        address = params.api_base or params.base_url
        if found is not None and _carries_secret(found) and found.api_base != address:
            raise bad_request(
                "`litellm_params.api_base` is not the address that the credential is for: put `api_base` into the "
                "credential, or give this model an `api_key` of its own",
                "litellm_params.api_base",
            )
    none = LitellmParams()
    lent = config.router_settings.default_litellm_params
    lent = msgspec.structs.replace(lent, **{field: getattr(none, field) for field in _NOT_LENT})
    router = msgspec.structs.replace(config.router_settings, default_litellm_params=lent)
    return Basis(
        msgspec.structs.replace(config, router_settings=router),
        basis.environment.only(AZURE_API_VERSION),
    )


def _carries_secret(values: CredentialValues) -> bool:
    return values.api_key is not None or values.azure_ad_token is not None


def _node(value: object) -> Node:
    """JSON as the configuration's reader takes it."""
    if isinstance(value, dict):
        return Mapping({str(name): Entry(str(name), _NOWHERE, _node(inner)) for name, inner in value.items()}, _NOWHERE)
    if isinstance(value, list):
        return Sequence([_node(item) for item in value], _NOWHERE)
    if isinstance(value, str):
        return Scalar(value, _NOWHERE, plain=False)
    if isinstance(value, bool):
        return Scalar("true" if value else "false", _NOWHERE)
    return Scalar("null" if value is None else repr(value), _NOWHERE)
