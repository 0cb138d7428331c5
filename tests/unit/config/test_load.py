"""Loading: everything wrong is reported at once, with its place and its fix; what is right is typed."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from penstock.config import ConfigError, Environment, Loaded, Problem, known, load, load_or_raise, load_text
from penstock.config.schema import Config

ENVIRONMENT = Environment({"OPENAI_API_KEY": "sk-from-environment", "SET": "value", "NUMBER": "42"})


def read(text: str) -> Loaded:
    return load_text(text, "config.yaml", ENVIRONMENT)


def errors(loaded: Loaded) -> list[Problem]:
    return [problem for problem in loaded.problems if problem.severity == "error"]


def only(loaded: Loaded, severity: str = "error") -> Problem:
    (problem,) = [problem for problem in loaded.problems if problem.severity == severity]
    return problem


def test_no_file_is_the_default_configuration() -> None:
    loaded = load(None, Environment({}))
    assert (loaded.config, loaded.problems) == (Config(), [])
    assert not loaded.config.from_file


def test_a_complete_litellm_file_loads_without_an_error() -> None:
    loaded = read(
        """
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/chat-deployment
      api_base: https://example.openai.azure.com/
      api_key: os.environ/SET
      api_version: 2024-10-21
      rpm: 600
      tpm: "90000"
      timeout: 300
      stream_timeout: 30.5
      weight: 0.25
      temperature: 0.2
      stop: ["\\n\\n", END]
      extra_headers: {X-Team: blue}
      extra_body: {provider: {order: [a, b]}, count: 3, exact: "3"}
      input_cost_per_token: 2.5e-6
    model_info:
      id: azure-one
      mode: chat
      base_model: azure/gpt-4o
      access_groups: [beta]
      supports_vision: true
  - model_name: "openai/*"
    litellm_params: {model: "openai/*", api_key: os.environ/OPENAI_API_KEY}
litellm_settings:
  drop_params: true
  success_callback: [langfuse]
  fallbacks: [{gpt-4o: [openai/gpt-4o-mini]}]
router_settings:
  num_retries: 1
  cooldown_time: 0.5
  model_group_alias: {gpt-4: gpt-4o, secret-gpt: {model: gpt-4o, hidden: true}}
general_settings:
  master_key: sk-9f3c1e7a5b2d4860
penstock:
  listener: {port: 8080, header_timeout: 500ms, trusted_proxies: [10.1.2.3/8]}
