"""LiteLLM's management routes that this gateway has nothing behind: each says so, and what to use instead."""
