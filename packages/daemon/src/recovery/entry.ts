import { once } from "node:events";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { RecoveryLine } from "@sessiond/shared";
import { placesOf, type Environment } from "../config.ts";
import { realDisk } from "../disk.ts";
import { audit } from "./audit.ts";
import { doctor } from "./doctor.ts";
import { verify } from "./verify.ts";

/**
 * Where `sessiond doctor`, `sessiond verify` and `sessiond audit` enter the daemon's bundle: they start it
 * as a process of its own and show what it tells, a line of JSON each, until `end`.
 */
export async function recover(word: "doctor" | "verify" | "audit", argv: readonly string[], env: Environment): Promise<number> {
  const flag = { type: "boolean", default: false } as const;
  const text = { type: "string" } as const;
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: { fix: flag, progress: flag, silent: flag, follow: flag, pid: text, boot: text, session: text },
  });
  // Whoever reads has enough: nobody is left to tell.
  process.stdout.on("error", () => process.exit(0));
  const tell = (line: RecoveryLine): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
  const told = async (line: RecoveryLine): Promise<void> => {
    if (!process.stdout.write(`${JSON.stringify(line)}\n`)) await once(process.stdout, "drain");
  };
  const { stateDir, runtimeDir, configDir } = placesOf(env, []);
  const places = { stateDir, runtimeDir, configDir, socket: join(runtimeDir, "sock"), disk: realDisk(), tell };
  if (word === "audit") await audit({ ...places, session: values.session ?? null, follow: values.follow, tell: told, heard: stillHeard() });
  else if (word === "verify") await verify({ ...places, names: positionals, progress: values.progress });
  else {
    const running = values.pid === undefined || values.boot === undefined ? null : { pid: Number(values.pid), bootId: values.boot };
    await doctor({ ...places, env, fix: values.fix, silent: values.silent, running });
  }
  tell({ type: "end" });
  // The process is about to exit, and a pipe whose reader is behind has not taken everything yet.
  await new Promise<void>((resolve) => process.stdout.write("", () => resolve()));
  return 0;
}

/** The command that started us lives. It ends us when it goes, unless it was killed; a Ctrl-C at the terminal is for it, not for us. */
function stillHeard(): () => boolean {
  const { ppid } = process;
  process.on("SIGINT", () => undefined);
  return () => process.ppid === ppid;
}
