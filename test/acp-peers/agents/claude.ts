import { mkdirSync, writeFileSync } from "node:fs";
import { newNode, shutIn, type AcpAgent } from "./agent.ts";

export const claude: AcpAgent = {
  name: "claude",
  command: newNode,
  args: (peersDir) => [`${peersDir}/node_modules/@agentclientprotocol/claude-agent-acp/dist/index.js`],
  env: (mockUrl, homeDir) => ({
    ...shutIn(mockUrl, homeDir),
    CLAUDE_CONFIG_DIR: `${homeDir}/.claude`,
    ANTHROPIC_BASE_URL: mockUrl,
    ANTHROPIC_AUTH_TOKEN: "k",
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
    DISABLE_AUTOUPDATER: "1",
    DISABLE_TELEMETRY: "1",
    DISABLE_ERROR_REPORTING: "1",
  }),
  prepare(homeDir) {
    mkdirSync(`${homeDir}/.claude`, { recursive: true });
    writeFileSync(`${homeDir}/.claude/settings.json`, JSON.stringify({ permissions: { defaultMode: "default" } }));
  },
  traits: {
    refused: { end: "end_turn", modelGoesOn: true },
    takesUp: "resumed",
    title: "A title",
    tells: { tokens: true, context: true },
    mode: { id: "acceptEdits", as: "mode", asks: false },
    option: { effort: "high" },
    model: { id: "sonnet", asked: "sonnet" },
  },
};
