"""Customers: whom requests name as their `user`, with limits of their own (LiteLLM's end users)."""
