// The verb table without its schemas, for a bundle that only calls: the daemon checks what goes in and out, and zod with all
// schemas took three tenths of the CPU time of `ls`. Derived from the table itself at each build; whoever
// reads a row's `input` or `output` in such a bundle finds none.
import { join } from "node:path";
import { rolldown } from "rolldown";

const schemas = new Set(["input", "output"]);

/** A plugin of rolldown that puts the facts in the place of packages/shared/src/verbs.ts. */
export function verbFacts(root) {
  const table = join(root, "packages/shared/src/verbs.ts");
  return {
    name: "verb-facts",
    async load(id) {
      if (id !== table) return null;
      const { verbs, ...others } = await importBundled(table, root);
      const facts = Object.fromEntries(Object.entries(verbs).map(([name, row]) => [name, withoutSchemas(row)]));
      return {
        code: Object.entries({ ...others, verbs: facts })
          .map(asExport)
          .join("\n"),
        moduleType: "js",
      };
    },
  };
}

const withoutSchemas = (row) => Object.fromEntries(Object.entries(row).filter(([field]) => !schemas.has(field)));
const asExport = ([name, value]) => `export const ${name} = ${JSON.stringify(value)};`;

async function importBundled(input, cwd) {
  const build = await rolldown({ input, cwd, platform: "node", tsconfig: false });
  try {
    const { output } = await build.generate({ format: "esm", codeSplitting: false });
    return await import(`data:text/javascript,${encodeURIComponent(output[0].code)}`);
  } finally {
    await build.close();
  }
}
