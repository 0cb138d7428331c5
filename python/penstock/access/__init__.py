"""Who may call what on the control plane. A route that does not say so answers nobody."""

from penstock.access.guard import authenticate, caller_of, guard
from penstock.access.policy import Access, Caller, Role

__all__ = ["Access", "Caller", "Role", "authenticate", "caller_of", "guard"]
