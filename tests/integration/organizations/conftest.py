"""The gateway that this folder's tests share."""

from tests.integration.managed import managed, start_managed

__all__ = ["managed", "start_managed"]
