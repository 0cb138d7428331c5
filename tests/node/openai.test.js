// The official OpenAI Node SDK against a running gateway.
//
// Apart from the Python tests because the two SDKs parse streams, raise errors and cancel calls each in their own way.
// PENSTOCK_URL is the gateway's address without /v1, PENSTOCK_KEY a key that may use every model; PENSTOCK_MODEL (demo)
// must be answered by the simulator, whose words come in a known order; PENSTOCK_SLOW_MODEL must stream for seconds.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import OpenAI from 'openai';

const url = process.env.PENSTOCK_URL;
const apiKey = process.env.PENSTOCK_KEY;
const model = process.env.PENSTOCK_MODEL ?? 'demo';
const slowModel = process.env.PENSTOCK_SLOW_MODEL ?? 'sim/ttft=0,tps=20,tokens=400';
assert.ok(url && apiKey, 'set PENSTOCK_URL and PENSTOCK_KEY');

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, timeout: 20_000 });
const messages = [{ role: 'user', content: 'one two three' }];
const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'The weather at a place',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};

/** All chunks of a stream, and what they add up to. */
async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return {
    chunks,
    text: chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? '').join(''),
    finish: chunks.map((chunk) => chunk.choices[0]?.finish_reason).filter(Boolean),
    usage: chunks.map((chunk) => chunk.usage).filter(Boolean),
  };
}

describe('chat completions', () => {
  test('an answer with its usage and the gateway headers', async () => {
    const { data, response } = await client.chat.completions.create({ model, messages }).withResponse();
    assert.equal(data.object, 'chat.completion');
    assert.match(data.choices[0].message.content, /^ time\b/);
    assert.ok(['stop', 'length'].includes(data.choices[0].finish_reason));
    assert.ok(data.usage.prompt_tokens > 0);
    assert.ok(data.usage.completion_tokens > 0);
    assert.equal(data.usage.total_tokens, data.usage.prompt_tokens + data.usage.completion_tokens);
    assert.ok(response.headers.get('x-penstock-call-id'));
  });

  test('max_tokens reaches the model', async () => {
    const answer = await client.chat.completions.create({ model, messages, max_tokens: 3 });
    assert.equal(answer.usage.completion_tokens, 3);
    assert.equal(answer.choices[0].finish_reason, 'length');
  });

  test('a stream says what the unary answer says, in order, and ends once', async () => {
    const request = { model, messages, max_tokens: 8 };
    const unary = await client.chat.completions.create(request);
    const streamed = await collect(await client.chat.completions.create({ ...request, stream: true }));
    assert.equal(streamed.text.trim(), unary.choices[0].message.content.trim());
    assert.equal(streamed.text, ' time river that this with from have your');
    assert.deepEqual(streamed.finish, [unary.choices[0].finish_reason]);
    assert.deepEqual(streamed.usage, [], 'usage was not asked for');
  });

  test('include_usage adds one usage chunk without choices, as the last', async () => {
    const { chunks, usage } = await collect(
      await client.chat.completions.create({
        model, messages, max_tokens: 4, stream: true, stream_options: { include_usage: true },
      }),
    );
    assert.equal(usage.length, 1);
    assert.equal(usage[0].completion_tokens, 4);
    assert.deepEqual(chunks.at(-1).choices, []);
  });

  test('the stream helper assembles a completion', async () => {
    const runner = client.chat.completions.stream({ model, messages, max_tokens: 5 });
    const completion = await runner.finalChatCompletion();
    assert.match(completion.choices[0].message.content, /^ time river that this with$/);
  });
});

describe('tools', () => {
  const request = { model, messages, tools: [weather], tool_choice: 'required' };

  test('a call, and the answer to its result', async () => {
    const first = await client.chat.completions.create(request);
    assert.equal(first.choices[0].finish_reason, 'tool_calls');
    const [call] = first.choices[0].message.tool_calls;
    assert.equal(call.function.name, 'get_weather');
    assert.equal(typeof JSON.parse(call.function.arguments), 'object');

    const second = await client.chat.completions.create({
      model,
      tools: [weather],
      messages: [...messages, first.choices[0].message, { role: 'tool', tool_call_id: call.id, content: 'sunny' }],
    });
    assert.match(second.choices[0].message.content, /^ time\b/);
  });

  test('streamed fragments make the same arguments', async () => {
    const unary = await client.chat.completions.create(request);
    const { chunks, finish } = await collect(await client.chat.completions.create({ ...request, stream: true }));
    const fragments = chunks.flatMap((chunk) => chunk.choices[0]?.delta?.tool_calls ?? []);
    assert.equal(fragments.find((fragment) => fragment.function?.name)?.function.name, 'get_weather');
    const joined = fragments.map((fragment) => fragment.function?.arguments ?? '').join('');
    const expected = unary.choices[0].message.tool_calls[0].function.arguments;
    assert.deepEqual(JSON.parse(joined), JSON.parse(expected));
    assert.deepEqual(finish, ['tool_calls']);
  });
});

