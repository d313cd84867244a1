// Tools. Run by test_mcp.py, which has the upstream.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connected, lines, tenants } from './tenants.mjs';

for (const [line, Client, Transport] of lines) {
  test(`${line}: two tenants at once, each its own`, async () => {
    await Promise.all(
      tenants.map(async ({ token, own, foreign }) => {
        const client = await connected(Client, Transport, token);
        const { tools } = await client.listTools();
        assert.ok(tools.some((tool) => tool.name === 'list_contacts'));
        assert.ok(!JSON.stringify(tools).includes('account_id'));
        const found = JSON.stringify(await client.callTool({ name: 'list_contacts', arguments: {} }));
        assert.ok(found.includes(own) && !found.includes(foreign));
        await client.close();
      }),
    );
  });

  test(`${line}: another tenant's record is withheld`, async () => {
    const client = await connected(Client, Transport, tenants[0].token);
    const refused = await client.callTool({ name: 'get_contact', arguments: { contact_id: 'c-globex-0' } });
    assert.equal(refused.isError, true);
    assert.ok(!JSON.stringify(refused).includes(tenants[0].foreign));
    await client.close();
  });

  // Whether the SDK has looked at the list before or not: it repeats the argument in a header, where the version has that.
  test(`${line}: an argument that a tool wants in a header`, async () => {
    for (const lists of [true, false]) {
      const client = await connected(Client, Transport, tenants[0].token);
      if (lists) await client.listTools();
      const found = await client.callTool({ name: 'locate', arguments: { region: 'eu' } });
      assert.ok(!found.isError, JSON.stringify(found));
      await client.close();
    }
  });
}
