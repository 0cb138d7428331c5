"""Clients of the official SDKs, aimed at each of the two doors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import anthropic
import openai
import pytest

from tests.conftest import Gateway
from tests.rig import NO_TLS

# The machine's proxy settings are no part of what is tested.
_OPTIONS: dict[str, Any] = {"max_retries": 0, "timeout": 20.0}


@pytest.fixture
def client(door: Gateway) -> Iterator[openai.OpenAI]:
    """The synchronous OpenAI client."""
    with (
        openai.DefaultHttpxClient(trust_env=False, verify=NO_TLS) as http,
        openai.OpenAI(base_url=f"{door.url}/v1", api_key=door.admin_key, http_client=http, **_OPTIONS) as made,
    ):
        yield made


@pytest.fixture
async def aclient(door: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    """The asynchronous OpenAI client."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(openai.DefaultAsyncHttpxClient(trust_env=False, verify=NO_TLS))
        yield await stack.enter_async_context(
            openai.AsyncOpenAI(base_url=f"{door.url}/v1", api_key=door.admin_key, http_client=http, **_OPTIONS)
        )


@pytest.fixture
def client_of(door: Gateway) -> Iterator[Callable[..., openai.OpenAI]]:
    """Makes OpenAI clients with other options."""
    with ExitStack() as stack:

        def make(**options: Any) -> openai.OpenAI:
            http = stack.enter_context(openai.DefaultHttpxClient(trust_env=False, verify=NO_TLS))
            given = {"base_url": f"{door.url}/v1", "api_key": door.admin_key, **_OPTIONS, **options}
            return stack.enter_context(openai.OpenAI(http_client=http, **given))

        yield make


@pytest.fixture
def claude(door: Gateway) -> Iterator[anthropic.Anthropic]:
    """The synchronous Anthropic client."""
    with (
        anthropic.DefaultHttpxClient(trust_env=False, verify=NO_TLS) as http,
        anthropic.Anthropic(base_url=door.url, api_key=door.admin_key, http_client=http, **_OPTIONS) as made,
    ):
        yield made


@pytest.fixture
async def aclaude(door: Gateway) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The asynchronous Anthropic client."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(anthropic.DefaultAsyncHttpxClient(trust_env=False, verify=NO_TLS))
        yield await stack.enter_async_context(
            anthropic.AsyncAnthropic(base_url=door.url, api_key=door.admin_key, http_client=http, **_OPTIONS)
        )
