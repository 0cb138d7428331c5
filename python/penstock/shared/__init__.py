"""What replicas have in common: the connection to Redis, the breaker around it and the channel of changes."""
