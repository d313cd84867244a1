import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';

import Anthropic from '@anthropic-ai/sdk';

import { anthropic, both, tenants } from './accounts.mjs';

const { acme } = tenants;
const ask = (content, more = {}) => ({
  model: 'claude',
  max_tokens: 2048,
  messages: [{ role: 'user', content }],
  ...more,
});
const weather = {
  name: 'weather',
  input_schema: { type: 'object', properties: { city: { type: 'string' } } },
};

test('messages, for two tenants at once', async () => {
  const asked = both.map(async ([tenant, other]) => {
    const prompt = `hello ${randomUUID()}`;
    const answer = await anthropic(tenant).messages.create(ask(prompt));
    const { text } = answer.content[0];
    assert.ok(text.endsWith(prompt) && text.includes(tenant.canary));
    assert.ok(!text.includes(other.canary));
    assert.equal(answer.usage.output_tokens, 11);
  });
  await Promise.all(asked);
});

test('a stream', async () => {
  const prompt = `stream ${randomUUID()}`;
  const stream = anthropic(acme).messages.stream(ask(prompt));
  let text = '';
  stream.on('text', (piece) => (text += piece));
  const message = await stream.finalMessage();
  assert.equal(message.content[0].text, text);
  assert.ok(text.endsWith(prompt) && text.includes(acme.canary));
});

test('a streamed tool call', async () => {
  const message = await anthropic(acme)
    .messages.stream(ask('weather?', { tools: [weather] }))
    .finalMessage();
  assert.equal(message.stop_reason, 'tool_use');
  assert.ok(message.content[0].input.city.includes(acme.canary));
});

test('thinking', async () => {
  const thinking = { type: 'enabled', budget_tokens: 1024 };
  const message = await anthropic(acme).messages.stream(ask('think', { thinking })).finalMessage();
  assert.deepEqual(
    message.content.map((block) => block.type),
    ['thinking', 'text'],
  );
});

test('tokens are counted', async () => {
  const { model, messages } = ask('one two three');
  const counted = await anthropic(acme).messages.countTokens({ model, messages });
  assert.ok(counted.input_tokens > 0);
});

test('errors have their class', async () => {
  const sdk = anthropic(acme);
  await assert.rejects(sdk.messages.create(ask('standin:error=429')), Anthropic.RateLimitError);
  await assert.rejects(sdk.messages.create(ask('standin:error=400')), Anthropic.BadRequestError);
  const stranger = anthropic({ token: 'nobody' });
  await assert.rejects(stranger.messages.create(ask('hello')), Anthropic.AuthenticationError);
});
