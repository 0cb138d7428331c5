"""The domains above keys, put together: teams, users, organizations, customers, budgets, tags, and their scopes.

Apart from the runtime because they are one web of services over one database, and what concerns several of them at once
(deleting a user, a new owner of a key) has its place here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec
from msgspec import UNSET

from penstock.alerts.service import AlertService
from penstock.alerts.store import AlertStore
from penstock.audit import AuditTrail
from penstock.budgets.service import BudgetService
from penstock.budgets.store import BudgetStore
from penstock.checks import Check, unchecked
from penstock.config import ConfigError, Problem
from penstock.config.schema import Config
from penstock.customers.service import CustomerService
from penstock.customers.store import CustomerStore
from penstock.durations import parse_duration
from penstock.engine.snapshot import Snapshot
from penstock.keys.models import GenerateKeyRequest, VirtualKey
from penstock.keys.owners import KeyOwners
from penstock.keys.rules import KeyRules
from penstock.keys.service import KeyService
from penstock.keys.under import KeysUnder
from penstock.money import nanos_from_dollars
from penstock.organizations.models import OrganizationMember, OrganizationMemberInput
from penstock.organizations.service import OrganizationService
from penstock.organizations.store import OrganizationStore
from penstock.persistence import Database, Transaction, managed
from penstock.scopes import names
from penstock.scopes.service import Defaults, ScopeService, Settlement, table_of
from penstock.scopes.store import ScopeStore
from penstock.tags.service import TagService
from penstock.tags.store import TagStore
from penstock.teams.members import Added, MemberService, limits_of_member
from penstock.teams.models import AddMembersRequest, Member, MemberRole, NewTeamRequest, Team
from penstock.teams.service import TeamService
from penstock.teams.store import TeamStore
from penstock.users.models import NewUserRequest, TeamToJoin, User
from penstock.users.service import UserService
from penstock.users.store import UserStore


class Entities:
    """One per process."""

    def __init__(
        self,
        database: Database,
        audit: AuditTrail,
        keys: KeyService,
        changed: Callable[[], Awaitable[None]],
        engine: object = None,
        settlement: Settlement | None = None,
        incarnation: str = "",
    ) -> None:
        """`changed`: whether customers or tags have limits may have changed. `engine`, `settlement` and `incarnation` are
        of the data plane that is told of changes; without, there is none here."""
        under = KeysUnder(database)
        self._database = database
        self._keys = keys
        self._under = under
        self.key_rules = KeyRules()
        self.alerts = AlertService(AlertStore(database))
        self.scopes = ScopeService(
            ScopeStore(database, incarnation), audit, self.alerts, under.predecessors, table_of(engine), settlement
        )
        self.scopes.attach(self._relist)
        self.budgets = BudgetService(BudgetStore(database), audit, self.scopes)
        self.users = UserService(UserStore(database), audit, self.scopes)
        self.organizations = OrganizationService(OrganizationStore(database), audit, self.scopes, self.users)
        teams = TeamStore(database)
        self.teams = TeamService(teams, audit, self.scopes, self.budgets, self.organizations, keys, under)
        self.members = MemberService(teams, audit, self.scopes, self.teams, self.users, keys, under)
        self.customers = CustomerService(CustomerStore(database), audit, self.scopes, changed)
        self.tags = TagService(TagStore(database), audit, self.scopes, changed)

    async def configure(self, config: Config) -> None:
        """Take over what the configuration says of budgets and alerts, and store the budget of the whole proxy.

        Raises:
            ConfigError: a budget window is not a duration.
        """
        self.take_over(config)
        await self.scopes.put_proxy()

    def take_over(self, config: Config) -> None:
        """The same without storing anything: a command may run with another configuration than the gateways.

        Raises:
            ConfigError: a budget window is not a duration.
        """
        settings = config.litellm_settings
        for field in ("budget_duration", "internal_user_budget_duration"):
            _check_duration(getattr(settings, field), field)
        budget = settings.max_budget
        self.scopes.defaults = Defaults(
            proxy_budget=None if budget is None else nanos_from_dollars(budget, "max_budget"),
            proxy_duration=settings.budget_duration,
            customer_budget=None
            if settings.max_end_user_budget is None
            else nanos_from_dollars(settings.max_end_user_budget, "max_end_user_budget"),
            customer_budget_id=settings.max_end_user_budget_id,
            track_customers=not settings.disable_end_user_cost_tracking,
        )
        self.key_rules = KeyRules.of(config)
        user = settings.max_internal_user_budget
        self.users.default_budget = None if user is None else nanos_from_dollars(user, "max_internal_user_budget")
        self.users.default_duration = settings.internal_user_budget_duration
        self.alerts.url = config.penstock.alerts.webhook_url or _litellm_webhook(config)

    async def create_team(self, request: NewTeamRequest, actor: str, check: Check = unchecked) -> Team:
        """A new team with its first members, all at once; 400 when the id is taken."""
        drawn, columns = self.teams.drawn_up(request, actor)
        members = AddMembersRequest(team_id=drawn.team_id, member=request.everybody())

        async def once(tx: Transaction) -> tuple[Team, list[Added]]:
            await check()
            team = await self.teams.create_in(tx, drawn, columns, request, actor)
            return team, await self.members.add_in(tx, members, actor) if members.member else []

        team, added = await managed(self._database, once)
        scopes = [one.scope for one in added]
        await self.scopes.publish(scopes, relist=[names.team(team.team_id), *scopes])
        return team

    async def create_user(
        self, request: NewUserRequest, actor: str, key: GenerateKeyRequest | None = None
    ) -> tuple[User, tuple[str, VirtualKey] | None]:
        """A new user, who is a member of the named teams and organizations from the start, and with ``key`` the user's own,
        all at once; returns the key's secret, too."""
        teams = [] if request.teams is UNSET else request.teams or []
        wanted = [_membership(team) for team in teams]
        for team in wanted:
            await self.teams.get(team.team_id)
            limits_of_member(team)
        organizations = [] if request.organizations is UNSET else list(request.organizations or [])
        if isinstance(request.organization_id, str):
            organizations.append(request.organization_id)
        for organization_id in organizations:
            await self.organizations.get(organization_id)
        user, columns = self.users.drawn_up(request, actor)
        for team in wanted:
            for member in team.member if isinstance(team.member, list) else [team.member]:
                member.user_id = user.user_id
        member_of = [OrganizationMemberInput(user_id=user.user_id)]

        async def make(tx: Transaction) -> None:
            await self.users.create_in(tx, user, columns, request, actor)
            for team in wanted:
                await self.members.add_in(tx, team, actor)
            for organization_id in dict.fromkeys(organizations):
                await self.organizations.add_members_in(tx, organization_id, member_of, actor)

        generated = None
        if key is None:
            await managed(self._database, make)
        else:
            key.user_id = user.user_id
            generated = await self._keys.generate_with(make, key, actor)
        scopes = [names.member(team.team_id, user.user_id) for team in wanted]
        await self.scopes.publish(scopes, relist=[names.user(user.user_id), *scopes])
        return user, generated

    async def delete_users(self, ids: Sequence[str], actor: str) -> int:
        """Remove users with their keys and memberships; 404 when one does not exist, and then none is removed."""
        users = [await self.users.get(user_id) for user_id in dict.fromkeys(ids)]
        for user in users:
            await self.scopes.publish(await self._delete_user(user, actor))
        return len(users)

    async def _delete_user(self, user: User, actor: str) -> list[str]:
        """A user with its keys and memberships, all at once; returns the scopes that were."""
        gone: list[str] = []

        async def tokens(tx: Transaction) -> list[str]:
            return await self._under.tokens_of_user(tx, user.user_id)

        async def remove(tx: Transaction) -> None:
            gone[:] = [*await self.members.forget_user(tx, user.user_id), names.user(user.user_id)]
            await self.organizations.forget_user(tx, user.user_id)
            await self.users.delete(tx, user, actor)

        await self._keys.delete_with(tokens, actor, remove)
        return gone

    async def delete_organization_member(
        self, member: OrganizationMember, actor: str, check: Check = unchecked
    ) -> None:
        """Remove a member and its keys within the organization, all at once; those within teams go with the teams' members."""

        async def remove(tx: Transaction) -> list[str]:
            await check()
            await self.organizations.delete_member(tx, member, actor)
            return await self._under.tokens_in_organization(tx, member.organization_id, member.user_id)

        await self._keys.delete_with(remove, actor)

    async def delete_organizations(self, ids: Sequence[str], actor: str) -> None:
        """Remove organizations with their teams, and the keys of both."""
        for organization_id in ids:
            name = names.organization(organization_id)
            await self.scopes.publish([*await self._delete_organization(organization_id, actor), name], relist=[name])

    async def _delete_organization(self, organization_id: str, actor: str) -> list[str]:
        """An organization with its teams and keys, all at once; returns the scopes that were below it."""
        gone: list[str] = []

        async def tokens(tx: Transaction) -> list[str]:
            found = await self._under.tokens_of_organization(tx, organization_id)
            gone.clear()
            for team in await self.teams.of_organization(organization_id, tx):
                of_team, scopes = await self.teams.remove_in(tx, team.team_id, actor)
                found += of_team
                gone.extend(scopes)
            return found

        async def remove(tx: Transaction) -> None:
            for scope in gone:
                await self.scopes.remove(tx, scope)
            await self.organizations.remove_in(tx, organization_id, actor)

        await self._keys.delete_with(tokens, actor, remove)
        return gone

    async def _relist(self, scopes: list[str]) -> None:
        """Give the data plane the keys under these scopes again."""
        tokens: dict[str, None] = {}
        for scope in scopes:
            tokens.update(dict.fromkeys(await self._under.tokens(scope)))
        if tokens:
            await self._keys.refresh(tokens)


