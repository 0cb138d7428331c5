"""The audit trail: who changed what, when; also how one process learns what another one changed."""

from penstock.audit.service import AuditTrail, Change

__all__ = ["AuditTrail", "Change"]
