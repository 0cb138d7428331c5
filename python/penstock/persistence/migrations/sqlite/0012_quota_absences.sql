-- Of gateways that Redis hears nothing of: they count limits without it, or (`is_ended`) have ended, whichever was entered first.
CREATE TABLE quota_absences (
    incarnation TEXT PRIMARY KEY,
    is_ended INTEGER NOT NULL,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
