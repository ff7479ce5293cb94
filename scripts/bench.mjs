// Measures sessiond against what its parts could do at most: bench/*.bench.ts and the processes beside them, bundled
// as the daemon is, so that both sides of a ratio are made alike.
//
//   npm run bench -- [name …] [--short] [--json] [--help]
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { benchBundle } from "./bench-bundle.mjs";

/** The command itself, and what it starts as processes of their own. */
const dir = await benchBundle({
  main: "bench/main.ts",
  "limit-daemon": "bench/limit/daemon.ts",
  "bare-daemon": "bench/limit/bare-daemon.ts",
  "bare-command": "bench/limit/bare-command.ts",
  viewers: "bench/viewers.ts",
  model: "bench/model.ts",
});
const { main } = await import(pathToFileURL(join(dir, "main.mjs")).href);
process.exit(await main(process.argv.slice(2), dir));
