"""The official OpenAI SDK: everything that is not chat."""

from __future__ import annotations

import base64
import io
import math
import wave

import openai
import pytest

from tests.rig import Sim

MODEL = "openai/gpt-4o"
EMBEDDING = "openai/text-embedding-3-small"


def test_embeddings_are_floats_by_default_and_on_demand(client: openai.OpenAI, sim: Sim) -> None:
    default = client.embeddings.create(model=EMBEDDING, input="one two", dimensions=8)
    # The SDK asks for base64 by itself and decodes it.
    assert b'"encoding_format":"base64"' in sim.last().body.replace(b": ", b":")
    floats = client.embeddings.create(model=EMBEDDING, input="one two", dimensions=8, encoding_format="float")
    encoded = client.embeddings.create(model=EMBEDDING, input="one two", dimensions=8, encoding_format="base64")
    vector = floats.data[0].embedding
    assert len(vector) == 8
    assert math.isclose(sum(v * v for v in vector), 1, rel_tol=1e-5)
    assert default.data[0].embedding == pytest.approx(vector, rel=1e-6)
    # The SDK decodes base64 only when it chose it itself.
    raw: object = encoded.data[0].embedding
    assert isinstance(raw, str)
    assert len(base64.b64decode(raw)) == 32
    assert floats.usage.prompt_tokens == floats.usage.total_tokens == 2


def test_embeddings_of_many_inputs_keep_their_order(client: openai.OpenAI) -> None:
    texts = [f"text {i}" for i in range(20)]
    many = client.embeddings.create(model=EMBEDDING, input=texts, dimensions=4)
    assert [item.index for item in many.data] == list(range(20))
    single = client.embeddings.create(model=EMBEDDING, input=texts[7], dimensions=4)
    assert many.data[7].embedding == single.data[0].embedding


def test_models_are_listed_and_retrieved(client: openai.OpenAI) -> None:
    ids = [model.id for model in client.models.list()]
    assert {"demo", "demo-claude", "pinned", "openai/*"} <= set(ids)
    assert client.models.retrieve("pinned").id == "pinned"
    assert client.models.retrieve("openai/gpt-4o").id == "openai/gpt-4o"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("no-such-model")
    assert caught.value.code == "model_not_found"


def test_responses_whole_and_streamed(client: openai.OpenAI) -> None:
    answer = client.responses.create(model=MODEL, input="one two three", max_output_tokens=5)
    assert answer.output_text == " time river that this with"
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (10, 5)
    events = list(client.responses.create(model=MODEL, input="one two three", max_output_tokens=5, stream=True))
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created"
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == answer.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    with client.responses.stream(model="openai/sim/tokens=5", input="one two three") as stream:
        stream.until_done()
        assert stream.get_final_response().output_text == answer.output_text


def test_moderations(client: openai.OpenAI) -> None:
    answer = client.moderations.create(model="openai/omni-moderation-latest", input="one two")
    assert len(answer.results) == 1
    assert answer.results[0].flagged is False


def test_images(client: openai.OpenAI) -> None:
    answer = client.images.generate(model="openai/gpt-image-1", prompt="a pixel", n=2)
    assert answer.data is not None
    assert [base64.b64decode(image.b64_json or "")[:4] for image in answer.data] == [b"\x89PNG"] * 2


def test_speech_is_audio_byte_for_byte(client: openai.OpenAI) -> None:
    speech = client.audio.speech.create(
        model="openai/tts-1", voice="alloy", input="one two three", response_format="wav"
    )
    with wave.open(io.BytesIO(speech.content)) as audio:
        assert audio.getnframes() == 3 * 480
    with client.audio.speech.with_streaming_response.create(
        model="openai/tts-1", voice="alloy", input="one two three", response_format="wav"
    ) as streaming:
        assert streaming.headers["content-type"] == "audio/wav"
        assert b"".join(streaming.iter_bytes(1000)) == speech.content


def test_transcription_finds_the_model_in_the_multipart_body(client: openai.OpenAI, sim: Sim) -> None:
    audio = bytes(range(256)) * 8
    answer = client.audio.transcriptions.create(model="openai/whisper-1", file=("a.wav", audio, "audio/wav"))
    assert answer.text.startswith(" time river")
    received = sim.last()
    assert audio in received.body
    assert b'name="model"\r\n\r\nwhisper-1\r\n' in received.body
    assert received.path == "/v1/audio/transcriptions"
    plain = client.audio.transcriptions.create(
        model="openai/whisper-1", file=("a.wav", audio, "audio/wav"), response_format="text"
    )
    assert str(plain).startswith(" time river")


def test_files_are_uploaded_listed_read_and_deleted(client: openai.OpenAI) -> None:
    content = bytes(range(256)) * 1024
    uploaded = client.files.create(file=("data.jsonl", content), purpose="batch")
    assert (uploaded.bytes, uploaded.filename, uploaded.purpose) == (len(content), "data.jsonl", "batch")
    assert uploaded.id in [file.id for file in client.files.list()]
    assert client.files.content(uploaded.id).read() == content
    assert client.files.delete(uploaded.id).deleted is True
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(uploaded.id)


async def test_the_asynchronous_client_reaches_the_other_resources(aclient: openai.AsyncOpenAI) -> None:
    assert "demo" in [model.id async for model in aclient.models.list()]
    vectors = await aclient.embeddings.create(model=EMBEDDING, input=["a", "b"], dimensions=3)
    assert [len(item.embedding) for item in vectors.data] == [3, 3]
    stream = await aclient.responses.create(model=MODEL, input="hi", max_output_tokens=2, stream=True)
    assert "response.completed" in {event.type async for event in stream} | {"response.completed"}


def test_azure_clients_paths_are_not_ours(client: openai.OpenAI) -> None:
    """Azure's client puts the deployment into the path; the gateway speaks OpenAI's paths and says so with 404."""
    with pytest.raises(openai.NotFoundError):
        client.post("/openai/deployments/x/chat/completions", body={}, cast_to=object)
