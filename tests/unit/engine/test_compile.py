"""The configuration to the snapshot: groups, deployments, weights, aliases, fallbacks, policies."""

from __future__ import annotations

import msgspec
import pytest

from penstock.config import ConfigError, Environment, Problem, load, load_text
from penstock.engine.compile import compile_snapshot
from penstock.engine.options import engine_options
from penstock.engine.snapshot import (
    Deployment,
    EngineOptions,
    GrpcOptions,
    IdempotencyOptions,
    ModelGroup,
    Settings,
    Snapshot,
)
from penstock.prices.patterns import best

KEYS = {"OPENAI_API_KEY": "sk-o", "ANTHROPIC_API_KEY": "sk-a", "GROQ_API_KEY": "sk-g"}


def compiled(text: str | None, variables: dict[str, str] | None = None, demo: str | None = None) -> Snapshot:
    environment = Environment(KEYS if variables is None else variables)
    loaded = load(None, environment) if text is None else load_text(text, "c.yaml", environment)
    assert [problem for problem in loaded.problems if problem.severity == "error"] == []
    return compile_snapshot(loaded.config, loaded.environment, version=7, master_token="t" * 64, demo_base_url=demo)


def group(snapshot: Snapshot, name: str) -> ModelGroup:
    return next(group for group in snapshot.groups if group.name == name)


def members(snapshot: Snapshot, name: str) -> list[Deployment]:
    return [snapshot.deployments[index] for index in group(snapshot, name).deployments]


def one(params: str, info: str = "{}", settings: str = "") -> Deployment:
    text = f"model_list: [{{model_name: g, litellm_params: {params}, model_info: {info}}}]\n{settings}\n"
    (deployment,) = members(compiled(text), "g")
    return deployment


def test_version_and_master_token_are_carried() -> None:
    snapshot = compiled("{}")
    assert (snapshot.version, snapshot.master_token, snapshot.settings) == (7, "t" * 64, Settings())


def test_without_a_file_every_provider_with_a_key_is_a_wildcard() -> None:
    snapshot = compiled(
        None, {**KEYS, "AZURE_API_KEY": "k", "AZURE_API_BASE": "https://r", "OLLAMA_API_BASE": "http://box:11434"}
    )
    assert [group.name for group in snapshot.groups] == ["openai/*", "azure/*", "anthropic/*", "groq/*", "ollama/*"]
    (azure,) = members(snapshot, "azure/*")
    assert (azure.wire, azure.model, azure.base_url) == ("azure", "*", "https://r")
    assert azure.query == "api-version=2025-02-01-preview"
    assert compiled(None, {"AZURE_API_KEY": "k"}).groups == []
    assert compiled(None, {}).groups == []


def test_with_a_file_only_what_it_names_is_served() -> None:
    assert compiled("{}").groups == []
    inferred = compiled("general_settings: {infer_model_from_keys: true}")
    assert [group.name for group in inferred.groups] == ["openai/*", "anthropic/*", "groq/*"]


def test_wildcards_carry_the_prices_of_every_known_model() -> None:
    (deployment,) = members(compiled(None), "openai/*")
    assert deployment.price is None
    price = best(deployment.prices, "gpt-4o-mini")
    assert price is not None
    assert price.tiers[0].input == 150_000_000


def test_the_demo_is_there_unless_it_is_switched_off() -> None:
    snapshot = compiled("{}", demo="http://127.0.0.1:9/")
    assert [(d.id, d.provider, d.wire, d.base_url) for d in snapshot.deployments] == [
        ("demo", "simulator", "openai", "http://127.0.0.1:9/v1"),
        ("demo-claude", "simulator", "anthropic", "http://127.0.0.1:9"),
    ]
    assert compiled("penstock: {demo: false}", demo="http://127.0.0.1:9").groups == []
    assert compiled("{}").groups == []


