"""Which provider a model name means: `provider/model`, an explicit provider, or a well-known bare name."""

from __future__ import annotations

from difflib import get_close_matches

import msgspec

from penstock.providers.registry import NOT_YET, PROVIDERS, Provider, names


class Target(msgspec.Struct, frozen=True):
    """A provider and the name that it gives the model."""

    provider: Provider
    model: str


class UnknownProviderError(ValueError):
    """The name belongs to no registered provider; the message lists those that are."""


class ProviderNotYetError(UnknownProviderError):
    """The name belongs to a provider of LiteLLM's that this version cannot call."""


def resolve(model: str, explicit: str | None = None, *, has_base_url: bool = False) -> Target:
    """Resolve ``model`` as written in `litellm_params.model`.

    ``explicit`` is `custom_llm_provider`; its prefix may still stand in the name. A name that belongs to
    nobody but comes with a base URL is taken for an OpenAI-compatible server.

    Raises:
        UnknownProviderError: no registered provider is meant.
    """
    head, slash, rest = model.partition("/")
    named = explicit or (head if slash else "")
    if named in NOT_YET:
        raise ProviderNotYetError(
            f"`{named}` cannot be called by this version; if the server speaks OpenAI's API, "
            "write `openai_like/<model>` with `api_base`"
        )
    if explicit is not None:
        provider = PROVIDERS.get(explicit)
        if provider is None:
            raise UnknownProviderError(_unknown(explicit))
        if slash and rest and PROVIDERS.get(head) is provider:
            return Target(provider, _upstream(provider, rest))
        return Target(provider, _upstream(provider, model))
    provider = PROVIDERS.get(head) if slash and rest else None
    if provider is not None:
        return Target(provider, _upstream(provider, rest))
    for candidate in PROVIDERS.values():
        if not slash and model.startswith(candidate.bare):
            return Target(candidate, _upstream(candidate, model))
    if has_base_url:
        return Target(PROVIDERS["openai_like"], model)
    raise UnknownProviderError(_unknown(head) if slash else _unprefixed())


def bare_patterns(provider: Provider) -> list[str]:
    """Names and patterns of the provider that are known without a prefix: `gpt-*`, and `o1` besides `o1*`."""
    whole = [beginning for beginning in provider.bare if beginning[-1].isalnum()]
    return [*whole, *(f"{beginning}*" for beginning in provider.bare)]


def _upstream(provider: Provider, model: str) -> str:
    if provider.model_prefix and "/" not in model and "#" not in model and model != "*":
        return provider.model_prefix + model
    return model


def _unknown(name: str) -> str:
    close = get_close_matches(name, names(), n=1)
    hint = f"did you mean `{close[0]}`? " if close else ""
    return (
        f"`{name}` is not a known provider: {hint}supported are {', '.join(names())}; "
        "any other OpenAI-compatible server works as `openai_like/<model>` with `api_base`"
    )


def _unprefixed() -> str:
    return (
        "the provider of this model is not known: write `<provider>/<model>` or set `custom_llm_provider`; "
        f"supported are {', '.join(names())}"
    )
