import { readdir } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { createContext, Script } from "node:vm";
import { z } from "zod";
import { isErrno } from "../../../disk.ts";
import type { HeldDirectory } from "../held-directory.ts";
import type { Paths } from "../paths.ts";
import type { ToolContext } from "./tool.ts";
import { defineTool, oneLine, ToolError } from "./tool.ts";

/** Find text in files. It never follows links, and passes by what is large, binary or not the project's own. */
export const search = defineTool({
  name: "search",
  kind: "search",
  description: "Find text in files below a directory. Gives path:line: text. Skips .git, node_modules, binary and very large files.",
  input: z.strictObject({
    pattern: z.string().min(1).max(1_000).describe("Plain text, or a JavaScript regular expression with regex: true."),
    path: z.string().nullish().describe("A directory or file; the working directory by default."),
    regex: z.boolean().nullish(),
  }),
  title: ({ pattern }) => `search ${pattern}`,

  async *run({ pattern, path, regex }, context) {
    const { paths, limits, signal } = context;
    const start = await paths.resolve(path || ".");
    const matches = matcher(pattern, regex ?? false, limits.tool_search_pattern_ms);
    const found: string[] = [];
    let files = 0;
    for await (const file of filesFrom(start, paths)) {
      if (signal.aborted || found.length >= limits.tool_search_matches_max || files >= limits.tool_search_files_max) break;
      files += 1;
      const lines = await linesOf(file, context);
      if (lines === null) continue;
      for (const at of matches(lines))
        if (found.length < limits.tool_search_matches_max) found.push(`${paths.show(file.path)}:${at + 1}: ${oneLine(lines[at] ?? "")}`);
    }
    const cut =
      found.length >= limits.tool_search_matches_max
        ? `\n… stopped after ${found.length} matches.`
        : files >= limits.tool_search_files_max
          ? `\n… stopped after ${files} files.`
          : "";
    return { ok: true, text: (found.length === 0 ? `No match in ${files} files.` : found.join("\n")) + cut };
  },
});

const skipped = new Set([".git", "node_modules"]);

/** Indexes of the lines that match. */
type Matcher = (lines: readonly string[]) => number[];

function matcher(pattern: string, regex: boolean, timeoutMs: number): Matcher {
  if (!regex) return (lines) => lines.flatMap((line, at) => (line.includes(pattern) ? [at] : []));
  try {
    new RegExp(pattern, "u");
  } catch (error) {
    throw new ToolError(`Not a regular expression: ${error instanceof Error ? error.message : pattern}`);
  }
  // In a context of its own only because that is the one way to bound how long a pattern may run.
  const context = createContext({ pattern, text: "" });
  const script = new Script(`{ const p = new RegExp(pattern, "u"); text.split("\\n").flatMap((line, at) => (p.test(line) ? [at] : [])).join(",") }`);
  return (lines) => {
    context["text"] = lines.join("\n");
    try {
      const at = String(script.runInContext(context, { timeout: timeoutMs }));
      return at === "" ? [] : at.split(",").map(Number);
    } catch {
      throw new ToolError("The pattern takes too long to match. Make it simpler, or search for plain text.");
    }
  };
}

interface Found {
  /** For whoever reads the answer. */
  readonly path: string;
  open(): Promise<FileHandle>;
}

async function* filesFrom(start: string, paths: Paths): AsyncGenerator<Found> {
  const held = await paths.hold(start).catch((error: unknown) => {
    if (error instanceof ToolError) throw error;
    return isErrno(error, "ENOTDIR") ? "a file" : null;
  });
  if (held === "a file") yield { path: start, open: () => paths.open(start) };
  else if (held !== null) yield* filesBelow(held, { path: start, paths });
}

/** Closes the directory. */
async function* filesBelow(dir: HeldDirectory, { path, paths }: { path: string; paths: Paths }): AsyncGenerator<Found> {
  try {
    const entries = await readdir(dir.at(), { withFileTypes: true }).catch(() => []);
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const found = join(path, entry.name);
      if (entry.isFile()) yield { path: found, open: () => paths.openIn(dir, entry.name) };
      const below = entry.isDirectory() && !skipped.has(entry.name) ? await paths.holdIn(dir, entry.name).catch(() => null) : null;
      if (below !== null) yield* filesBelow(below, { path: found, paths });
    }
  } finally {
    await dir.close();
  }
}

async function linesOf(found: Found, { limits }: ToolContext): Promise<string[] | null> {
  const file = await found.open().catch(() => null);
  if (file === null) return null;
  try {
    if ((await file.stat()).size > limits.tool_search_file_bytes_max) return null;
    const bytes = await file.readFile();
    return bytes.subarray(0, 8_192).includes(0) ? null : bytes.toString("utf8").split("\n");
  } finally {
    await file.close();
  }
}