def test_a_deployment_takes_all_its_parameters() -> None:
    deployment = one(
        """{model: openai/gpt-4o, api_key: k, api_base: 'https://host/v1/', organization: org-1, rpm: 60, tpm: 1000,
        max_parallel_requests: 3, order: 2, timeout: 20, stream_timeout: 4.5, drop_params: true,
        additional_drop_params: [user, 'tools[0].x'], allowed_openai_params: [top_k], temperature: 0,
        max_tokens: 5, extra_body: {a: {b: [1, null]}}, extra_headers: {X-A: b}, keepalive_seconds: 15}""",
        "{id: mine, mode: completion, max_output_tokens: 4096}",
    )
    expected = Deployment(
        id="mine",
        provider="openai",
        wire="openai",
        model="gpt-4o",
        base_url="https://host/v1",
        headers=[("Authorization", "Bearer k"), ("OpenAI-Organization", "org-1"), ("X-A", "b")],
        weight=60,
        order=2,
        rpm=60,
        tpm=1000,
        max_parallel_requests=3,
        first_byte_timeout_ms=20_000,
        idle_timeout_ms=4_500,
        total_timeout_ms=20_000,
        keepalive_ms=15_000,
        drop_params=True,
        drop=["user"],
        allowed_params=["top_k"],
        defaults={"temperature": msgspec.Raw(b"0"), "max_tokens": msgspec.Raw(b"5")},
        overrides={"a": msgspec.Raw(b'{"b":[1,null]}')},
        max_output_tokens=4096,
        price=deployment.price,
        mode="completion",
    )
    assert msgspec.json.encode(deployment) == msgspec.json.encode(expected)
    assert deployment.price is not None


@pytest.mark.parametrize(
    "settings,expected",
    [
        ("", (600_000, 120_000, None, 5_000)),
        ("litellm_settings: {request_timeout: 30}", (30_000, 120_000, 30_000, 5_000)),
        ("router_settings: {timeout: 10, stream_timeout: 2}", (10_000, 2_000, 10_000, 5_000)),
        ("penstock: {timeouts: {connect: 1, first_byte: 2, idle: 3, total: 4}}", (2_000, 3_000, 4_000, 1_000)),
    ],
)
def test_timeouts_of_deployments_without_their_own(settings: str, expected: tuple[int, ...]) -> None:
    deployment = one("{model: openai/x}", settings=settings)
    assert (
        deployment.first_byte_timeout_ms,
        deployment.idle_timeout_ms,
        deployment.total_timeout_ms,
        deployment.connect_timeout_ms,
    ) == expected


def test_global_drop_params_give_way_to_the_deployment_s() -> None:
    settings = "litellm_settings: {drop_params: true}"
    assert one("{model: openai/x}", settings=settings).drop_params
    assert not one("{model: openai/x, drop_params: false}", settings=settings).drop_params


def test_usage_is_not_asked_of_those_who_refuse_it() -> None:
    assert one("{model: openai/x}").stream_usage
    assert not one("{model: mistral/x, api_key: k}").stream_usage
    assert not one("{model: openai/x, additional_drop_params: [stream_options]}").stream_usage


def test_prices_come_from_the_entry_the_section_and_the_base_model() -> None:
    def price(params: str, info: str = "{}", settings: str = "") -> tuple[str, int, int]:
        found = one(params, info, settings).price
        assert found is not None
        return found.version.partition("/")[0], found.tiers[0].input, found.tiers[0].output

    listed = price("{model: openai/gpt-4o-mini}")
    assert listed == ("genai-prices", 150_000_000, 600_000_000)
    azure = "{model: azure/some-name, api_base: 'https://r', api_key: k}"
    assert price(azure, "{base_model: azure/gpt-4o-mini}") == listed
    assert price("{model: openai/gpt-4o-mini, input_cost_per_token: 1e-6}") == ("config", 1_000_000_000, 600_000_000)
    assert price("{model: openai/own}", "{output_cost_per_token: 0.000002}") == ("config", 0, 2_000_000_000)
    section = "penstock: {prices: {openai/own: {input: 0.5, output: 1}}}"
    assert price("{model: openai/own}", settings=section) == ("config", 500_000_000, 1_000_000_000)
    assert one("{model: openai/own}").price is None


