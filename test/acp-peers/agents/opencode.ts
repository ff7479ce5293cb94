import { mkdirSync, writeFileSync } from "node:fs";
import { shutIn, type AcpAgent } from "./agent.ts";

const off = ["MODELS_FETCH", "AUTOUPDATE", "DEFAULT_PLUGINS", "LSP_DOWNLOAD", "SHARE", "EMBEDDED_WEB_UI"];

const limit = { context: 200_000, output: 8_000 };

const config = (mockUrl: string): object => ({
  autoupdate: false,
  share: "disabled",
  enabled_providers: ["mock"],
  model: "mock/mock",
  small_model: "mock/mock",
  permission: { bash: "ask", edit: "ask", webfetch: "ask" },
  provider: {
    mock: {
      npm: "@ai-sdk/openai-compatible",
      options: { baseURL: `${mockUrl}/v1`, apiKey: "k" },
      models: { mock: { limit }, other: { limit } },
    },
  },
});

export const opencode: AcpAgent = {
  name: "opencode",
  // The native program: the launcher beside it wants an install script.
  command: (peersDir) => `${peersDir}/node_modules/opencode-linux-x64-baseline/bin/opencode`,
  args: () => ["acp"],
  env: (mockUrl, homeDir) => ({
    ...shutIn(mockUrl, homeDir),
    ...Object.fromEntries(off.map((name) => [`OPENCODE_DISABLE_${name}`, "1"])),
    OPENCODE_CONFIG_CONTENT: JSON.stringify(config(mockUrl)),
  }),
  prepare(homeDir) {
    // Else it installs its kit for plugins there with npm, at each start. It looks at no more than this.
    const folder = `${homeDir}/.config/opencode`;
    mkdirSync(`${folder}/node_modules`, { recursive: true });
    writeFileSync(`${folder}/package-lock.json`, JSON.stringify({ packages: { "": { dependencies: { "@opencode-ai/plugin": "*" } } } }));
  },
  traits: {
    refused: { end: "end_turn", modelGoesOn: false },
    takesUp: "resumed",
    title: null,
    tells: { tokens: true, context: true },
    mode: { id: "plan", as: "option", asks: true, words: "Plan mode" },
    model: { id: "mock/other", asked: "other" },
  },
};
