"""`Idempotency-Key` over several gateways: who runs a request, and the sealed answers of those that were run."""