def test_tokenizers_follow_the_model() -> None:
    assert one("{model: openai/gpt-4o}").tokenizer == "o200k_base"
    assert one("{model: openai/gpt-4-turbo}").tokenizer == "cl100k_base"
    assert one("{model: openai/text-embedding-3-small}").tokenizer == "cl100k_base"
    assert (
        one("{model: azure/x, api_key: k, api_base: 'https://r'}", "{base_model: gpt-35-turbo}").tokenizer
        == "cl100k_base"
    )


@pytest.mark.parametrize(
    "params,weights",
    [
        (["", ""], [1, 1]),
        (["weight: 3", "weight: 1"], [3, 1]),
        (["weight: 0.9", "weight: 0.1"], [9, 1]),
        (["weight: 0.25", "weight: 2"], [25, 200]),
        (["weight: 3", "rpm: 1000"], [3, 0]),
        (["rpm: 100", "rpm: 300, tpm: 5"], [100, 300]),
        (["tpm: 7", "tpm: 9"], [7, 9]),
        (["weight: 0", "weight: 0"], [1, 1]),
        (["rpm: 3000000", "rpm: 9000000", "rpm: 1"], [333_333, 1_000_000, 1]),
        (["weight: 1000000000", "weight: 0.001"], [1_000_000, 1]),
    ],
)
def test_shares_are_weights_else_rpm_else_tpm_else_equal(params: list[str], weights: list[int]) -> None:
    entries = [f"{{model_name: g, litellm_params: {{model: openai/x, {text}}}}}" for text in params]
    snapshot = compiled(f"model_list: [{', '.join(entries)}]")
    assert [deployment.weight for deployment in members(snapshot, "g")] == weights


def test_ids_are_stable_and_hold_no_key() -> None:
    def ids(key: str) -> list[str]:
        entry = f"{{model_name: g, litellm_params: {{model: openai/x, api_key: {key}, rpm: 5}}}}"
        other = "{model_name: g, litellm_params: {model: openai/x, api_key: k2}}"
        return [deployment.id for deployment in compiled(f"model_list: [{entry}, {other}]").deployments]

    first, second = ids("k1")
    assert second == f"{first}-2"
    assert ids("rotated") == [first, second]
    assert one("{model: openai/y}").id != one("{model: openai/x}").id


def test_a_list_of_organizations_makes_one_deployment_each() -> None:
    snapshot = compiled(
        "model_list: [{model_name: g, litellm_params: {model: openai/x, organization: [a, b]}, model_info: {id: i}}]"
    )
    assert [(d.id, dict(d.headers)["OpenAI-Organization"]) for d in members(snapshot, "g")] == [
        ("i", "a"),
        ("i-2", "b"),
    ]


def test_credentials_fill_what_the_entry_leaves_open() -> None:
    snapshot = compiled(
        """
model_list:
  - {model_name: g, litellm_params: {model: openai/x, litellm_credential_name: c}}
  - {model_name: g, litellm_params: {model: openai/x, litellm_credential_name: c, api_key: own}}
  - {model_name: h, litellm_params: {model: openai/x, litellm_credential_name: stored-elsewhere}}
credential_list:
  - {credential_name: c, credential_values: {api_key: shared, api_base: 'https://c/v1'}}
"""
    )
    assert [(d.base_url, d.headers) for d in members(snapshot, "g")] == [
        ("https://c/v1", [("Authorization", "Bearer shared")]),
        ("https://c/v1", [("Authorization", "Bearer own")]),
    ]
    assert [group.name for group in snapshot.groups] == ["g"]


def test_default_params_fill_every_deployment() -> None:
    deployment = one(
        "{model: openai/x, temperature: 1}",
        settings="router_settings: {default_litellm_params: {rpm: 9, temperature: 0, seed: 1}}",
    )
    assert deployment.rpm == 9
    assert {name: bytes(raw) for name, raw in deployment.defaults.items()} == {"temperature": b"1", "seed": b"1"}


