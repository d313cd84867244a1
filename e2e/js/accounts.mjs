// Where Bulkhead is, and two tenants: what test_js.py hands over.
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

const env = process.env;

export const tenants = {
  acme: { token: env.E2E_ACME_TOKEN, canary: env.E2E_ACME_CANARY },
  globex: { token: env.E2E_GLOBEX_TOKEN, canary: env.E2E_GLOBEX_CANARY },
};

export const both = [
  [tenants.acme, tenants.globex],
  [tenants.globex, tenants.acme],
];

export function openai(tenant) {
  return new OpenAI({ baseURL: env.E2E_OPENAI_URL, apiKey: tenant.token, maxRetries: 0 });
}

export function anthropic(tenant) {
  return new Anthropic({ baseURL: env.E2E_ANTHROPIC_URL, apiKey: tenant.token, maxRetries: 0 });
}
