"""A real `penstock serve` in front of :mod:`tests.guards.lockstep`, with everything on that a call may pay for."""

from __future__ import annotations

import secrets
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.conftest import Process
from tests.guards.stored import ROOT
from tests.rig import NO_TLS

_PLENTY = 1_000_000_000
"""A limit that is enforced and never reached."""
_CONFIG = """
model_list:
  - model_name: guarded
    litellm_params:
      model: openai/gpt-4o-mini
      api_base: http://127.0.0.1:{upstream}/v1
      api_key: sk-upstream
      rpm: {plenty}
      tpm: {plenty}
      input_cost_per_token: 0.00000015
      output_cost_per_token: 0.0000006
penstock: {{demo: false}}
"""


class Serving:
    """The process."""

    def __init__(
        self, directory: Path, upstream_port: int, *, module: str = "penstock", listener: str = "native"
    ) -> None:
        directory.mkdir()
        self.directory = directory
        config = directory / "config.yaml"
        config.write_text(_CONFIG.format(upstream=upstream_port, plenty=_PLENTY))
        self._admin = f"sk-{secrets.token_hex(24)}"
        command = ["serve", "--host", "127.0.0.1", "--port", "0", "--threads", "1", "--listener", listener]
        command += ["--config", str(config), "--data-dir", str(directory / "data")]
        environment = {"PENSTOCK_MASTER_KEY": self._admin, "PYTHONPATH": str(ROOT)}
        self.process = Process(command, directory, environment, module)
        self._url = str(self.process.wait_ready()["address"])
        self.port = urlsplit(self._url).port or 0
        self.pid = self.process.process.pid

    def new_key(self) -> str:
        """A key with limits of every kind and a budget."""
        wanted = {
            "models": ["guarded"],
            "rpm_limit": _PLENTY,
            "tpm_limit": _PLENTY,
            "max_parallel_requests": 100,
            "max_budget": 1_000_000,
        }
        with httpx.Client(base_url=self._url, timeout=30, trust_env=False, verify=NO_TLS) as client:
            answer = client.post("/key/generate", headers={"authorization": f"Bearer {self._admin}"}, json=wanted)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["key"])

    def close(self) -> None:
        """Stop it."""
        self.process.close()
