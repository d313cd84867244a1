// Resources, prompts and completions. Run by test_offers.py, which has the upstream.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connected, lines, tenants } from './tenants.mjs';

for (const [line, Client, Transport] of lines) {
  test(`${line}: two tenants at once, each its own`, async () => {
    await Promise.all(
      tenants.map(async ({ token, own, foreign }) => {
        const client = await connected(Client, Transport, token);
        const { resources } = await client.listResources();
        const { resourceTemplates } = await client.listResourceTemplates();
        const { prompts } = await client.listPrompts();
        const template = resourceTemplates[0].uriTemplate;
        const argument = { name: 'book', value: 'mo' };
        for (const said of [
          resources,
          await client.readResource({ uri: resources[0].uri }),
          await client.readResource({ uri: template.replace('{?name}', '?name=moby') }),
          await client.getPrompt({ name: prompts[0].name, arguments: { book: 'moby' } }),
          await client.complete({ ref: { type: 'ref/prompt', name: prompts[0].name }, argument }),
        ]) {
          const text = JSON.stringify(said);
          assert.ok(text.includes(own) && !text.includes(foreign), text);
        }
        await client.close();
      }),
    );
  });

  test(`${line}: another tenant's handle opens nothing`, async () => {
    const [ours, theirs] = await Promise.all(tenants.map(({ token }) => connected(Client, Transport, token)));
    const { resources } = await theirs.listResources();
    for (const uri of [resources[0].uri, 'library://mine', 'bulkhead:1_AAAA']) {
      await assert.rejects(ours.readResource({ uri }), (error) => !String(error).includes(tenants[0].foreign));
    }
    await Promise.all([ours.close(), theirs.close()]);
  });
}
