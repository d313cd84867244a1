// The TypeScript SDKs of MCP, both lines, as users have them. Run by test_mcp.py, which has the upstream.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Client as Modern, StreamableHTTPClientTransport as ModernHttp } from '@modelcontextprotocol/client';
import { Client as Legacy } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as LegacyHttp } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const { E2E_MCP_URL, E2E_ACME_TOKEN, E2E_GLOBEX_TOKEN, E2E_ACME_CANARY, E2E_GLOBEX_CANARY } = process.env;
const tenants = [
  { name: 'acme', token: E2E_ACME_TOKEN, own: E2E_ACME_CANARY, foreign: E2E_GLOBEX_CANARY },
  { name: 'globex', token: E2E_GLOBEX_TOKEN, own: E2E_GLOBEX_CANARY, foreign: E2E_ACME_CANARY },
];

async function connected(Client, Transport, token) {
  const client = new Client({ name: 'e2e', version: '1.0.0' });
  const requestInit = { headers: { authorization: `Bearer ${token}` } };
  await client.connect(new Transport(new URL(E2E_MCP_URL), { requestInit }));
  return client;
}

for (const [line, Client, Transport] of [
  ['2.x', Modern, ModernHttp],
  ['1.x', Legacy, LegacyHttp],
]) {
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
}
