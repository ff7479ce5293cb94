import { readdir } from "node:fs/promises";
import { z } from "zod";
import { defineTool } from "./tool.ts";

/** List one directory. */
export const list = defineTool({
  name: "list",
  kind: "read",
  description: "List a directory: directories end with a slash, links with an at sign.",
  input: z.strictObject({ path: z.string().nullish().describe("Relative to the working directory, which is the default.") }),
  title: ({ path }) => `list ${path ?? "."}`,

  async *run({ path }, { paths, limits }) {
    const real = await paths.resolve(path || ".");
    const dir = await paths.hold(real);
    const entries = await dir.released(() => readdir(dir.at(), { withFileTypes: true }));
    const names = entries.map((entry) => entry.name + (entry.isDirectory() ? "/" : entry.isSymbolicLink() ? "@" : "")).sort();
    if (names.length === 0) return { ok: true, text: `${paths.show(real)} is empty.` };
    const shown = names.slice(0, limits.tool_list_entries_max);
    const rest = names.length - shown.length;
    return { ok: true, text: shown.join("\n") + (rest > 0 ? `\n… ${rest} more entries left out.` : "") };
  },
});
