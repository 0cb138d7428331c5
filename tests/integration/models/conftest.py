"""A gateway that serves models of its database, for this folder's tests."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Gateway
from tests.integration.managed import CONFIG, Managed, start_managed

STORED = f"{CONFIG}\ngeneral_settings:\n  store_model_in_db: true\n"


class Models:
    """A gateway with stored models and the calls that these tests make all the time."""

    def __init__(self, managed: Managed) -> None:
        self.managed = managed
        self.upstream = f"{managed.gateway.simulator_url}/v1"

    def name(self) -> str:
        """A model name of the test's own."""
        return f"stored-{secrets.token_hex(4)}"

    def new(self, name: str, info: dict[str, Any] | None = None, **params: Any) -> Any:
        """`POST /model/new` for a model on the simulator."""
        litellm_params = {"model": "openai/sim", "api_base": self.upstream, "api_key": "sk-upstream-secret", **params}
        return self.managed.post("/model/new", model_name=name, litellm_params=litellm_params, model_info=info or {})

    def created(self, name: str, info: dict[str, Any] | None = None, **params: Any) -> str:
        """The id of a new model."""
        answer = self.new(name, info, **params)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["model_id"])

    def asked(self, name: str, **options: Any) -> Any:
        """A chat call with the master key."""
        return self.managed.chat(self.managed.gateway.admin_key, model=name, **options)

    def entry(self, model_id: str) -> dict[str, Any]:
        """The model's entry of `/model/info`."""
        answer = self.managed.get("/model/info", litellm_model_id=model_id)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["data"][0])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, simulator_url: str) -> Iterator[Models]:
    """The gateway of the module's tests; every test brings its own models."""
    environment = {"OPENAI_API_KEY": "sk-of-the-environment", "UNRELATED_SECRET": "do-not-read-this"}
    gateway = Gateway(tmp_path_factory.mktemp("models"), simulator_url, config=STORED, environment=environment)
    managed = Managed(gateway)
    try:
        yield Models(managed)
    finally:
        managed.client.close()
        gateway.close()


__all__ = ["STORED", "Models", "models", "start_managed"]
