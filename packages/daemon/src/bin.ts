import { join } from "node:path";
import { secretsOf } from "./agent-settings.ts";
import { forgetEnvironment, readConfig } from "./config.ts";
import { closeInheritedDescriptors } from "./inherited-descriptors.ts";
import { privateDirectory } from "./lifecycle.ts";
import { openLog } from "./log.ts";
import { startDaemon, startFailure } from "./main.ts";

const keyReadable = {
  what: "the model's key stands in the environment that this daemon was started with, and its tools can read it there: the system did not let it be wiped",
  mend: "start the daemon without OPENAI_API_KEY, and name a file in config.toml: api_key_file under [model]",
};

/**
 * The daemon's process, and what looks after its files: `doctor`, `verify` and `audit`, for the command of that name.
 * Exit codes: 0 stopped, or another daemon is here already; 1 it could not start.
 */
async function run(): Promise<number> {
  const [word, ...rest] = process.argv.slice(2);
  if (word === "doctor" || word === "verify" || word === "audit") {
    const { recover } = await import("./recovery/entry.ts");
    return recover(word, rest, process.env);
  }
  closeInheritedDescriptors();
  const config = readConfig(process.env, process.argv.slice(2));
  const keyStays = forgetEnvironment(process.env);
  await privateDirectory(config.stateDir);
  const secrets = [...(config.model.apiKey === undefined ? [] : [config.model.apiKey]), ...secretsOf(config.agents)];
  const log = openLog(join(config.stateDir, "daemon.log"), config.limits.log_bytes_max, secrets);
  process.on("uncaughtException", (error) => {
    log.error("uncaught", error);
    // What is in memory can no longer be trusted; what is on disk can.
    process.exit(1);
  });
  try {
    const daemon = await startDaemon(config, { log, problems: keyStays ? [keyReadable] : [] });
    if (daemon === null) return 0;
    process.on("SIGTERM", () => void daemon.stop(0));
    process.on("SIGINT", () => void daemon.stop(0));
    // The terminal that started it may go.
    process.on("SIGHUP", () => undefined);
    await daemon.stopped;
    return 0;
  } catch (error) {
    log.error("could not start", error);
    throw error;
  }
}

run().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`sessiond: ${startFailure(error)}\n`);
    process.exit(1);
  },
);
