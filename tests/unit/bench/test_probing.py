"""Whether the first answer of a target says that there is no use in more, and what it says then."""

from __future__ import annotations

import msgspec
import pytest

from penstock.bench.probing import verdict
from penstock.bench.report import FirstError
from tests.unit.bench.reports import report


def said(kind: str, detail: str = "", *, is_rpc: bool = False) -> str | None:
    failed = msgspec.structs.replace(report(requests=0, errors={kind: 1}), first_error=FirstError(kind, detail))
    return verdict(failed, is_rpc=is_rpc, hide=lambda text: text.replace("sk-1", "***"))


@pytest.mark.parametrize(
    "kind, of_rest, of_rpc",
    [
        ("connect", "cannot connect: refused (is the gateway running there?)", "cannot connect"),
        ("tls", "or is it plain http://?", "or is it plain grpc://?"),
        ("framing", "the answer is not HTTP/1.1: refused (is it https://, or grpc://?)", "not HTTP/2"),
        ("closed", "(is it https://?)", "(is it grpcs://?)"),
        ("status_401", "answered with status 401: refused (give a key", "answered with status 401: refused"),
        ("status_418", None, None),
        ("status_503", None, None),
        ("timeout", None, None),
        ("sse_order", None, None),
        ("grpc_unauthenticated", "", "answered with UNAUTHENTICATED: refused (give a key"),
        ("grpc_unimplemented", "", "does this server have penstock.v1.Chat?"),
        ("grpc_content_type", "", "(does gRPC share the port there?)"),
        ("grpc_unavailable", None, None),
        ("grpc_resource_exhausted", None, None),
        ("grpc_order", None, None),
    ],
)
def test_what_every_request_would_get_is_told_with_its_fix(kind: str, of_rest: str | None, of_rpc: str | None) -> None:
    for expected, is_rpc in ((of_rest, False), (of_rpc, True)):
        found = said(kind, "refused", is_rpc=is_rpc)
        assert (found is None) == (expected is None)
        assert (expected or "") in (found or "")


def test_secrets_are_hidden_and_an_answer_is_enough() -> None:
    assert (
        said("grpc_not_found", "no sk-1", is_rpc=True) == "answered with NOT_FOUND: no *** (check the URL and --model)"
    )
    assert said("status_404") is not None
    assert "no body" in (said("status_404") or "")
    assert verdict(report(), is_rpc=False, hide=str) is None
    assert verdict(report(errors={"connect": 1}), is_rpc=False, hide=str) is None
