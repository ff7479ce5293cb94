import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join, resolve } from "node:path";
import { SideProcess } from "../side-process.ts";
import { codex } from "./codex.ts";
import { cacheDir, install } from "./install.ts";
import { measures } from "./measures.ts";
import type { ModelReady } from "./model.ts";
import { opencode } from "./opencode.ts";
import { asTable, type Line } from "./series.ts";
import { Running } from "./running.ts";
import { sessiond } from "./sessiond.ts";

const root = resolve(import.meta.dirname, "../..");
const words = Object.keys(measures);

const help = `Measures sessiond beside opencode and codex: the same model server, the same work, by turns.

usage: npm run bench:peers -- [row ...] [--short] [--json]

${Object.entries(measures)
  .map(([name, { about }]) => `  ${name.padEnd(10)} ${about}`)
  .join("\n")}

  --short    less of everything: shows that it runs, not what it gives
  --json     the result as one line of JSON instead of the table

The other two are installed by npm, at pinned versions, into
  ${cacheDir}
the first time. Their servers get homes of their own, are told to fetch and report nothing, and find a proxy that
refuses whatever is not on this machine; what it was asked for is told at the end. Each run is also kept in
bench/results/. sessiond is driven by its client library, the others by the least that speaks their protocol.

examples:
  npm run bench:peers
  npm run bench:peers -- prompt approval
  npm run bench:peers -- fanout --json`;

/** @returns the exit code: 0, 1 when one of the three failed somewhere, 2 for words that are not understood */
export async function main(argv: readonly string[], dir: string): Promise<number> {
  if (argv.includes("--help")) return (console.log(help), 0);
  const asked = argv.filter((word) => !word.startsWith("--"));
  const wrong = [...asked.filter((name) => !words.includes(name)), ...argv.filter((word) => /^--(?!short$|json$)/.test(word))];
  if (wrong.length > 0) return (console.error(`bench:peers: what is ${wrong.join(", ")}? There are: ${words.join(", ")}; see --help`), 2);
  const [short, json] = [argv.includes("--short"), argv.includes("--json")];
  const others = install((line) => console.error(line));
  const peers = [sessiond(), opencode(others.opencode.binary, others.opencode.version), codex(others.codex.binary, others.codex.version)];
  for (const { name, version, command } of peers) console.error(`${name} ${version}: ${command}`);

  // Each process and each folder has a listener for the end of this one.
  process.setMaxListeners(50);
  const model = await SideProcess.start<ModelReady>(dir, "model");
  const viewers = await SideProcess.start<object>(dir, "viewers");
  const running = new Running(peers, model.ready.baseURL);
  const lines: Line[] = [];
  const refused = new Set<string>();
  for (const [name, { about, run }] of Object.entries(measures)) {
    if (asked.length > 0 && !asked.includes(name)) continue;
    const begun = performance.now();
    console.error(`\n${name}: ${about}`);
    lines.push(...(await run({ peers, model, viewers, short, tell: (line) => console.error(`  ${line}`), refused, live: () => running.served() })));
    console.error(`  (${((performance.now() - begun) / 1_000).toFixed(0)} s)`);
  }
  await running.end();
  await Promise.all([model.end(), viewers.end()]);

  const result = {
    at: new Date().toISOString(),
    command: `npm run bench:peers${argv.length === 0 ? "" : ` -- ${argv.join(" ")}`}`,
    versions: Object.fromEntries(peers.map(({ name, version, command }) => [name, { version, command }])),
    node: process.version,
    cpu: cpus()[0]?.model ?? "",
    cores: cpus().length,
    short,
    refused: [...refused].toSorted(),
    lines,
  };
  mkdirSync(join(root, "bench/results"), { recursive: true });
  const file = `bench/results/peers-${result.at.replaceAll(/[:.]/g, "-")}.json`;
  writeFileSync(join(root, file), `${JSON.stringify(result, null, 1)}\n`);
  if (json) console.log(JSON.stringify(result));
  else console.log(`\n${asTable(lines)}\n\nMedians of rounds by turns, with the smallest and the largest. Beyond 1 × sessiond is ahead.`);
  if (refused.size > 0) console.error(`refused: ${result.refused.join(", ")}`);
  const failed = lines.flatMap(({ what, of }) =>
    Object.entries(of).flatMap(([name, outcome]) => ("failed" in outcome ? [`${what}: ${name}: ${outcome.failed}`] : [])),
  );
  for (const line of failed) console.error(`failed: ${line}`);
  console.error(`${result.command}: ${lines.length} rows on ${result.cores} × ${result.cpu}, Node ${result.node}; kept in ${file}`);
  return failed.length === 0 ? 0 : 1;
}