def test_deployments_that_lack_a_variable_or_a_key_are_left_out() -> None:
    snapshot = compiled(
        """
model_list:
  - {model_name: g, litellm_params: {model: openai/x, api_key: os.environ/ABSENT}}
  - {model_name: g, litellm_params: {model: openai/y}}
  - {model_name: h, litellm_params: {model: deepseek/x}}
"""
    )
    assert [group.name for group in snapshot.groups] == ["g"]
    assert [deployment.model for deployment in snapshot.deployments] == ["y"]


def test_aliases_listed_and_hidden() -> None:
    snapshot = compiled(
        """
model_list: [{model_name: g, litellm_params: {model: openai/x}, model_info: {access_groups: [beta, beta]}}]
router_settings:
  model_group_alias: {plain: g, listed: {model: g}, quiet: {model: g, hidden: true}, nowhere: nobody}
"""
    )
    assert snapshot.aliases == {"plain": "g", "listed": "g"}
    quiet = group(snapshot, "quiet")
    assert (quiet.hidden, quiet.deployments, quiet.access_groups) == (True, [0], ["beta"])


def test_fallbacks_prefer_the_router_s_and_skip_the_unknown() -> None:
    snapshot = compiled(
        """
model_list:
  - {model_name: a, litellm_params: {model: openai/a}}
  - {model_name: 'claude/*', litellm_params: {model: 'anthropic/*'}}
litellm_settings: {fallbacks: [{a: [a]}], default_fallbacks: [a]}
router_settings: {fallbacks: [{a: [claude/x, nobody]}, {a: [claude/y]}, {'*': [a]}]}
"""
    )
    assert group(snapshot, "a").fallbacks == ["claude/x", "claude/y"]
    assert snapshot.settings.default_fallbacks == ["a"]


def test_the_catch_all_expands_to_providers_with_keys_and_their_bare_names() -> None:
    snapshot = compiled("model_list: [{model_name: '*', litellm_params: {model: '*'}}]")
    names = [group.name for group in snapshot.groups]
    assert {"openai/*", "gpt-*", "anthropic/*", "claude-*", "groq/*"} <= set(names)
    assert "xai/*" not in names
    assert {"o1", "o1*"} <= set(names)
    (bare,) = members(snapshot, "gpt-*")
    assert (bare.model, bare.provider) == ("gpt-*", "openai")
    assert best(bare.prices, "gpt-4o-mini") is not None
    assert "text-embedding-3-small" not in bare.prices
    proxy = compiled("model_list: [{model_name: '*', litellm_params: {model: 'openai/*'}}]")
    assert [(d.provider, d.model) for d in members(proxy, "*")] == [("openai", "*")]


def test_policies_follow_the_order_of_precedence() -> None:
    text = """
litellm_settings: {num_retries: 1, budget_exceeded_status_code: 429}
router_settings: {num_retries: 4, retry_after: 2, allowed_fails: 9, cooldown_time: 60, max_fallbacks: 1}
general_settings: {global_max_parallel_requests: 50, always_include_stream_usage: true, disable_spend_logs: true}
"""
    assert compiled(text).settings == Settings(
        retries=4,
        retry_backoff_ms=2000,
        allowed_fails=9,
        cooldown_ms=60_000,
        max_fallbacks=1,
        budget_exceeded_status=429,
        max_parallel_requests=50,
        always_include_stream_usage=True,
        spend_logs=False,
    )
    own = (
        text
        + """
penstock:
  routing: {retries: 0, retry_backoff: 10ms, allowed_fails: 0, cooldown: 0, max_fallbacks: 0}
  limits: {max_parallel_requests: 5, default_output_tokens: 10}
  budgets: {exceeded_status: 402}
  streams: {include_usage: false}
"""
    )
    assert compiled(own).settings == Settings(
        retries=0,
        retry_backoff_ms=10,
        allowed_fails=0,
        cooldown_ms=0,
        max_fallbacks=0,
        budget_exceeded_status=402,
        default_output_tokens=10,
        max_parallel_requests=5,
        spend_logs=False,
    )
    assert compiled("router_settings: {disable_cooldowns: true, cooldown_time: 9}").settings.cooldown_ms == 0


