"""Same wire in and out: the bytes go through untouched in both directions, but for the model and the credentials."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Gateway
from tests.rig import Sim

REQUESTS: dict[str, bytes] = {
    "plain": b'{"model":"openai/m","messages":[]}',
    "white space": b' \n{\r\n\t"messages" :\t[ ] ,\n\n  "model"\t:\t"openai/m"  \n}\r\n ',
    "key order": b'{"z":1,"messages":[],"a":2,"model":"openai/m","b":3}',
    "unicode escapes": b'{"model":"openai/m","messages":[{"role":"user",'
    b'"content":"\\u00e9\\uD83D\\uDE00 \xc3\xa9 \xf0\x9f\x98\x80 \\/ \\u0000"}]}',
    "escapes in keys": b'{"mess\\u0061ges":[],"x\\n\\"y":1,"model":"openai/m"}',
    "big numbers": b'{"seed":123456789012345678901234567890,"x":1e400,"y":-0.0,'
    b'"z":1.10000000000000000001E-7,"model":"openai/m","messages":[]}',
    "unknown fields": b'{"model":"openai/m","messages":[],"guided_json":{"a":[null,true,{"b":[]}]},"vendor:x":"y"}',
    "unknown fields twice": b'{"x":1,"model":"openai/m","x":2,"messages":[],"x":{"x":3}}',
    "nulls and empties": b'{"model":"openai/m","messages":[],"stop":null,"tools":[],"metadata":{},"user":""}',
    "models elsewhere": b'{"meta":{"model":"openai/m"},'
    b'"messages":[{"role":"user","content":"\\"model\\":\\"openai/m\\""}],"model":"openai/m"}',
    "no bound taken away": b'{"model":"openai/m","messages":[],"max_tokens":7,"max_completion_tokens":7,"n":1,"logit_bias":{"50256":-100}}',
    "stream false": b'{"model":"openai/m","messages":[],"stream":false}',
    "deep": b'{"model":"openai/m","messages":[],"deep":' + b"[" * 100 + b"]" * 100 + b"}",
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_a_request_differs_in_its_model_only(door: Gateway, sim: Sim, name: str, path: str) -> None:
    sent = REQUESTS[name]
    with door.client(headers={**door.admin, "content-type": "application/json"}) as client:
        answer = client.post(path, content=sent)
    assert "x-sim-seq" in answer.headers, answer.text
    cut = sent.rindex(b'"openai/m"') if name == "models elsewhere" else sent.index(b'"openai/m"')
    assert sim.of(answer).body == sent[:cut] + b'"m"' + sent[cut + len(b'"openai/m"') :]


@pytest.mark.parametrize("name", REQUESTS)
def test_messages_requests_differ_in_their_model_only(door: Gateway, sim: Sim, name: str) -> None:
    sent = REQUESTS[name].replace(b"openai/m", b"anthropic/m")
    with door.client(headers={**door.admin, "content-type": "application/json"}) as client:
        answer = client.post("/v1/messages", content=sent)
    assert "x-sim-seq" in answer.headers, answer.text
    mark = b'"anthropic/m"'
    cut = sent.rindex(mark) if name == "models elsewhere" else sent.index(mark)
    assert sim.of(answer).body == sent[:cut] + b'"m"' + sent[cut + len(mark) :]


def test_a_request_whose_model_is_the_upstreams_is_not_touched(door: Gateway, sim: Sim) -> None:
    sent = b'{ "messages":[ ],"model":"s\\u0061me" }'
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/chat/completions", content=sent)
    assert sim.of(answer).body == sent


def test_an_escaped_model_name_is_understood(door: Gateway, sim: Sim) -> None:
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/chat/completions", content=b'{"model":"openai\\/\\u006d","messages":[]}')
    assert sim.of(answer).body == b'{"model":"m","messages":[]}'


WHOLE: dict[str, bytes] = {
    "plain": b'{"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}',
    "odd": b'\n { "z" : 1e400, "\\u0061":"\\ud83d\\ude00", "choices":[ ],"x":1,"x":2 }\r\n\r\n',
    "not JSON": b"\xff\xfe plainly not JSON \x00",
    "keep-alive blanks before": b"\n\n\n\n" + b'{"choices":[]}',
    "empty": b"",
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("status", [200, 418, 500])
@pytest.mark.parametrize("split", [None, [1, 2, 3]])
def test_a_whole_answer_is_passed_on_byte_for_byte(
    door: Gateway, sim: Sim, name: str, status: int, split: list[int] | None
) -> None:
    sim.record("whole", WHOLE[name], "application/json; charset=x", status=status, split=split)
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/chat/completions", json={"model": "openai/replay/whole", "messages": []})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json; charset=x"
    assert answer.content == WHOLE[name]


CHUNK = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}'
LAST = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
DONE = b"data: [DONE]"
STREAMS: dict[str, bytes] = {
    "plain": b"\n\n".join([CHUNK, LAST, DONE, b""]),
    "CRLF": b"\r\n\r\n".join([CHUNK, LAST, DONE, b""]),
    "CR": b"\r\r".join([CHUNK, LAST, DONE, b""]),
    "comments": b": hello\n\n" + CHUNK + b"\n: in between\n\n:\n\n" + LAST + b"\n\n" + DONE + b"\n\n: after\n\n",
    "several data lines": b'data: {"id":"c",\ndata: "choices":[]}\n\n' + LAST + b"\n\n" + DONE + b"\n\n",
    "id, retry and event": b"id: 7\nretry: 100\nevent: message\n" + CHUNK + b"\n\n" + LAST + b"\n\n" + DONE + b"\n\n",
    "no space": b"\n\n".join([CHUNK, LAST, DONE, b""]).replace(b"data: ", b"data:"),
    "no final newline": b"\n\n".join([CHUNK, LAST, DONE]),
    "one final newline": b"\n\n".join([CHUNK, LAST, DONE]) + b"\n",
    "blank lines": b"\n\n\n" + CHUNK + b"\n\n\n\n" + LAST + b"\n\n" + DONE + b"\n\n\n\n",
    "byte order mark": b"\xef\xbb\xbf" + b"\n\n".join([CHUNK, LAST, DONE, b""]),
    "not JSON": b"data: hello\n\ndata: {\n\ndata\n\nfoo: bar\n\n" + LAST + b"\n\n" + DONE + b"\n\n",
    "after the end": b"\n\n".join([CHUNK, LAST, DONE, CHUNK, b""]),
    "an error event": CHUNK + b'\n\ndata: {"error":{"message":"overloaded","code":"x"}}\n\n' + DONE + b"\n\n",
    "large": CHUNK.replace(b'"a"', b'"' + b"x" * 700_000 + b'"') + b"\n\n" + LAST + b"\n\n" + DONE + b"\n\n",
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("pieces", [None, 1, 37], ids=["whole", "bytes", "pieces"])
def test_a_stream_is_passed_on_byte_for_byte(door: Gateway, sim: Sim, name: str, pieces: int | None) -> None:
    stream = STREAMS[name]
    if pieces is not None and len(stream) > 10_000:
        pieces = 70_000
    split = None if pieces is None else [pieces] * (len(stream) // pieces)
    sim.record("stream", stream, "text/event-stream; charset=utf-8", split=split)
    # The usage is asked for, so that the gateway has nothing of its own to take out.
    body: dict[str, Any] = {"model": "openai/replay/stream", "messages": [], "stream": True}
    body["stream_options"] = {"include_usage": True}
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.content == stream


@pytest.mark.parametrize("separator", [b"\n\n", b"\r\n\r\n"])
def test_a_messages_stream_is_passed_on_byte_for_byte(door: Gateway, sim: Sim, separator: bytes) -> None:
    newline = separator[: len(separator) // 2]
    events = [
        (
            b"message_start",
            b'{"type":"message_start","message":{"id":"m","usage":{"input_tokens":3,"output_tokens":1}}}',
        ),
        (b"ping", b'{"type": "ping"}'),
        (b"content_block_delta", b'{"type":"content_block_delta","index":0,"delta":{"type":"new_delta","x":1e99}}'),
        (b"unheard_of", b'{"type":"unheard_of"}'),
        (b"message_delta", b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":4}}'),
        (b"message_stop", b'{"type":"message_stop"}'),
    ]
    stream = separator.join([b"event: " + kind + newline + b"data: " + data for kind, data in events] + [b""])
    sim.record("messages", stream, "text/event-stream")
    body = {"model": "anthropic/replay/messages", "max_tokens": 9, "messages": [], "stream": True}
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/messages", json=body)
    assert answer.content == stream


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "text/plain", "application/octet-stream"])
def test_streams_of_other_types_are_passed_on(door: Gateway, sim: Sim, content_type: str) -> None:
    content = b"".join(b'{"n":%d}\n' % i for i in range(5_000))
    sim.record("other", content, content_type, split=[100] * 100)
    with door.client(headers=door.admin) as client:
        answer = client.post("/v1/audio/speech", json={"model": "openai/replay/other", "input": "a"})
    assert answer.content == content
    assert answer.headers["content-type"] == content_type


def test_an_answer_compressed_anyway_keeps_its_bytes(door: Gateway, sim: Sim) -> None:
    import gzip

    packed = gzip.compress(b'{"choices":[]}')
    sim.record("packed", packed, "application/json", headers={"content-encoding": "gzip"})
    with door.client(headers=door.admin) as client:
        request = client.build_request(
            "POST", "/v1/chat/completions", json={"model": "openai/replay/packed", "messages": []}
        )
        answer = client.send(request, stream=True)
        raw = b"".join(answer.iter_raw())
        answer.close()
    assert answer.headers["content-encoding"] == "gzip"
    assert raw == packed
