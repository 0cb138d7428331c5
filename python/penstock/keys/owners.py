"""What is above a key: that its team, organization and budget exist, and which scopes its calls are held to.

Apart from the service of keys because it knows the other domains, and keys alone need none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from penstock.errors import bad_request
from penstock.keys.models import VirtualKey
from penstock.money import nanos_from_dollars
from penstock.persistence import Transaction
from penstock.scopes import names
from penstock.scopes.fields import as_refusal, model_limits
from penstock.scopes.models import ModelLimit

if TYPE_CHECKING:
    from penstock.engine.entities import Entities

_MODEL_FIELDS = ("model_max_budget", "model_rpm_limit", "model_tpm_limit")
_OWN_SCOPE = frozenset({"budget_id", "soft_budget", "budget_duration", "key_alias", *_MODEL_FIELDS})
"""Fields that the key's own scope is made from."""
_OWNERS = frozenset({"team_id", "user_id", "organization_id", "budget_id", *_MODEL_FIELDS, "soft_budget"})


class KeyOwners:
    """The answer of the other domains to :class:`penstock.keys.changes.KeyScopes`."""

    def __init__(self, entities: Entities) -> None:
        self._entities = entities

    @property
    def are_held(self) -> bool:
        """There is a data plane here that knows scopes."""
        return self._entities.scopes.are_held

    async def admit(self, key: VirtualKey, given: set[str]) -> None:
        """Check what the request says of the key's owners, and give the key its team's organization.

        Raises:
            ApiError: 400 naming the field.
        """
        if not given & _OWNERS:
            return
        if key.team_id is not None and given & {"team_id", "organization_id"}:
            team = await self._entities.teams.find(key.team_id)
            if team is None:
                raise bad_request(
                    f"`team_id`: Unable to find team object in database. Team ID: {key.team_id}", "team_id"
                )
            is_other = key.org_id is not None and key.org_id != team.organization_id
            if is_other and "organization_id" in given:
                raise bad_request(
                    f"`organization_id`: team {key.team_id} belongs to {team.organization_id or 'no organization'}",
                    "organization_id",
                )
            key.org_id = team.organization_id
        elif key.org_id is not None and "organization_id" in given:
            await self._check_organization(key.org_id)
        if key.team_id is not None and key.user_id is not None and given & {"team_id", "user_id"}:
            await self._check_member(key.team_id, key.user_id)
        budget_id = key.extra.get("budget_id")
        if budget_id is not None and await self._entities.budgets.find(budget_id) is None:
            raise bad_request(f"`budget_id`: there is no budget `{budget_id}`: create it with /budget/new", "budget_id")
        _models(key)
        _soft_budget(key)

    async def _check_member(self, team_id: str, user_id: str) -> None:
        """A key is charged to whom it names, not to the member of another team whose name reads the same."""
        ways = names.splits(team_id, user_id) if "/" in user_id else []
        if await self._entities.teams.among([team for team, _ in ways if team != team_id]):
            raise bad_request(f"`user_id`: {user_id} of team {team_id} is called like a member of another", "user_id")

    async def _check_organization(self, organization_id: str) -> None:
        if await self._entities.organizations.find(organization_id) is None:
            raise bad_request(
                f"`organization_id`: Organization not found for organization_id={organization_id}", "organization_id"
            )

    async def write(self, tx: Transaction, key: VirtualKey, given: set[str], actor: str) -> None:
        """Write the key's own scope, and its user when there is none yet, in the transaction that writes the key."""
        if key.user_id is not None and "user_id" in given:
            await self._entities.users.ensure(tx, key.user_id, actor)
        if not given & _OWN_SCOPE:
            return
        models, soft, budget_id = _models(key), _soft_budget(key), key.extra.get("budget_id")
        name = names.key(key.token)
        if not models and soft is None and budget_id is None:
            await self._entities.scopes.remove(tx, name)
            return
        columns = {
            "alias": key.key_alias,
            "budget_id": budget_id,
            "soft_budget": soft,
            # The alert comes once per window of the key's own budget.
            "budget_duration": key.budget_duration if soft is not None else None,
        }
        await self._entities.scopes.put(tx, name, columns, models)

    async def rename(self, tx: Transaction, old: str, new: str) -> None:
        """The key has a new token."""
        await self._entities.scopes.rename_key(tx, old, new)

    async def remove(self, tx: Transaction, token: str) -> None:
        """The key is deleted."""
        await self._entities.scopes.remove(tx, names.key(token))

    async def above(self, keys: Sequence[VirtualKey]) -> list[list[str]]:
        """Put the scopes above the keys into the data plane; returns their names, for each key from near to far."""
        return await self._entities.scopes.publish_above([self._above(key) for key in keys])

    @staticmethod
    def _above(key: VirtualKey) -> list[str]:
        wanted = [names.key(key.token)]
        if key.team_id is not None:
            if key.user_id is not None:
                wanted.append(names.member(key.team_id, key.user_id))
            wanted.append(names.team(key.team_id))
        if key.user_id is not None:
            wanted.append(names.user(key.user_id))
        if key.org_id is not None:
            wanted.append(names.organization(key.org_id))
        wanted += [names.tag(tag) for tag in dict.fromkeys(key.tags)]
        return [*wanted, names.PROXY]


def _models(key: VirtualKey) -> dict[str, ModelLimit]:
    for field in _MODEL_FIELDS:
        if not isinstance(key.extra.get(field, {}), dict):
            raise bad_request(f"`{field}` must be an object with a value for each model", field)
    budgets, rpm, tpm = (key.extra.get(field) for field in _MODEL_FIELDS)
    return model_limits(budgets, rpm, tpm)


def _soft_budget(key: VirtualKey) -> int | None:
    amount: Any = key.extra.get("soft_budget", UNSET)
    if amount is UNSET or amount is None:
        return None
    try:
        return nanos_from_dollars(Decimal(str(amount)), "soft_budget")
    except ValueError as error:
        raise as_refusal(error) from error
