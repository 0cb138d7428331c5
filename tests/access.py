"""Which routes of the control plane are open to whom; two suites ask, on a stand-in for the data plane and through the port."""

PUBLIC = {
    *("/", "/_health/live", "/_health/ready", "/health/liveliness", "/health/liveness", "/health/readiness"),
}
OPEN_TO_KEYS = {
    *("/key/info", "/v2/key/info", "/key/health", "/utils/token_counter", "/user/available_roles"),
    *("/team/list", "/v2/team/list", "/team/available", "/spend/logs", "/spend/logs/v2"),
    "/organization/list",
}
"""A key without anybody gets an answer here, about itself if about anything."""
ANSWERED_AFTER_A_LOOK = {
    *("/key/list", "/team/info", "/user/info", "/v2/user/info", "/organization/info", "/team/permissions_list"),
    *("/team/{team_id}/members/me", "/user/daily/activity", "/user/daily/activity/aggregated"),
    *("/team/daily/activity", "/team/daily/activity/aggregated"),
    *("/organization/daily/activity", "/organization/daily/activity/aggregated"),
}
"""What a key gets here depends on whose it is and what it asks about (`tests/integration/access`)."""
