"""Who may call what on the control plane. A route that does not say so answers nobody."""

from penstock.access.asked import refuse_unasked
from penstock.access.authority import Authority
from penstock.access.guard import authenticate, authority_of, caller_of, guard
from penstock.access.policy import Access, Caller, Role

__all__ = [
    "Access",
    "Authority",
    "Caller",
    "Role",
    "authenticate",
    "authority_of",
    "caller_of",
    "guard",
    "refuse_unasked",
]