describe('embeddings and models', () => {
  test('one vector for each input, in the encoding the SDK asks for by itself (base64) and in plain numbers', async () => {
    const input = ['first text', 'second text'];
    const plain = await client.embeddings.create({ model, input, encoding_format: 'float' });
    assert.deepEqual(plain.data.map((entry) => entry.index), [0, 1]);
    assert.ok(plain.data.every((entry) => entry.embedding.length > 0 && entry.embedding.every(Number.isFinite)));
    assert.ok(plain.usage.prompt_tokens > 0);

    const packed = await client.embeddings.create({ model, input });
    assert.equal(packed.data.length, 2);
    packed.data.forEach((entry, at) => {
      assert.equal(entry.embedding.length, plain.data[at].embedding.length);
      entry.embedding.forEach((value, n) => assert.ok(Math.abs(value - plain.data[at].embedding[n]) < 1e-5));
    });
  });

  test('the list has the model, and the model can be asked for by its name', async () => {
    const ids = [];
    for await (const entry of client.models.list()) ids.push(entry.id);
    assert.ok(ids.includes(model), `${model} is not among ${ids}`);
    assert.equal((await client.models.retrieve(model)).id, model);
  });
});

describe('errors', () => {
  test('a wrong key', async () => {
    const stranger = client.withOptions({ apiKey: 'sk-nobody' });
    await assert.rejects(stranger.chat.completions.create({ model, messages }), (error) => {
      assert.ok(error instanceof OpenAI.AuthenticationError, `${error.constructor.name}: ${error.message}`);
      assert.equal(error.status, 401);
      assert.ok(error.error?.message, 'the body has the shape of an OpenAI error');
      assert.ok(!error.message.includes('sk-nobody'), 'the key is not repeated');
      return true;
    });
  });

  test('a wrong key on a stream fails before the first chunk', async () => {
    const stranger = client.withOptions({ apiKey: 'sk-nobody' });
    await assert.rejects(
      stranger.chat.completions.create({ model, messages, stream: true }),
      OpenAI.AuthenticationError,
    );
  });

  test('an unknown model and a body without messages are the client\'s errors', async () => {
    await assert.rejects(client.chat.completions.create({ model: 'no-such-model', messages }), (error) => {
      assert.ok(error instanceof OpenAI.APIError);
      assert.ok([400, 403, 404].includes(error.status), `status ${error.status}`);
      assert.match(error.message, /no-such-model/);
      return true;
    });
    await assert.rejects(client.chat.completions.create({ model }), OpenAI.BadRequestError);
  });
});

describe('cancellation', () => {
  const request = { model: slowModel, messages, stream: true };

  test('breaking out of a stream closes it', async () => {
    const stream = await client.chat.completions.create(request);
    let seen = 0;
    for await (const chunk of stream) {
      if (chunk.choices[0]?.delta?.content && ++seen === 3) break;
    }
    assert.equal(seen, 3);
    assert.ok(stream.controller.signal.aborted);
  });

  test('an abort ends the iteration long before the stream would have ended, and the gateway goes on', async () => {
    const started = Date.now();
    const stream = await client.chat.completions.create(request);
    let text = '';
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? '';
      if (text.includes(' river')) stream.controller.abort();
    }
    assert.match(text, /^ time/);
    assert.ok(!text.includes(' before'), 'the stream went on after the abort');
    assert.ok(Date.now() - started < 10_000);
    const after = await client.chat.completions.create({ model, messages, max_tokens: 2 });
    assert.equal(after.usage.completion_tokens, 2);
  });

  test('a signal that fires before the answer rejects the call', async () => {
    const controller = new AbortController();
    const call = client.chat.completions.create(request, { signal: controller.signal });
    controller.abort();
    await assert.rejects(call, OpenAI.APIUserAbortError);
  });
});
