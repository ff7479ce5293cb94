import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { verbs } from "@sessiond/shared";
import { describe, expect, it } from "vitest";
import { daemonFile } from "../support/daemon-home.ts";

/**
 * What a command loads before it does its work, and of what its table of verbs is made. What is loaded is counted in files
 * and modules, not in milliseconds.
 */
interface VerbFacts {
  verbFacts(root: string): { load(id: string): Promise<{ code: string } | null> };
}
const { verbFacts } = (await import(new URL("../../scripts/verb-facts.mjs", import.meta.url).href)) as VerbFacts;
const root = resolve(import.meta.dirname, "../..");
const command = join(dirname(daemonFile), "sessiond-main.js");

/** A built file with all that it imports, but not what it may load later. */
function loadedBy(...files: string[]): Set<string> {
  const loaded = new Set<string>();
  for (let file = files.pop(); file !== undefined; file = files.pop()) {
    if (loaded.has(file)) continue;
    loaded.add(file);
    for (const [, name = ""] of readFileSync(file, "utf8").matchAll(/^(?:(?:const|let|var) .* = )?require\("\.\/([^"]+)"\);$/gm))
      files.push(join(dirname(file), name));
  }
  return loaded;
}

describe("a command's start", () => {
  it.each(["ls", "send", "run", "attach", "status"])("`%s` loads no schema and nothing that checks one", (name) => {
    const loaded = [...loadedBy(command, join(dirname(command), `sessiond-${name}.js`))];
    expect(loaded.length).toBeGreaterThan(3);
    for (const file of loaded) expect(readFileSync(file, "utf8"), file).not.toMatch(/^\/\/ \S*node_modules\/zod\//m);
  });

  it("its table of verbs is the table, row for row, without the schemas", async () => {
    const made = await verbFacts(root).load(join(root, "packages/shared/src/verbs.ts"));
    const { verbs: facts, commonErrors } = (await import(`data:text/javascript,${encodeURIComponent(made?.code ?? "")}`)) as Record<string, unknown>;
    const expected = Object.fromEntries(Object.entries(verbs).map(([name, row]) => [name, { ...row, input: undefined, output: undefined }]));
    expect(facts).toEqual(expected);
    expect(commonErrors).toContain("bad_request");
  });
});
