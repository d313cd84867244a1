// Two tenants, and the TypeScript SDKs of MCP, both lines, as users have them.
import { Client as Modern, StreamableHTTPClientTransport as ModernHttp } from '@modelcontextprotocol/client';
import { Client as Legacy } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as LegacyHttp } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const { E2E_MCP_URL, E2E_ACME_TOKEN, E2E_GLOBEX_TOKEN, E2E_ACME_CANARY, E2E_GLOBEX_CANARY } = process.env;

export const tenants = [
  { name: 'acme', token: E2E_ACME_TOKEN, own: E2E_ACME_CANARY, foreign: E2E_GLOBEX_CANARY },
  { name: 'globex', token: E2E_GLOBEX_TOKEN, own: E2E_GLOBEX_CANARY, foreign: E2E_ACME_CANARY },
];

export const lines = [
  ['2.x', Modern, ModernHttp],
  ['1.x', Legacy, LegacyHttp],
];

export async function connected(Client, Transport, token) {
  const client = new Client({ name: 'e2e', version: '1.0.0' });
  const requestInit = { headers: { authorization: `Bearer ${token}` } };
  await client.connect(new Transport(new URL(E2E_MCP_URL), { requestInit }));
  return client;
}