"""
    )
    assert errors(loaded) == []
    first = loaded.config.model_list[0]
    params = first.litellm_params
    assert params.api_key is not None
    assert params.api_key.reveal() == "value"
    assert (params.api_base, params.api_version) == ("https://example.openai.azure.com", "2024-10-21")
    assert (params.rpm, params.tpm, params.timeout, params.stream_timeout) == (600, 90000, 300_000, 30_500)
    assert (params.weight, params.input_cost_per_token) == (Decimal("0.25"), Decimal("0.0000025"))
    assert {name: json.value for name, json in params.defaults.items()} == {"temperature": 0.2, "stop": ["\n\n", "END"]}
    assert {name: json.value for name, json in params.extra_body.items()} == {
        "provider": {"order": ["a", "b"]},
        "count": 3,
        "exact": "3",
    }
    assert loaded.config.router_settings.cooldown_time == 500
    assert loaded.config.penstock.listener.header_timeout == 500
    assert loaded.config.penstock.listener.trusted_proxies == ["10.0.0.0/8"]
    assert [problem.path for problem in loaded.problems] == [
        "model_list[0].model_info.supports_vision",
        "litellm_settings.success_callback",
    ]


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    loaded = read(
        "model_list:\n"
        "  - model_name: a\n"
        "    litellm_params:\n"
        "      model: openai/x\n"
        "      rpm: many\n"
        "      drop_params: perhaps\n"
        "  - litellm_params: {model: openai/y}\n"
        "penstock:\n"
        "  demo: 3\n"
        "  listener: {port: 70000}\n"
    )
    assert [(problem.path, problem.line, problem.column) for problem in errors(loaded)] == [
        ("model_list[0].litellm_params.rpm", 5, 12),
        ("model_list[0].litellm_params.drop_params", 6, 20),
        ("model_list[1]", 7, 5),
        ("penstock.demo", 9, 9),
        ("penstock.listener.port", 10, 20),
    ]


@pytest.mark.parametrize(
    "text,fix",
    [
        ("penstock: {listner: {}}", "did you mean `listener`?"),
        ("penstock: {listener: {max_body: 3}}", "max_body_mb"),
        ("penstock: {limits: {zzz: 3}}", "known are"),
    ],
)
def test_unknown_penstock_keys_are_errors_with_a_suggestion(text: str, fix: str) -> None:
    assert fix in only(read(text)).message


@pytest.mark.parametrize(
    "text,rule",
    [
        ("router_settings: {num_retries: -1}", "0 to 1000"),
        ("router_settings: {num_retries: 5000000000}", "0 to 1000"),
        ("litellm_settings: {request_timeout: soon}", "seconds"),
        ("litellm_settings: {budget_exceeded_status_code: 200}", "400 to 599"),
        ("penstock: {listener: {max_body_mb: 99999999}}", "1 to 65536"),
        ("penstock: {listener: {idle_timeout: 0.0001}}", "at least 1ms"),
        ("penstock: {idempotency: {claim: 900ms}}", "at least 1s"),
        ("penstock: {listener: {trusted_proxies: [everyone]}}", "10.0.0.0/8"),
        ("penstock: {log_level: loud}", "debug, info, warning, error"),
        ("penstock: {prices: {m: {input: -1}}}", "negative"),
        ("penstock: {prices: {m: {input: 1e9}}}", "at most 1000000"),
        ("penstock: {upstream: {forward_headers: [x-]}}", "credentials"),
        ("penstock: {upstream: {forward_headers: [authorization]}}", "credentials"),
        ("penstock: {listener: {tls: {certificate: c}}}", "`key` is missing"),
        ("penstock: []", "mapping"),
        ("include: models.yaml", "a list"),
        ("router_settings: {fallbacks: {a: [b]}}", "a list"),
        ("router_settings: {model_group_alias: {a: [b]}}", "a text or a mapping"),
    ],
)
def test_values_that_do_not_fit_say_what_would(text: str, rule: str) -> None:
    assert rule in only(read(text)).message


def test_unknown_litellm_keys_are_warnings_with_a_suggestion() -> None:
    loaded = read("litellm_settings: {num_retrys: 3}\nrouter_setings: {}\n")
    assert [(problem.severity, problem.path) for problem in loaded.problems] == [
        ("warning", "litellm_settings.num_retrys"),
        ("warning", "router_setings"),
    ]
    assert all("did you mean" in problem.message for problem in loaded.problems)


@pytest.mark.parametrize(
    "text,path",
    [
        ("guardrails: []", "guardrails"),
        ("litellm_settings: {cache: true}", "litellm_settings.cache"),
        ("general_settings: {alerting: [slack]}", "general_settings.alerting"),
        ("router_settings: {retry_policy: {}}", "router_settings.retry_policy"),
    ],
)
def test_known_keys_without_effect_say_so(text: str, path: str) -> None:
    problem = only(read(text), "warning")
    assert (problem.path, problem.message) == (path, "accepted, has no effect in this version")


@pytest.mark.parametrize(
    "text,path",
    [
        ("guardrails: [{guardrail_name: pii}]", "guardrails"),
        ("general_settings: {allowed_ips: [10.0.0.1]}", "general_settings.allowed_ips"),
        ("general_settings: {enforced_params: [user]}", "general_settings.enforced_params"),
        ("general_settings: {custom_auth: my.module}", "general_settings.custom_auth"),
        ("general_settings: {admin_only_routes: [/key/list]}", "general_settings.admin_only_routes"),
        (
            "litellm_settings: {default_key_generate_params: {max_budget: 1}}",
            "litellm_settings.default_key_generate_params",
        ),
        ("router_settings: {provider_budget_config: {openai: 1}}", "router_settings.provider_budget_config"),
    ],
)
def test_protections_that_are_not_enforced_stand_out(text: str, path: str) -> None:
    problem = only(read(text), "warning")
    assert problem.path == path
    assert "is a protection and is NOT enforced in this version" in problem.message


@pytest.mark.parametrize("text", ["null", "false", "''", "[]", "{}"])
def test_a_protection_that_is_switched_off_is_only_without_effect(text: str) -> None:
    problem = only(read(f"general_settings: {{enforce_user_param: {text}}}"), "warning")
    assert problem.message == "accepted, has no effect in this version"


def test_every_protection_is_a_known_key() -> None:
    sections = (known.TOP_LEVEL, known.LITELLM_PARAMS, known.MODEL_INFO, known.LITELLM_SETTINGS)
    assert frozenset().union(*sections, known.ROUTER_SETTINGS, known.GENERAL_SETTINGS) >= known.PROTECTIONS


def test_a_missing_variable_is_named_and_leaves_the_deployment_out() -> None:
    loaded = read("model_list:\n  - model_name: a\n    litellm_params: {model: openai/x, api_key: os.environ/ABSENT}\n")
    assert errors(loaded) == []
    assert loaded.config.model_list[0].unresolved == ("ABSENT",)
    assert any("ABSENT is not set" in problem.message and problem.line == 3 for problem in loaded.problems)


def test_variables_are_resolved_at_any_depth_and_take_the_type_that_is_wanted() -> None:
    loaded = read(
        "model_list:\n"
        "  - model_name: a\n"
        "    litellm_params:\n"
        "      model: openai/x\n"
        "      rpm: os.environ/NUMBER\n"
        "      extra_body: {deep: [{er: os.environ/SET}]}\n"
    )
    params = loaded.config.model_list[0].litellm_params
    assert loaded.problems == []
    assert params.rpm == 42
    assert params.extra_body["deep"].value == [{"er": "value"}]


def test_environment_variables_of_the_file_take_effect_first_and_stay_out_of_the_process() -> None:
    import os

    loaded = read(
        "model_list:\n"
        "  - model_name: a\n"
        "    litellm_params: {model: openai/x, api_key: os.environ/FROM_FILE}\n"
        "environment_variables: {FROM_FILE: os.environ/SET}\n"
    )
    key = loaded.config.model_list[0].litellm_params.api_key
    assert key is not None
    assert key.reveal() == "value"
    assert loaded.environment.get("FROM_FILE") == "value"
    assert "FROM_FILE" not in os.environ


@pytest.mark.parametrize(
    "params,field,fix",
    [
        ("{model: nobody/x}", "model", "is not a known provider"),
        ("{model: gropq/x}", "model", "did you mean `groq`?"),
        ("{model: some-model}", "model", "custom_llm_provider"),
        ("{model: x, custom_llm_provider: nobody}", "custom_llm_provider", "is not a known provider"),
        ("{model: azure/x, api_key: k}", "api_base", "set `api_base`"),
        ("{model: hosted_vllm/x}", "api_base", "set `api_base`"),
        ("{model: openai/x, api_base: ftp://host}", "api_base", "http"),
        ("{model: openai/x, api_base: https://}", "api_base", "host"),
        ("{model: openai/x, api_base: 'https://user:pass@host/v1'}", "api_base", "user name or password"),
        ("{model: openai/x, api_base: 'https://host/v1?key=1'}", "api_base", "query"),
        ("{model: openai/x, api_base: 'https://host:99999/v1'}", "api_base", "URL"),
        ("{model: openai/x, extra_headers: {Host: x}}", "extra_headers", "gateway itself"),
        ("{model: openai/x, extra_headers: {'a b': x}}", "extra_headers", "characters"),
        ('{model: openai/x, api_key: "a\\nb"}', "api_key", "line break"),
        ("{model: 'openai/*'}", "model", "nothing could take its place"),
        ("{api_key: k}", "", "`model` is missing"),
    ],
)
def test_deployments_that_cannot_be_called_are_errors(params: str, field: str, fix: str) -> None:
    problem = only(read(f"model_list:\n  - model_name: a\n    litellm_params: {params}\n"))
    assert problem.path == "model_list[0].litellm_params" + (f".{field}" if field else "")
    assert problem.line == 3
    assert fix in problem.message


def test_a_provider_without_its_key_is_a_warning() -> None:
    problem = only(read("model_list: [{model_name: a, litellm_params: {model: groq/x}}]"), "warning")
    assert problem.path == "model_list[0].litellm_params.api_key"


@pytest.mark.parametrize(
    "text,path",
    [
        ("router_settings: {fallbacks: [{demo: [nobody]}]}", "router_settings.fallbacks[0].demo"),
        ("router_settings: {model_group_alias: {a: nobody}}", "router_settings.model_group_alias.a"),
        ("litellm_settings: {default_fallbacks: [nobody]}", "litellm_settings.default_fallbacks"),
        ("penstock: {routing: {passthrough_group: nobody}}", "penstock.routing.passthrough_group"),
        ("penstock: {demo: false}", "model_list"),
        ("router_settings: {routing_strategy: least-busy}", "router_settings.routing_strategy"),
    ],
)
def test_names_that_lead_nowhere_are_warnings(text: str, path: str) -> None:
    assert only(read(text), "warning").path == path


def test_two_deployments_of_one_id_are_an_error() -> None:
    entry = "  - {model_name: a, litellm_params: {model: openai/x}, model_info: {id: same}}\n"
    problem = only(read("model_list:\n" + entry + entry))
    assert (problem.path, problem.line) == ("model_list[1].model_info.id", 3)


@pytest.mark.parametrize("key", ["sk-1234", '""', "changeme", "sk-aaaaaaaaaaaa", "short", "sk-Zr8kQ2mV5xLt"])
def test_weak_master_keys_are_refused_whatever_is_permitted(key: str) -> None:
    assert only(read(f"general_settings: {{master_key: {key}}}")).path == "general_settings.master_key"
    permitted = read(
        f"general_settings: {{master_key: {key}, dangerously_permit_weak_or_unset_master_key: true}}"
    ).problems
    assert {(problem.severity, problem.path) for problem in permitted} == {
        ("warning", "general_settings.dangerously_permit_weak_or_unset_master_key"),
        ("error", "general_settings.master_key"),
    }
    assert any("has no effect" in problem.message for problem in permitted)


@pytest.mark.parametrize(
    "variables,name",
    [
        ({"LITELLM_MASTER_KEY": "sk-1234"}, "LITELLM_MASTER_KEY"),
        ({"PENSTOCK_MASTER_KEY": "", "LITELLM_MASTER_KEY": "sk-1234"}, "LITELLM_MASTER_KEY"),
        ({"PENSTOCK_MASTER_KEY": ""}, "PENSTOCK_MASTER_KEY"),
    ],
)
def test_the_environment_s_master_key_is_held_to_the_same_rule(variables: dict[str, str], name: str) -> None:
    problem = only(load_text("", "config.yaml", Environment(variables)))
    assert (problem.file, problem.path) == ("environment", name)
    strong = "general_settings: {master_key: sk-9f3c1e7a5b2d4860}"
    assert load_text(strong, "config.yaml", Environment(variables)).problems == [], "the file's goes before it"


@pytest.mark.parametrize(
    "params,without,measure",
    [
        (["rpm: 10", ""], [1], "rpm"),
        (["", "tpm: 10"], [0], "tpm"),
        (["weight: 1", "rpm: 10", "weight: 0"], [1], "weight"),
        (["rpm: 10", "rpm: 10, tpm: 5", "tpm: 5"], [2], "rpm"),
        (["rpm: 10", "rpm: 20"], [], ""),
        (["weight: 0", "rpm: 20"], [0], "rpm"),
        (["rpm: 10, order: 1", "order: 2"], [], ""),
        (["", ""], [], ""),
    ],
)
def test_a_deployment_that_gets_no_share_of_its_group_is_named(
    params: list[str], without: list[int], measure: str
) -> None:
    entries = [
        f"  - {{model_name: a, litellm_params: {{model: openai/x{number}, {text}}}}}\n"
        for number, text in enumerate(params)
    ]
    problems = read("model_list:\n" + "".join(entries)).problems
    assert [problem.path for problem in problems] == [f"model_list[{number}].litellm_params" for number in without]
    assert all(f"has no `{measure}`" in problem.message for problem in problems)


def test_wrong_variables_of_the_process_are_errors_that_name_them() -> None:
    loaded = load_text("", "config.yaml", Environment({"PENSTOCK_PORT": "eighty", "CONFIG_HOT_RELOAD": "maybe"}))
    assert [(problem.file, problem.path) for problem in loaded.problems] == [
        ("environment", "PENSTOCK_PORT"),
        ("environment", "CONFIG_HOT_RELOAD"),
    ]


def test_load_or_raise_raises_with_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("penstock: {a: 1, b: 2}\nlitellm_settings: {cache: true}\n")
    with pytest.raises(ConfigError) as caught:
        load_or_raise(path, ENVIRONMENT)
    assert len(caught.value.problems) == 3
    assert f"{path}:1:12: error: penstock.a" in str(caught.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert "no file" in only(load(tmp_path / "absent.yaml", ENVIRONMENT)).message


def test_a_directory_is_an_error(tmp_path: Path) -> None:
    assert only(load(tmp_path, ENVIRONMENT)).severity == "error"


def test_bytes_that_are_not_text_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"model_list: []\na: \xff\xfe\n")
    problem = only(load(path, ENVIRONMENT))
    assert problem.line == 2


def test_internal_fields_cannot_be_set() -> None:
    loaded = read("from_file: false\nmodel_list: [{model_name: a, position: 9, litellm_params: {model: openai/x}}]")
    assert loaded.config.from_file
    assert loaded.config.model_list[0].position == 0
    assert {problem.path for problem in loaded.problems} == {"from_file", "model_list[0].position"}
