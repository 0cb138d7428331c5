"""Penstock, an LLM gateway: Python decides ahead of time, Rust applies the decision to each request."""

__version__ = "0.1.0"