def beside(database: Database, audit: AuditTrail, keys: KeyService, config: Config) -> Entities:
    """The domains of a process without a data plane, such as a command or a coworker; gateways follow by the audit trail.

    Raises:
        ConfigError: the configuration's budgets cannot be used.
    """

    async def nothing() -> None:
        return

    entities = Entities(database, audit, keys, nothing)
    entities.take_over(config)
    entities.alerts.decides = False
    keys.attach(KeyOwners(entities))
    return entities


def asking(snapshot: Snapshot, customers: bool, request_tags: bool) -> Snapshot:
    """The snapshot with what the data plane shall ask Python about."""
    settings = msgspec.structs.replace(snapshot.settings, customers=customers, request_tags=request_tags)
    return msgspec.structs.replace(snapshot, settings=settings)


def _membership(team: TeamToJoin | str) -> AddMembersRequest:
    if isinstance(team, str):
        return AddMembersRequest(team_id=team, member=Member())
    role: MemberRole = team.user_role or "user"
    return AddMembersRequest(team_id=team.team_id, member=Member(role=role), max_budget_in_team=team.max_budget_in_team)


def _check_duration(text: str | None, field: str) -> None:
    try:
        if text is not None:
            parse_duration(text, field)
    except ValueError as error:
        problem = Problem(severity="error", path=f"litellm_settings.{field}", message=str(error))
        raise ConfigError([problem]) from error


def _litellm_webhook(config: Config) -> str | None:
    """LiteLLM's `alert_to_webhook_url`: by kind of alert an address or several, of which the first is used."""
    urls = config.general_settings.alert_to_webhook_url
    kept = urls.get("budget_alerts")
    found = kept.value if kept is not None else None
    if isinstance(found, list):
        found = found[0] if found else None
    return found if isinstance(found, str) and found.startswith(("http://", "https://")) else None
