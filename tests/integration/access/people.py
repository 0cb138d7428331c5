"""Who works for whom: two organizations, three teams, and a key for everybody."""

from __future__ import annotations

import uuid
from typing import Any

import httpx

from tests.integration.managed import Managed


class Company:
    """``acme`` with the teams ``search`` and ``ads``, ``other`` with ``rivals``, and people with a key each.

    ``lead`` is admin of ``search``, ``member`` belongs to it, ``boss`` is org_admin of ``acme``, ``rival`` admin of ``rivals``,
    ``viewer`` a proxy_admin_viewer, ``root`` a proxy_admin who is also a member of ``search``.
    """

    def __init__(self, managed: Managed) -> None:
        self.managed = managed
        tail = uuid.uuid4().hex[:8]
        self.ids = {
            name: f"{name}-{tail}" for name in ("lead", "member", "boss", "rival", "viewer", "root", "nobody", "looker")
        }
        self.acme = self._made("/organization/new", organization_alias="acme", rpm_limit=1_000)["organization_id"]
        self.other = self._made("/organization/new", organization_alias="other")["organization_id"]
        roles = {"viewer": "proxy_admin_viewer", "root": "proxy_admin", "looker": "internal_user_viewer"}
        for name, user_id in self.ids.items():
            role = roles.get(name, "internal_user")
            self._made("/user/new", user_id=user_id, user_role=role, auto_create_key=False)
        self.search = self._team(self.acme, lead="admin", member="user", root="user", looker="admin")
        self.ads = self._team(self.acme)
        self.rivals = self._team(self.other, rival="admin", lead="user")
        self._made(
            "/organization/member_add",
            organization_id=self.acme,
            member={"role": "org_admin", "user_id": self.ids["boss"]},
        )
        self.keys = {name: managed.key(user_id=user_id) for name, user_id in self.ids.items()}
        self.keys["keyonly"] = managed.key()

    def _made(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self.managed.post(path, **body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def _team(self, organization_id: str, **members: str) -> str:
        roles = [{"user_id": self.ids[name], "role": role} for name, role in members.items()]
        return str(self._made("/team/new", organization_id=organization_id, members_with_roles=roles)["team_id"])

    def key(self, **fields: Any) -> str:
        """A new key, made by the administrator."""
        return self.managed.key(**fields)

    def ask(self, who: str, method: str, path: str, query: dict[str, Any] | None = None, **body: Any) -> httpx.Response:
        """A management call with somebody's key: a name, or a key itself."""
        headers = {"authorization": f"Bearer {self.keys.get(who, who)}"}
        json = body if method != "GET" else None
        return self.managed.client.request(method, path, headers=headers, params=query, json=json)

    def post(self, who: str, path: str, **body: Any) -> httpx.Response:
        """The same with POST."""
        return self.ask(who, "POST", path, **body)

    def get(self, who: str, path: str, **query: Any) -> httpx.Response:
        """The same with GET."""
        return self.ask(who, "GET", path, query)
