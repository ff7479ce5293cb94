// Measures sessiond beside opencode and codex, at pinned versions, all three with the same model server. Not in CI:
// it installs the two with npm, outside the repository, the first time.
//
//   npm run bench:peers -- [row …] [--short] [--json] [--help]
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { benchBundle } from "./bench-bundle.mjs";

const dir = await benchBundle({ main: "bench/peers/main.ts", viewers: "bench/peers/viewers.ts", model: "bench/peers/model.ts" });
const { main } = await import(pathToFileURL(join(dir, "main.mjs")).href);
process.exit(await main(process.argv.slice(2), dir));
