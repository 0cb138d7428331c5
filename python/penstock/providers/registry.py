"""The table of providers. Addresses and header names are those of the providers' public documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from penstock.engine.snapshot import Wire

Auth = Literal["bearer", "x-api-key", "api-key"]
"""`Authorization: Bearer`, Anthropic's `x-api-key`, Azure's `api-key`."""


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """What must be known about a provider to call it."""

    name: str
    """The prefix in `provider/model`, and the label in records and metrics."""
    wire: Wire = "openai"
    base_url: str | None = None
    """Where it is reached when nothing else is said; None: the config or the environment must say."""
    path: str = ""
    """Appended to a configured base URL that does not end with it (a server's OpenAI root)."""
    auth: Auth = "bearer"
    key_required: bool = True
    """Calls without a key are pointless."""
    stream_usage: bool = True
    """Understands `stream_options.include_usage`; the others report usage on their own or not at all."""
    aliases: tuple[str, ...] = ()
    """Other prefixes for the same provider."""
    bare: tuple[str, ...] = ()
    """Names with these beginnings belong to the provider when they have no prefix."""
    model_prefix: str = ""
    """Put before upstream names that contain no slash-separated account of their own."""
    prices: str | None = None
    """The provider's id in genai-prices; None: it has no list."""


_TABLE: Final = (
    Provider(
        name="openai",
        base_url="https://api.openai.com/v1",
        aliases=("text-completion-openai",),
        bare=(
            "gpt-",
            "chatgpt-",
            "o1",
            "o3",
            "o4-",
            "codex-",
            "computer-use-",
            "text-embedding-",
            "text-moderation-",
            "omni-moderation-",
            "davinci-",
            "babbage-",
            "dall-e-",
            "whisper-1",
            "tts-1",
            "ft:gpt-",
        ),
        prices="openai",
    ),
    Provider(name="azure", wire="azure", auth="api-key", aliases=("azure_text",), prices="azure"),
    Provider(
        name="anthropic",
        wire="anthropic",
        base_url="https://api.anthropic.com",
        auth="x-api-key",
        bare=("claude-",),
        prices="anthropic",
    ),
    Provider(name="groq", base_url="https://api.groq.com/openai/v1", prices="groq"),
    Provider(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        stream_usage=False,
        bare=("mistral-", "ministral-", "magistral-", "codestral-", "pixtral-", "devstral-", "open-mistral-"),
        prices="mistral",
    ),
    Provider(
        name="deepseek",
        base_url="https://api.deepseek.com/v1",
        bare=("deepseek-chat", "deepseek-reasoner"),
        prices="deepseek",
    ),
    Provider(name="openrouter", base_url="https://openrouter.ai/api/v1", prices="openrouter"),
    Provider(name="xai", base_url="https://api.x.ai/v1", bare=("grok-",), prices="x-ai"),
    Provider(name="together_ai", base_url="https://api.together.xyz/v1", aliases=("together",), prices="together"),
    Provider(
        name="fireworks_ai",
        base_url="https://api.fireworks.ai/inference/v1",
        aliases=("fireworks",),
        model_prefix="accounts/fireworks/models/",
        prices="fireworks",
    ),
    Provider(
        name="perplexity",
        base_url="https://api.perplexity.ai",
        stream_usage=False,
        bare=("sonar",),
        prices="perplexity",
    ),
    Provider(name="cerebras", base_url="https://api.cerebras.ai/v1", prices="cerebras"),
    Provider(
        name="gemini",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        bare=("gemini-",),
        prices="google",
    ),
    Provider(name="sambanova", base_url="https://api.sambanova.ai/v1"),
    Provider(name="nvidia_nim", base_url="https://integrate.api.nvidia.com/v1"),
    Provider(name="moonshot", base_url="https://api.moonshot.ai/v1", prices="moonshotai"),
    Provider(name="dashscope", base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
    Provider(name="deepinfra", base_url="https://api.deepinfra.com/v1/openai"),
    Provider(name="novita", base_url="https://api.novita.ai/v3/openai", prices="novita"),
    Provider(name="hyperbolic", base_url="https://api.hyperbolic.xyz/v1"),
    Provider(name="nebius", base_url="https://api.studio.nebius.ai/v1"),
    Provider(name="baseten", base_url="https://inference.baseten.co/v1", prices="baseten"),
    Provider(name="zai", base_url="https://api.z.ai/api/paas/v4", prices="zai"),
    Provider(name="meta_llama", base_url="https://api.llama.com/compat/v1", prices="meta"),
    Provider(name="vercel_ai_gateway", base_url="https://ai-gateway.vercel.sh/v1"),
    Provider(name="litellm_proxy"),
    Provider(
        name="ollama",
        base_url="http://localhost:11434/v1",
        path="/v1",
        key_required=False,
        aliases=("ollama_chat",),
    ),
    Provider(name="hosted_vllm", key_required=False, aliases=("vllm",)),
    Provider(name="lm_studio", base_url="http://localhost:1234/v1", key_required=False),
    Provider(name="llamafile", base_url="http://127.0.0.1:8080/v1", key_required=False),
    Provider(name="openai_like", key_required=False, aliases=("custom_openai", "openai-compatible")),
)

PROVIDERS: Final[Mapping[str, Provider]] = {
    name: provider for provider in _TABLE for name in (provider.name, *provider.aliases)
}
"""Providers by name and alias."""

_LITELLM_ONLY: Final = """a2a ai21 ai21_chat aiml aleph_alpha amazon_nova anthropic_text anyscale assemblyai auto_router azure_ai bedrock
    bedrock_converse bedrock_mantle black_forest_labs bytez chutes clarifai cloudflare codestral cohere cohere_chat
    cometapi compactifai complexity_router databricks datarobot deepgram docker_model_runner elevenlabs empower fal_ai
    featherless_ai friendliai galadriel gigachat github github_copilot gradient_ai helicone heroku huggingface inception
    infinity jina_ai lambda_ai langgraph lemonade maritalk milvus minimax morph nlp_cloud nscale oci oobabooga ovhcloud palm
    petals pg_vector poe predibase publicai recraft replicate runwayml sagemaker sagemaker_chat sagemaker_nova sap snowflake
    stability text-completion-codestral topaz triton v0 vertex_ai vertex_ai_beta volcengine voyage wandb watsonx
    watsonx_text xinference"""
NOT_YET: Final = frozenset(_LITELLM_ONLY.split())
"""LiteLLM's providers that this version cannot call: their deployments are left out, the others are served."""


def names() -> list[str]:
    """Every prefix that `provider/model` may start with, in the table's order."""
    return list(PROVIDERS)
