-- A call is found by the beginning of `event_id`, which is `call id:attempt` and has an index.
DROP INDEX usage_by_call;
