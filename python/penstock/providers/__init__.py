"""The providers that Penstock knows by name: their wire, address, credentials and peculiarities.

A provider that speaks OpenAI's API needs nothing but a line in ``registry``; the protocols themselves
are in the data plane.
"""

from penstock.providers.registry import PROVIDERS, Provider, names
from penstock.providers.resolve import Target, UnknownProviderError, bare_patterns, resolve
from penstock.providers.upstream import Access, MissingKeyError, NotYetError, Upstream, UpstreamError, connect

__all__ = [
    "PROVIDERS",
    "Access",
    "MissingKeyError",
    "NotYetError",
    "Provider",
    "Target",
    "UnknownProviderError",
    "Upstream",
    "UpstreamError",
    "bare_patterns",
    "connect",
    "names",
    "resolve",
]
