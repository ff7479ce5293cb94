import { mkdirSync, writeFileSync } from "node:fs";
import { newNode, shutIn, type AcpAgent } from "./agent.ts";

const config = (mockUrl: string): string => `model = "gpt-6.1-sol"
model_provider = "mock"
check_for_update_on_startup = false
[analytics]
enabled = false
[features]
plugins = false
apps = false
[model_providers.mock]
name = "mock"
base_url = "${mockUrl}/v1"
wire_api = "responses"
env_key = "MOCK_KEY"
`;

export const codex: AcpAgent = {
  name: "codex",
  command: newNode,
  args: (peersDir) => [`${peersDir}/node_modules/@agentclientprotocol/codex-acp/dist/index.js`],
  env: (mockUrl, homeDir) => ({
    ...shutIn(mockUrl, homeDir),
    CODEX_HOME: `${homeDir}/.codex`,
    MOCK_KEY: "k",
    MODEL_PROVIDER: "mock",
    NO_BROWSER: "1",
    INITIAL_AGENT_MODE: "read-only",
  }),
  prepare(homeDir, mockUrl) {
    mkdirSync(`${homeDir}/.codex`, { recursive: true });
    writeFileSync(`${homeDir}/.codex/config.toml`, config(mockUrl));
  },
  traits: {
    refused: { end: "cancelled", modelGoesOn: false },
    takesUp: "resumed",
    title: "A title",
    tells: { tokens: true, context: true },
    mode: { id: "agent-full-access", as: "mode", asks: false },
    option: { reasoning_effort: "high" },
    model: { id: "gpt-6-sol", asked: "gpt-6-sol" },
  },
};
