"""The rest of the OpenAI API reaches the right place upstream, on OpenAI's paths and on Azure's."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.conftest import Gateway
from tests.rig import AZURE_KEY, OPENAI_KEY, Received, Sim

# Method, path after /v1/, and whether Azure has it below a deployment.
FAMILIES = [
    ("POST", "responses", False),
    ("GET", "responses/resp_1", False),
    ("DELETE", "responses/resp_1", False),
    ("POST", "responses/resp_1/cancel", False),
    ("GET", "responses/resp_1/input_items", False),
    ("POST", "images/generations", True),
    ("POST", "images/edits", True),
    ("POST", "audio/speech", True),
    ("POST", "audio/transcriptions", True),
    ("POST", "audio/translations", True),
    ("POST", "moderations", False),
    ("POST", "rerank", False),
    ("GET", "files", False),
    ("GET", "files/file-1/content", False),
    ("DELETE", "files/file-1", False),
    ("POST", "uploads/upload_1/parts", False),
    ("POST", "batches", False),
    ("POST", "batches/b_1/cancel", False),
    ("POST", "fine_tuning/jobs", False),
    ("GET", "fine_tuning/jobs/ft-1/events", False),
    ("POST", "assistants", False),
    ("POST", "threads/th_1/runs", False),
    ("POST", "vector_stores/vs_1/search", False),
    ("POST", "containers", False),
    ("POST", "conversations", False),
    ("POST", "evals/e_1/runs", False),
    ("POST", "videos", False),
    ("POST", "ocr", False),
    ("POST", "score", False),
    ("GET", "chat/completions/chatcmpl-1/messages", False),
    ("POST", "chat/completions/chatcmpl-1", False),
]


def _send(gateway: Gateway, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {**gateway.admin, **options.pop("headers", {})}
    with gateway.client() as client:
        return client.request(method, path, headers=headers, **options)


def _arrived(gateway: Gateway, sim: Sim, method: str, path: str, **options: Any) -> Received:
    since = sim.mark()
    _send(gateway, method, path, **options)
    assert len(sim.ledger(since)) == 1, "one call, one request upstream"
    return sim.last()


@pytest.mark.parametrize("method, path, by_deployment", FAMILIES, ids=[f"{m} {p}" for m, p, _ in FAMILIES])
@pytest.mark.parametrize("prefix", ["/v1/", "/"])
@pytest.mark.parametrize("azure", [False, True], ids=["openai", "azure"])
def test_every_family_keeps_method_path_query_and_body(
    door: Gateway, sim: Sim, method: str, path: str, by_deployment: bool, prefix: str, azure: bool
) -> None:
    model = "azure-pinned" if azure else "pinned"
    upstream = "dep-1" if azure else "gpt-pinned"
    body = {"input": "a", "model": model, "metadata": {"k": "v"}}
    options: dict[str, Any] = {"json": body} if method == "POST" else {"headers": {"x-penstock-model": model}}
    received = _arrived(door, sim, method, f"{prefix}{path}?limit=3&after=x%2Fy", **options)
    assert received.method == method
    if azure:
        place = f"/openai/deployments/dep-1/{path}" if by_deployment else f"/openai/{path}"
        assert received.target == f"{place}?api-version=2024-10-21&limit=3&after=x%2Fy"
        assert received.values("api-key") == [AZURE_KEY]
    else:
        assert received.target == f"/v1/{path}?limit=3&after=x%2Fy"
        assert received.values("authorization") == [f"Bearer {OPENAI_KEY}"]
    if method == "POST":
        assert json.loads(received.body) == {**body, "model": upstream}
        assert received.values("content-type") == ["application/json"]
    else:
        assert received.body == b""
    assert door.admin_key not in str(received)


@pytest.mark.parametrize("path", ["/v2/rerank", "/v1/rerank", "/rerank"])
def test_rerank_is_one_route_upstream(door: Gateway, sim: Sim, path: str) -> None:
    answer = _send(door, "POST", path, json={"model": "pinned", "query": "a", "documents": ["b", "c"]})
    assert answer.status_code == 200, answer.text
    assert sim.of(answer).path == "/v1/rerank"
    assert len(answer.json()["results"]) == 2


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/../chat/completions",
        "/v1/files/%2e%2e/organization/projects",
        "/v1/files/..%2Forganization",
        "/v1/files/./x",
        "/v1/files/..;/x",
        "/v1/files/a\\..\\b",
    ],
)
def test_a_path_cannot_climb_out_of_its_family(door: Gateway, sim: Sim, path: str) -> None:
    """A provider's proxy may resolve dot segments: with the provider's key that would reach any of its routes."""
    import http.client
    from urllib.parse import urlsplit

    since = sim.mark()
    place = urlsplit(door.url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=20)
    try:
        connection.putrequest("GET", f"{path}?model=pinned", skip_host=False, skip_accept_encoding=True)
        connection.putheader("authorization", f"Bearer {door.admin_key}")
        connection.endheaders()
        assert connection.getresponse().status in (400, 404)
    finally:
        connection.close()
    assert sim.ledger(since) == []


@pytest.mark.parametrize("azure", [False, True], ids=["openai", "azure"])
def test_header_hygiene(door: Gateway, sim: Sim, azure: bool) -> None:
    sent = {
        "accept": "application/json, x/y",
        "accept-encoding": "gzip, br, zstd",
        "accept-language": "de",
        "cookie": "session=planted",
        "x-api-key": door.admin_key,
        "api-key": door.admin_key,
        "user-agent": "my-agent/7",
        "openai-beta": "assistants=v2",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x-trace-run": "12",
        "x-unlisted": "planted",
        "x-penstock-internal": "planted",
        "x-penstock-call-id": "planted",
        "x-forwarded-for": "203.0.113.7",
        "x-real-ip": "203.0.113.7",
        "forwarded": "for=203.0.113.7",
        "proxy-authorization": "Basic planted",
        "origin": "https://planted.example",
        "referer": "https://planted.example/",
        "te": "trailers",
        "keep-alive": "timeout=5",
        "x-trace-hop": "planted",
        "connection": "keep-alive, x-trace-hop",
    }
    model = "azure-pinned" if azure else "pinned"
    answer = _send(door, "POST", "/v1/moderations", json={"model": model, "input": "a"}, headers=sent)
    assert answer.status_code in (200, 404), answer.text
    received = sim.of(answer)
    wire = str(received)
    assert "planted" not in wire
    assert "203.0.113.7" not in wire
    assert door.admin_key not in wire
    assert door.url.rpartition("/")[2] not in wire
    for name in ("accept", "accept-language", "user-agent", "openai-beta", "traceparent", "x-trace-run"):
        assert received.values(name) == [sent[name]], name
    # The gateway reads usage from the answer, so it does not let the provider compress it.
    assert received.values("accept-encoding") in ([], ["identity"])
    assert received.values("x-penstock-call-id") == [answer.headers["x-penstock-call-id"]]
    assert [name.lower() for name, _ in received.headers].count("host") == 1
    assert received.values("authorization") == ([] if azure else [f"Bearer {OPENAI_KEY}"])
    assert received.values("api-key") == ([AZURE_KEY] if azure else [])
    assert received.values("x-api-key") == []


def test_answers_headers_are_the_providers_without_its_cookies(door: Gateway, sim: Sim) -> None:
    headers = {
        "set-cookie": "provider=1",
        "openai-model": "m",
        "x-request-id": "r-1",
        "x-penstock-model": "forged",
        "x-internal": "shown",
        "strict-transport-security": "max-age=1",
        "access-control-allow-origin": "*",
    }
    sim.record("headers", b"{}", "application/json", headers=headers)
    answer = _send(door, "POST", "/v1/batches", json={"model": "openai/replay/headers"})
    assert "set-cookie" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["openai-model"] == "m"
    assert answer.headers["x-request-id"] == "r-1"
    assert answer.headers["x-penstock-model"] == "openai/replay/headers"


def test_the_multipart_boundary_and_every_other_byte_are_kept(door: Gateway, sim: Sim) -> None:
    audio = bytes(range(256)) * 40 + b"\r\n--not-the-boundary\r\n"
    lines = [
        b"--B=o:u'n/d",
        b'Content-Disposition: form-data; name="file"; filename="model"',
        b"Content-Type: audio/wav\r\n",
        audio,
        b"--B=o:u'n/d",
        b'content-disposition: form-data; name="model"\r\n',
        b"openai/whisper-1",
        b"--B=o:u'n/d",
        b'Content-Disposition: form-data; name="x"\r\n',
        b"openai/whisper-1",
        b"--B=o:u'n/d--\r\n",
    ]
    body = b"\r\n".join(lines)
    content_type = 'multipart/form-data; charset=utf-8; boundary="B=o:u\'n/d"'
    answer = _send(door, "POST", "/v1/audio/transcriptions", content=body, headers={"content-type": content_type})
    received = sim.of(answer)
    assert received.values("content-type") == [content_type]
    assert received.body == body.replace(b"openai/whisper-1", b"whisper-1", 1)
    assert answer.status_code == 200, answer.text


def test_a_large_download_is_streamed(door: Gateway, sim: Sim) -> None:
    """The first bytes are here while the upstream still has most of them."""
    content = bytes(i * 7 % 256 for i in range(1 << 16)) * 480
    with door.client(headers=door.admin) as client:
        uploaded = client.post(
            "/v1/files", files={"file": ("big.bin", content)}, data={"purpose": "batch", "model": "pinned"}
        )
        assert uploaded.status_code == 200, uploaded.text
        since = sim.mark()
        with client.stream("GET", f"/v1/files/{uploaded.json()['id']}/content") as answer:
            assert answer.headers["content-length"] == str(len(content))
            pieces = answer.iter_raw()
            received = next(pieces)
            assert sim.ledger(since)[0]["outcome"] == "open"
            received += b"".join(pieces)
    assert received == content
