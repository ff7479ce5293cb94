import { readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { rolldown } from "rolldown";

/**
 * Command and daemon of another build, made from this tree with some of its text replaced: an older or a newer
 * sessiond, side by side in a directory as they are installed.
 */
const root = resolve(import.meta.dirname, "../..");
const { compilerOptions } = JSON.parse(readFileSync(join(root, "tsconfig.json"), "utf8")) as { compilerOptions: { paths: Record<string, [string]> } };
const alias = Object.fromEntries(Object.entries(compilerOptions.paths).map(([name, [path]]) => [name, join(root, path)]));
const entries = { sessiond: "packages/cli/src/main.ts", daemon: "packages/daemon/src/bin.ts" };

export interface Build {
  readonly command: string;
  readonly daemon: string;
}

/** What differs: by file, pairs of what stands there and what is to stand there. */
export type Changes = Readonly<Record<string, readonly (readonly [from: string | RegExp, to: string])[]>>;

/** @throws when a text that is to be replaced is not there: the change would show nothing */
export async function buildIn(directory: string, changes: Changes): Promise<Build> {
  const texts = new Map(Object.entries(changes).map(([path, pairs]) => [join(root, path), changed(path, pairs)]));
  writeFileSync(join(directory, "package.json"), '{ "type": "module" }');
  symlinkSync(join(root, "node_modules"), join(directory, "node_modules"));
  for (const [name, entry] of Object.entries(entries)) {
    const build = await rolldown({
      input: { [name]: join(root, entry) },
      cwd: root,
      platform: "node",
      tsconfig: false,
      external: ["fs-native-extensions", "bufferutil", "utf-8-validate"],
      resolve: { alias },
      logLevel: "silent",
      plugins: [{ name: "another-build", load: (id) => texts.get(id) ?? null }],
    });
    await build.write({ dir: directory, format: "esm", entryFileNames: "[name].js", chunkFileNames: `${name}-[name].js` });
    await build.close();
  }
  return { command: join(directory, "sessiond.js"), daemon: join(directory, "daemon.js") };
}

function changed(path: string, pairs: Changes[string] = []): string {
  return pairs.reduce(
    (text, [from, to]) => {
      const next = text.replace(from, to);
      if (next === text) throw new Error(`${path} has no ${String(from)}`);
      return next;
    },
    readFileSync(join(root, path), "utf8"),
  );
}