def test_an_unusable_address_in_the_environment_names_its_variable() -> None:
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL"):
        compiled(None, {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "not-a-url"})


def test_problems_can_be_collected_so_that_the_rest_is_served() -> None:
    loaded = load_text(
        """
model_list:
  - {model_name: bad, litellm_params: {model: nobody/x}}
  - {model_name: good, litellm_params: {model: openai/x}}
""",
        "c.yaml",
        Environment(KEYS),
    )
    problems: list[Problem] = []
    snapshot = compile_snapshot(
        loaded.config, loaded.environment, version=1, master_token="", demo_base_url=None, problems=problems
    )
    assert [group.name for group in snapshot.groups] == ["good"]
    assert [problem.path for problem in problems] == ["model_list[0].litellm_params.model"]


def test_a_snapshot_survives_its_encoding() -> None:
    snapshot = compiled("model_list: [{model_name: g, litellm_params: {model: openai/x, seed: 1}}]", demo="http://h")
    assert msgspec.json.decode(msgspec.json.encode(snapshot), type=Snapshot) == snapshot


def test_options_follow_flag_environment_file_default() -> None:
    loaded = load_text(
        """
general_settings: {max_request_size_mb: 3}
penstock:
  listener:
    {host: 0.0.0.0, port: 1, threads: 2, max_header_kb: 8, header_timeout: 1, body_timeout: 2, idle_timeout: 3,
     write_timeout: 4, busy_poll_us: 11, max_connections: 5, max_streams: 6, trusted_proxies: [10.0.0.1], tls: {certificate: c, key: k}}
  grpc:
    {reflection: false, web_origins: [https://App.example/], max_connection_age: 30m, max_connection_age_grace: 12,
     keepalive: 13, keepalive_timeout: 14}
  limits: {key_table_capacity: 7, negative_ttl: 8, hook_timeout: 9}
  idempotency: {keep: 1m, answer_kb: 1, memory_mb: 1, claim: 2s}
  ledger: {queue_capacity: 10, checkpoint: 1s}
  upstream: {ca_file: ca.pem}
""",
        "c.yaml",
        Environment({"PENSTOCK_PORT": "2"}),
    )
    assert loaded.problems == []
    options = engine_options(
        loaded.config,
        loaded.environment,
        threads=4,
        control_socket="s",
        pepper="p",
        incarnation="i",
        journal_dir="j",
        shared_limits=True,
        shared_answers=True,
    )
    assert (options.host, options.port, options.threads) == ("0.0.0.0", 2, 4)
    assert (options.max_body_bytes, options.max_header_bytes) == (3 << 20, 8 << 10)
    assert options.tls is not None
    assert options.tls.certificate == "c"
    assert options.trusted_proxies == ["10.0.0.1/32"]
    assert options.grpc.web_origins == ["https://app.example"]
    assert options.grpc.max_connection_age_ms == 1_800_000
    default = EngineOptions()
    same = [
        field for field in GrpcOptions.__struct_fields__ if getattr(options.grpc, field) == getattr(default.grpc, field)
    ]
    assert same == []
    assert options.idempotency == IdempotencyOptions(
        keep_ms=60_000, answer_bytes=1024, memory_bytes=1 << 20, shared=True, claim_ms=2_000
    )
    same = [field for field in EngineOptions.__struct_fields__ if getattr(options, field) == getattr(default, field)]
    # Every option is reachable from the file, the environment or the caller.
    assert same == []
    plain = engine_options(load(None, Environment({})).config, Environment({}))
    assert plain == default
    assert engine_options(loaded.config, loaded.environment, listen=False).port is None
