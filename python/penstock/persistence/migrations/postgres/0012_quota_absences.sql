-- Of gateways that Redis hears nothing of: they count limits without it, or (`is_ended`) have ended, whichever was entered first.
CREATE TABLE quota_absences (
    incarnation TEXT COLLATE "C" PRIMARY KEY,
    is_ended BIGINT NOT NULL,
    since BIGINT NOT NULL
);
