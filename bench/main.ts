import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join, resolve } from "node:path";
import { fanout } from "./fanout.bench.ts";
import { approval } from "./approval.bench.ts";
import { catchUp } from "./catch-up.bench.ts";
import { create } from "./create.bench.ts";
import { growth } from "./growth.bench.ts";
import { journal } from "./journal.bench.ts";
import { prompt } from "./prompt.bench.ts";
import { memory } from "./memory.bench.ts";
import { asTable, isGood, type Bench, type Row } from "./row.ts";
import { start } from "./start.bench.ts";
import { stream } from "./stream.bench.ts";
import { verb } from "./verb.bench.ts";

const root = resolve(import.meta.dirname, "..");
const benches: readonly Bench[] = [fanout, stream, verb, prompt, approval, create, memory, start, catchUp, journal, growth];

const help = `Measures sessiond against limits built from the same parts and measured in the same run.

usage: npm run bench -- [name ...] [--short] [--json]

${benches.map(({ name, about }) => `  ${name.padEnd(10)} ${about}`).join("\n")}

  --short    less of everything; fails only on a ratio that is twice off its bar four times in a row
  --json     the result as one line of JSON instead of the table

Each run is also kept in bench/results/. Ends with 1 when a bar is not met.

examples:
  npm run bench
  npm run bench -- fanout
  npm run bench -- verb prompt --short`;

/** @returns the exit code: 0, 1 when a bar is not met, 2 for words that are not understood */
export async function main(words: readonly string[], dir: string): Promise<number> {
  if (words.includes("--help")) return (console.log(help), 0);
  const asked = words.filter((word) => !word.startsWith("--"));
  const wrong = [...asked.filter((name) => !benches.some((bench) => bench.name === name)), ...words.filter((word) => /^--(?!short$|json$)/.test(word))];
  if (wrong.length > 0) return (console.error(`bench: what is ${wrong.join(", ")}? There are: ${benches.map(({ name }) => name).join(", ")}; see --help`), 2);
  const [short, json] = [words.includes("--short"), words.includes("--json")];
  const slack = short ? 2 : 1;
  const rows: Row[] = [];
  for (const bench of benches.filter(({ name }) => asked.length === 0 || asked.includes(name))) {
    const begun = performance.now();
    console.error(`${bench.name}: ${bench.about}`);
    const how = { short, dir, tell: (line: string) => console.error(`  ${line}`) };
    let measured = await bench.run(how);
    // In CI, where nobody looks at the spread: another process's minute is no reason to fail, four times the same is.
    for (let again = 0; short && again < 3 && !measured.every((row) => isGood(row, slack)); again++) {
      console.error(`${asTable(measured, slack).replace(/^/gm, "  ")}\n  once more`);
      measured = await bench.run(how);
    }
    rows.push(...measured);
    console.error(`${asTable(measured, slack).replace(/^/gm, "  ")}\n  (${((performance.now() - begun) / 1000).toFixed(0)} s)\n`);
  }
  const result = { ...surroundings(), short, rows: rows.map((row) => ({ ...row, ok: isGood(row, slack) })) };
  mkdirSync(join(root, "bench/results"), { recursive: true });
  const file = `bench/results/${result.at.replaceAll(/[:.]/g, "-")}.json`;
  writeFileSync(join(root, file), `${JSON.stringify(result, null, 1)}\n`);
  if (json) console.log(JSON.stringify(result));
  else console.log(`${asTable(rows, slack)}\n`);
  const missed = rows.filter((row) => !isGood(row, slack));
  console.error(
    `bench: ${rows.length} rows, ${missed.length === 0 ? "every bar met" : `${missed.length} not met`}${short ? " (short: twice off counts)" : ""}; kept in ${file}`,
  );
  return missed.length === 0 ? 0 : 1;
}

function surroundings(): { at: string; commit: string; node: string; cpu: string; cores: number; versions: Record<string, string> } {
  const version = (name: string): string => (JSON.parse(readFileSync(join(root, "node_modules", name, "package.json"), "utf8")) as { version: string }).version;
  const git = (...args: string[]): string => {
    try {
      return execFileSync("git", args, { cwd: root, encoding: "utf8" }).trim();
    } catch {
      return "";
    }
  };
  return {
    at: new Date().toISOString(),
    commit: `${git("rev-parse", "--short", "HEAD")}${git("status", "--porcelain") === "" ? "" : " and changes"}`,
    node: process.version,
    cpu: cpus()[0]?.model ?? "",
    cores: cpus().length,
    versions: Object.fromEntries(["@trpc/server", "@trpc/client", "ws", "zod", "openai", "lowdb", "rolldown"].map((name) => [name, version(name)])),
  };
}
