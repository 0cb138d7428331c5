"""`/{user,team,organization,customer,tag}/daily/activity` and `.../aggregated`.

Apart from the reports because one pair of handlers is made for each kind of entity. Annotations are evaluated here
where they stand, for they name a type that is made with the handler.
"""

from typing import Annotated, Any

from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromQuery, QueryParameter

from penstock.access import Access, authority_of
from penstock.engine.current import CurrentRuntime
from penstock.spend.activity import Page
from penstock.spend.models import Dimension, days, names_in

_KINDS: tuple[tuple[tuple[str, ...], Dimension, str], ...] = (
    (("user",), "user", "user_id"),
    (("team",), "team", "team_ids"),
    (("organization",), "org", "organization_ids"),
    (("customer", "end_user"), "customer", "end_user_ids"),
    (("tag",), "tag", "tags"),
)
"""Paths, dimension and the query's name for those asked for, several with commas between."""


def _handlers(paths: tuple[str, ...], dimension: Dimension, named_by: str) -> list[HTTPRouteHandler]:
    Names = Annotated[str | None, QueryParameter(name=named_by)]  # noqa: N806 - a type, made here for its name

    access = Access.KEY if dimension in ("user", "team", "org") else Access.VIEWER

    @get(
        [f"/{path}/daily/activity" for path in paths],
        access=access,
        group="info_routes",
        name=f"{dimension}_daily_activity",
    )
    async def activity(
        request: Request[Any, Any, Any],
        runtime: CurrentRuntime,
        names: Names = None,
        start_date: FromQuery[str | None] = None,
        end_date: FromQuery[str | None] = None,
        page: Annotated[int, QueryParameter(ge=1, le=10_000_000)] = 1,
        page_size: Annotated[int, QueryParameter(ge=1, le=1000)] = 50,
    ) -> dict[str, Any]:
        """A page of days, the latest first, with what was spent on each and by whom; of some entities, or of all that the
        caller sees."""
        within = days(start_date, end_date)
        wanted = await authority_of(request, runtime).accounts(dimension, names_in(names, named_by), named_by)
        await runtime.usage.flush()
        return await runtime.spend.activity.of(dimension, wanted, within, Page(page, page_size))

    @get(
        [f"/{path}/daily/activity/aggregated" for path in paths],
        access=access,
        group="info_routes",
        name=f"{dimension}_daily_activity_aggregated",
    )
    async def aggregated(
        request: Request[Any, Any, Any],
        runtime: CurrentRuntime,
        names: Names = None,
        start_date: FromQuery[str | None] = None,
        end_date: FromQuery[str | None] = None,
    ) -> dict[str, Any]:
        """Every day of the range in one answer."""
        within = days(start_date, end_date)
        wanted = await authority_of(request, runtime).accounts(dimension, names_in(names, named_by), named_by)
        await runtime.usage.flush()
        return await runtime.spend.activity.of(dimension, wanted, within, Page())

    return [activity, aggregated]


HANDLERS = [handler for kind in _KINDS for handler in _handlers(*kind)]
