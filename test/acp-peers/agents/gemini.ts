import { mkdirSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { newNode, shutIn, type AcpAgent } from "./agent.ts";

const settings = {
  general: { enableAutoUpdate: false, enableAutoUpdateNotification: false },
  privacy: { usageStatisticsEnabled: false },
  telemetry: { enabled: false },
  security: { auth: { selectedType: "gemini-api-key" }, folderTrust: { enabled: false } },
  tools: { useRipgrep: false },
  model: { name: "gemini-2.5-flash" },
};

export const gemini: AcpAgent = {
  name: "gemini",
  command: newNode,
  args: (peersDir) => [`${peersDir}/node_modules/@google/gemini-cli/bundle/gemini.js`, "--acp"],
  env: (mockUrl, homeDir) => ({
    ...shutIn(mockUrl, homeDir),
    GEMINI_API_KEY: "k",
    GOOGLE_GEMINI_BASE_URL: mockUrl,
    // Else it starts itself a second time, with more memory.
    GEMINI_CLI_NO_RELAUNCH: "true",
  }),
  prepare(homeDir) {
    mkdirSync(`${homeDir}/.gemini`, { recursive: true });
    writeFileSync(`${homeDir}/.gemini/settings.json`, JSON.stringify(settings));
  },
  age(homeDir) {
    // A session's file is named by the minute and the id: one that is loaded within its first minute is written anew, and lost.
    const chats = `${homeDir}/.gemini/tmp/app/chats`;
    for (const name of readdirSync(chats))
      renameSync(`${chats}/${name}`, `${chats}/${name.replace(/^session-[\dT-]+-(?=[0-9a-f]{8}\.)/, "session-2026-01-01T00-00-")}`);
  },
  traits: {
    refused: { end: "end_turn", modelGoesOn: true },
    takesUp: "loaded",
    lostWhenYoung: /No previous sessions found/,
    title: null,
    tells: { tokens: false, context: false },
    mode: { id: "autoEdit", as: "mode", asks: false },
    // Its models are told in a field that is not in the protocol.
    model: null,
  },
};
