"""How a route handler asks for the running gateway.

Apart from the runtime so that it does not know the web framework.
"""

from __future__ import annotations

from litestar.di import NamedDependency

from penstock.engine.runtime import Runtime

CurrentRuntime = NamedDependency[Runtime]
"""The runtime of the app that handles the request."""
