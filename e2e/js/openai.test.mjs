import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';

import OpenAI, { toFile } from 'openai';

import { both, openai, tenants } from './accounts.mjs';

const { acme, globex } = tenants;
const parameters = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const said = (content) => [{ role: 'user', content }];

test('chat, for two tenants at once', async () => {
  const asked = both.map(async ([tenant, other]) => {
    const prompt = `hello ${randomUUID()}`;
    const answer = await openai(tenant).chat.completions.create({
      model: 'gpt',
      messages: said(prompt),
    });
    const { content } = answer.choices[0].message;
    assert.ok(content.endsWith(prompt) && content.includes(tenant.canary));
    assert.ok(!content.includes(other.canary));
    assert.equal(answer.usage.total_tokens, 18);
  });
  await Promise.all(asked);
});

test('a chat stream, and what the helper makes of it', async () => {
  const prompt = `stream ${randomUUID()}`;
  const stream = openai(acme).chat.completions.stream({ model: 'gpt', messages: said(prompt) });
  let text = '';
  for await (const chunk of stream) {
    text += chunk.choices[0].delta.content ?? '';
  }
  assert.ok(text.includes(prompt) && text.includes(acme.canary));
  assert.equal((await stream.finalChatCompletion()).choices[0].finish_reason, 'stop');
});

test('a streamed tool call', async () => {
  const tools = [{ type: 'function', function: { name: 'weather', parameters } }];
  const stream = openai(acme).chat.completions.stream({
    model: 'gpt',
    messages: said('weather?'),
    tools,
  });
  const [call] = (await stream.finalChatCompletion()).choices[0].message.tool_calls;
  assert.ok(JSON.parse(call.function.arguments).city.includes(acme.canary));
});

test('a response, its stream, and one that goes on from it', async () => {
  const sdk = openai(acme);
  const secret = `the code is ${randomUUID()}`;
  const stream = sdk.responses.stream({ model: 'gpt', input: secret });
  const kinds = [];
  for await (const event of stream) {
    kinds.push(event.type);
  }
  assert.equal(kinds[0], 'response.created');
  assert.equal(kinds.at(-1), 'response.completed');
  const first = await stream.finalResponse();
  const second = await sdk.responses.create({
    model: 'gpt',
    input: 'what was it?',
    previous_response_id: first.id,
  });
  assert.ok(second.output_text.includes(secret));
  assert.equal((await sdk.responses.retrieve(first.id)).id, first.id);
  const items = [];
  for await (const item of sdk.responses.inputItems.list(first.id)) {
    items.push(item);
  }
  assert.equal(items[0].content[0].text, secret);
  await sdk.responses.delete(first.id);
  await assert.rejects(sdk.responses.retrieve(first.id), OpenAI.NotFoundError);
});

test("another tenant's response is not found", async () => {
  const made = await openai(acme).responses.create({ model: 'gpt', input: 'ours' });
  await assert.rejects(openai(globex).responses.retrieve(made.id), OpenAI.NotFoundError);
  await assert.rejects(
    openai(globex).responses.create({
      model: 'gpt',
      input: 'whose?',
      previous_response_id: made.id,
    }),
    OpenAI.NotFoundError,
  );
});

test('embeddings', async () => {
  const made = await openai(acme).embeddings.create({ model: 'embed', input: ['one', 'two'] });
  assert.equal(made.data.length, 2);
  const length = Math.hypot(...made.data[0].embedding);
  assert.ok(Math.abs(length - 1) < 1e-6);
});

test('files and a batch', async () => {
  const sdk = openai(acme);
  const line = {
    custom_id: 'line-0',
    method: 'POST',
    url: '/v1/chat/completions',
    body: { model: 'gpt', messages: said('batched') },
  };
  const file = await toFile(Buffer.from(`${JSON.stringify(line)}\n`), 'batch.jsonl');
  const source = await sdk.files.create({ file, purpose: 'batch' });
  const batch = await sdk.batches.create({
    input_file_id: source.id,
    endpoint: '/v1/chat/completions',
    completion_window: '24h',
  });
  const done = await sdk.batches.retrieve(batch.id);
  assert.equal(done.status, 'completed');
  const content = await (await sdk.files.content(done.output_file_id)).text();
  assert.ok(content.includes(acme.canary));
  assert.ok((await sdk.files.delete(source.id)).deleted);
});

test('errors have their class', async () => {
  const sdk = openai(acme);
  const ask = (content) => sdk.chat.completions.create({ model: 'gpt', messages: said(content) });
  await assert.rejects(ask('standin:error=429'), OpenAI.RateLimitError);
  await assert.rejects(ask('standin:error=400'), OpenAI.BadRequestError);
  const stranger = openai({ token: 'nobody' });
  await assert.rejects(
    stranger.chat.completions.create({ model: 'gpt', messages: said('hello') }),
    OpenAI.AuthenticationError,
  );
});

test('a stream that is left', async () => {
  const stream = await openai(acme).chat.completions.create({
    model: 'gpt',
    messages: said('standin:hold'),
    stream: true,
  });
  for await (const _ of stream) {
    break;
  }
  assert.ok(stream.controller.signal.aborted);
});
