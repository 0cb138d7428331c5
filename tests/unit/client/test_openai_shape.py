"""The clients in the call shape of OpenAI's SDK."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from penstock.client import AnswerMetadata, AsyncClient, Cancelled, Client
from penstock.client import _calls as calls
from penstock.client import _messages as pb
from tests.unit.client.gateway import Gateway, answer, chunk

MESSAGES = [{"role": "user", "content": "hi"}]


def _tool_answer(request: Any, context: Any) -> pb.ChatCreateResponse:
    made = answer("x")
    message = made.choices[0].message
    message.ClearField("content")
    message.tool_calls.add(id="c", type="function", function={"name": "f", "arguments": "{}"})
    made.extra["provider"] = "p"
    return made


def test_create(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[calls.CHAT_CREATE.path] = _tool_answer
    openai = client.as_openai()
    got = openai.chat.completions.create(
        model="m", messages=MESSAGES, metadata={"a": "b"}, extra_headers={"X-Team": "blue"}, temperature=None, timeout=5
    )
    message = got.choices[0].message
    assert message.content is None
    assert message.refusal is None
    assert message.reasoning_content is None
    assert message.tool_calls[0].function.name == "f"
    assert message.tool_calls[0].custom is None
    assert got.object == "chat.completion"
    assert got.usage.total_tokens == 3
    assert got.usage.prompt_tokens_details is None
    assert got.service_tier is None
    assert got.provider == "p"
    with pytest.raises(AttributeError):
        _ = got.nothing
    (sent,) = gateway.requests
    assert dict(sent.metadata) == {"a": "b"}
    assert gateway.metadata[0]["x-team"] == "blue"
    # What was answered goes back as a message.
    openai.chat.completions.create(model="m", messages=[*MESSAGES, message])
    assert gateway.requests[1].messages[1].tool_calls[0].id == "c"
    assert gateway.requests[1].messages[1].WhichOneof("content") == "null_content"


def test_the_same_dictionary_as_the_sdk(gateway: Gateway, client: Client) -> None:
    chat = pytest.importorskip("openai.types.chat")
    gateway.behaviours[calls.CHAT_CREATE.path] = _tool_answer
    dumped = client.as_openai().chat.completions.create(model="m", messages=MESSAGES).model_dump()
    parsed = chat.ChatCompletion.model_validate(dumped)
    assert parsed.choices[0].message.tool_calls[0].function.arguments == "{}"
    assert parsed.model_dump(exclude_unset=True) == dumped


def test_messages_of_the_sdk_are_taken(gateway: Gateway, client: Client) -> None:
    chat = pytest.importorskip("openai.types.chat")
    gateway.behaviours[calls.CHAT_CREATE.path] = lambda request, context: answer("x")
    message = chat.ChatCompletionMessage(role="assistant", content="said")
    client.chat.create(model="m", messages=[message])
    assert gateway.requests[0].messages[0].text == "said"


def test_stream(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[calls.CHAT_STREAM.path] = lambda request, context: iter(
        [chunk("a"), chunk("b"), pb.ChatStreamResponse(id="a", usage={"total_tokens": 3})]
    )
    stream = client.as_openai().chat.completions.create(
        model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    got = list(stream)
    assert [item.choices[0].delta.content for item in got[:2]] == ["a", "b"]
    assert got[0].choices[0].finish_reason is None
    assert got[0].choices[0].delta.tool_calls is None
    assert got[2].choices == []
    assert got[2].usage.total_tokens == 3
    assert gateway.requests[0].stream_options.include_usage


def test_the_rest(gateway: Gateway, client: Client) -> None:
    gateway.behaviours |= {
        calls.EMBEDDINGS_CREATE.path: lambda request, context: pb.EmbeddingsCreateResponse(data=[{"embedding": [0.5]}]),
        calls.COMPLETIONS_CREATE.path: lambda request, context: pb.CompletionsCreateResponse(choices=[{"text": "t"}]),
        calls.COMPLETIONS_STREAM.path: lambda request, context: iter(
            [pb.CompletionsStreamResponse(choices=[{"text": "t"}])]
        ),
        calls.MODELS_LIST.path: lambda request, context: pb.ModelsListResponse(models=[{"id": "a"}]),
        calls.MODELS_GET.path: lambda request, context: pb.ModelsGetResponse(model={"id": request.id}),
        calls.RESPONSES_CREATE.path: lambda request, context: pb.ResponsesCreateResponse(
            body_json='{"id":"r","output":[{"type":"message"}]}'
        ),
        calls.RESPONSES_STREAM.path: lambda request, context: iter(
            [pb.ResponsesStreamResponse(event="response.created", data_json='{"type":"response.created"}')]
        ),
    }
    openai = client.as_openai()
    assert openai.embeddings.create(model="e", input="x").data[0].embedding == [0.5]
    assert openai.completions.create(model="c", prompt="x").choices[0].text == "t"
    assert [item.choices[0].text for item in openai.completions.create(model="c", prompt="x", stream=True)] == ["t"]
    assert [model.id for model in openai.models.list().data] == ["a"]
    assert openai.models.retrieve("z").id == "z"
    assert openai.responses.create(model="r", input="x", metadata={"k": "v"}).output[0].type == "message"
    assert gateway.requests[-1].body_json == '{"model":"r","input":"x","metadata":{"k":"v"}}'
    assert [item.type for item in openai.responses.create(model="r", input="x", stream=True)] == ["response.created"]
    with pytest.raises(AttributeError, match="parse"):
        openai.chat.completions.parse(model="m")


async def test_the_twin(gateway: Gateway, aclient: AsyncClient) -> None:
    gateway.behaviours |= {
        calls.CHAT_CREATE.path: lambda request, context: answer("x"),
        calls.CHAT_STREAM.path: lambda request, context: iter([chunk("a"), chunk("b")]),
        calls.EMBEDDINGS_CREATE.path: lambda request, context: pb.EmbeddingsCreateResponse(data=[{"embedding": [0.5]}]),
        calls.MODELS_LIST.path: lambda request, context: pb.ModelsListResponse(models=[{"id": "a"}]),
        calls.RESPONSES_CREATE.path: lambda request, context: pb.ResponsesCreateResponse(body_json='{"id":"r"}'),
    }
    openai = aclient.as_openai()
    got = await openai.chat.completions.create(model="m", messages=MESSAGES)
    assert got.choices[0].message.content == "x"
    stream = await openai.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    assert [item.choices[0].delta.content async for item in stream] == ["a", "b"]
    assert (await openai.embeddings.create(model="e", input="x")).data[0].embedding == [0.5]
    assert (await openai.models.list()).data[0].id == "a"
    assert (await openai.responses.create(model="r", input="x")).id == "r"


def test_null_is_none(gateway: Gateway, client: Client) -> None:
    made = answer("x")
    made.choices[0].extra["logprobs"] = None
    made.choices[0].message.extra["audio"] = None
    gateway.behaviours[calls.CHAT_CREATE.path] = lambda request, context: made
    got = client.as_openai().chat.completions.create(model="m", messages=MESSAGES)
    assert got.choices[0].logprobs is None
    assert got.choices[0].message.audio is None
    assert got.model_dump()["choices"][0]["logprobs"] is None
    made.choices[0].logprobs.content.add(token="t")
    made.choices[0].ClearField("extra")
    got = client.as_openai().chat.completions.create(model="m", messages=MESSAGES)
    assert got.choices[0].logprobs.content[0].token == "t"


def test_answers_are_objects_of_python(gateway: Gateway, client: Client) -> None:
    gateway.behaviours[calls.CHAT_CREATE.path] = _tool_answer
    got = client.as_openai().chat.completions.create(model="m", messages=MESSAGES)
    for twin in (copy.copy(got), copy.deepcopy(got), pickle.loads(pickle.dumps(got))):
        assert twin == got
        assert twin.choices[0].message.content is None
    assert "index" in got.choices[0]
    assert "nothing" not in got
    assert dict(got)["object"] == "chat.completion"


def test_what_has_its_own_name_but_no_place_is_shown_as_it_came(gateway: Gateway, client: Client) -> None:
    made = answer("x")
    call = made.choices[0].message.tool_calls.add(id="1")
    call.function.name = "f"
    call.extra["custom"] = {"name": "c", "input": "i"}
    gateway.behaviours[calls.CHAT_CREATE.path] = lambda request, context: made
    message = client.as_openai().chat.completions.create(model="m", messages=MESSAGES).choices[0].message
    shown = message.tool_calls[0]
    assert (shown.function.name, shown.custom.name, shown.custom.input) == ("f", "c", "i")
    assert shown.model_dump()["custom"] == {"name": "c", "input": "i"}


def test_models_are_iterated(gateway: Gateway, client: Client) -> None:
    listed = pb.ModelsListResponse(models=[{"id": "a"}, {"id": "b"}])
    gateway.behaviours[calls.MODELS_LIST.path] = lambda request, context: listed
    page = client.as_openai().models.list()
    assert [model.id for model in page] == ["a", "b"]
    assert copy.copy(page).data[1].id == "b"


async def test_models_are_iterated_by_the_twin(gateway: Gateway, aclient: AsyncClient) -> None:
    listed = pb.ModelsListResponse(models=[{"id": "a"}, {"id": "b"}])
    gateway.behaviours[calls.MODELS_LIST.path] = lambda request, context: listed
    models = aclient.as_openai().models
    assert [model.id async for model in models.list()] == ["a", "b"]
    assert [model.id async for model in await models.list()] == ["a", "b"]


@pytest.mark.parametrize(
    "output, text",
    [
        (
            """[{"type": "message", "content": [{"type": "output_text", "text": "a"}, {"type": "refusal"}]},
                {"type": "reasoning"}, {"type": "message", "content": [{"type": "output_text", "text": "b"}]}]""",
            "ab",
        ),
        ("[]", ""),
        ("null", ""),
    ],
)
def test_text_of_a_response(gateway: Gateway, client: Client, output: str, text: str) -> None:
    body = f'{{"id":"r","object":"response","output":{output}}}'
    gateway.behaviours[calls.RESPONSES_CREATE.path] = lambda request, context: pb.ResponsesCreateResponse(
        body_json=body
    )
    got = client.as_openai().responses.create(model="r", input="x")
    assert got.output_text == text
    assert "output_text" not in got.model_dump()


@pytest.mark.parametrize("stream", [False, True])
def test_metadata_of_a_response(gateway: Gateway, client: Client, stream: bool) -> None:
    def told(context: Any) -> None:
        context.send_initial_metadata((("x-penstock-call-id", "c1"),))

    def create(request: Any, context: Any) -> Any:
        told(context)
        return pb.ResponsesCreateResponse(body_json="{}")

    def events(request: Any, context: Any) -> Any:
        told(context)
        yield pb.ResponsesStreamResponse(data_json="{}")

    gateway.behaviours[calls.RESPONSES_CREATE.path] = create
    gateway.behaviours[calls.RESPONSES_STREAM.path] = events
    metadata = AnswerMetadata()
    got = client.as_openai().responses.create(model="r", input="x", stream=stream, on_metadata=metadata)
    assert not stream or len(list(got)) == 1
    assert metadata.call_id == "c1"
    assert gateway.requests[0].body_json == '{"model":"r","input":"x"}'


def test_it_is_a_context_manager_as_the_sdk_s_client_is(gateway: Gateway) -> None:
    gateway.behaviours[calls.CHAT_CREATE.path] = lambda request, context: answer("x")
    client = Client(gateway.target, api_key="k")
    with client.as_openai() as openai:
        assert openai.chat.completions.create(model="m", messages=MESSAGES).choices[0].message.content == "x"
    # It is the client in another shape, and has no connection of its own.
    with pytest.raises(Cancelled, match="The client is closed"):
        client.chat.create(model="m", messages=MESSAGES)
    openai.close()
    client.close()


async def test_the_twin_is_a_context_manager_too(gateway: Gateway) -> None:
    gateway.behaviours[calls.CHAT_CREATE.path] = lambda request, context: answer("x")
    client = AsyncClient(gateway.target, api_key="k")
    async with client.as_openai() as openai:
        got = await openai.chat.completions.create(model="m", messages=MESSAGES)
        assert got.choices[0].message.content == "x"
    with pytest.raises(Cancelled, match="The client is closed"):
        await client.chat.create(model="m", messages=MESSAGES)
    await openai.close()
    await client.close()


def test_leaving_it_with_an_error_closes_and_raises(gateway: Gateway) -> None:
    client = Client(gateway.target, api_key="k")
    with pytest.raises(ZeroDivisionError), client.as_openai():
        raise ZeroDivisionError
    with pytest.raises(Cancelled, match="The client is closed"):
        client.info()
