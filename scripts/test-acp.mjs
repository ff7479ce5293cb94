// sessiond with real ACP agents behind it and a real ACP client in front, offline, against a mock model.
//
//   npm run test:acp                            all of them
//   npm run test:acp -- opencode acpx           only those, and only what these need is installed
//   npm run test:acp -- opencode --through      not what they do without sessiond
//   npm run test:acp -- gemini -t "refused"     what follows the names goes to vitest
import { spawn } from "node:child_process";
import { join, resolve } from "node:path";
import { installPeers, peerNames } from "./acp-peers.mjs";

const root = resolve(import.meta.dirname, "..");
const through = process.argv.includes("--through");
const words = process.argv.slice(2).filter((word) => word !== "--through");
const first = words.findIndex((word) => word.startsWith("-"));
const named = first < 0 ? words : words.slice(0, first);
const names = named.length > 0 ? named : peerNames;

/** Tests of agents go through those that were named; the client's are in files of their own. The first of each list is without sessiond. */
const files = [
  ...(names.some((name) => name !== "acpx") ? ["direct.test.ts", "behind.test.ts"].slice(through ? 1 : 0) : []),
  ...(names.includes("acpx") ? ["acpx.test.ts", "front.test.ts", "both.test.ts"].slice(through ? 1 : 0) : []),
];

try {
  for (const path of await installPeers(names)) console.log(path);
  const vitest = [join(root, "node_modules/vitest/vitest.mjs"), "run", "--config", "test/acp-peers/vitest.config.mjs"];
  const args = [...vitest, ...files.map((name) => `test/acp-peers/${name}`), ...words.slice(named.length)];
  const child = spawn(process.execPath, args, { cwd: root, env: { ...process.env, SESSIOND_PEERS: names.join(" ") }, stdio: "inherit" });
  child.once("exit", (code, signal) => process.exit(signal === null ? (code ?? 1) : 1));
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}
