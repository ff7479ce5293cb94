import { spawn } from "node:child_process";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Finding, RecoveryLine, VerifiedSession } from "@sessiond/shared";
import { placesOf } from "../../packages/daemon/src/config.ts";
import { realDisk } from "../../packages/daemon/src/disk.ts";
import { doctor } from "../../packages/daemon/src/recovery/doctor.ts";
import { DaemonHome } from "./daemon-home.ts";

/** What `doctor` and `verify` say of a home, by the built command; and wreckage, made of what real daemons wrote. */
export const command = resolve(import.meta.dirname, "../../packages/cli/dist/sessiond.js");

export interface Said {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}
export interface Verified {
  readonly whole: boolean;
  readonly findings: readonly Finding[];
  readonly sessions: readonly VerifiedSession[];
}
export interface Examined {
  readonly healthy: boolean;
  readonly facts: Readonly<Record<string, string>>;
  readonly findings: readonly Finding[];
  readonly daemon: { readonly pid: number; readonly boot_id: string } | null;
}

export function sessiond(env: Readonly<Record<string, string>>, cwd: string, ...args: readonly string[]): Promise<Said> {
  const child = spawn(process.execPath, [command, ...args], { cwd, env: { ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  return new Promise((settle) => child.once("close", (code) => settle({ code, stdout, stderr })));
}

async function told<T>(said: Promise<Said>): Promise<T & { readonly code: number | null }> {
  const { code, stdout, stderr } = await said;
  if (stderr !== "" || !stdout.endsWith("}\n")) throw new Error(`it said ${JSON.stringify(stderr)} and ${JSON.stringify(stdout)}`);
  return { code, ...(JSON.parse(stdout) as T) };
}

export class Wreck extends DaemonHome {
  run(...args: readonly string[]): Promise<Said> {
    return sessiond(this.env, this.workdir, ...args);
  }

  verify(...names: readonly string[]): Promise<Verified & { readonly code: number | null }> {
    return told(this.run("verify", "--json", ...names));
  }

  doctor(...args: readonly string[]): Promise<Examined & { readonly code: number | null }> {
    return told(this.run("doctor", "--json", ...args));
  }

  /** What `doctor` says where no daemon runs, without a process for it. */
  async look({ fix = false, env = this.env }: { readonly fix?: boolean; readonly env?: Readonly<Record<string, string>> } = {}): Promise<
    Omit<Examined, "daemon"> & { readonly code: number }
  > {
    const facts: Record<string, string> = {};
    const findings: Finding[] = [];
    const tell = (line: RecoveryLine): void => {
      if (line.type === "fact") facts[line.name] = line.value;
      if (line.type === "finding") findings.push(line.finding);
    };
    const places = placesOf(env, []);
    await doctor({ ...places, socket: join(places.runtimeDir, "sock"), disk: realDisk(), env, running: null, silent: false, fix, tell });
    const healthy = wrongs(findings).length === 0;
    return { code: healthy ? 0 : 1, healthy, facts, findings };
  }

  /** A copy of what another home's daemon left, under its own paths. */
  static of(other: DaemonHome): Wreck {
    const wreck = new Wreck();
    cpSync(other.stateDir, wreck.stateDir, { recursive: true });
    return wreck;
  }

  path(...names: readonly string[]): string {
    return join(this.stateDir, ...names);
  }

  /** Change a file as text, byte for byte where it is no text. */
  edit(change: (text: string) => string, ...names: readonly string[]): void {
    const path = this.path(...names);
    writeFileSync(path, Buffer.from(change(readFileSync(path, "latin1")), "latin1"));
  }
}

/** What counts: everything that is not merely worth knowing. */
export const wrongs = (findings: readonly Finding[]): Finding[] => findings.filter(({ weight, fix }) => weight === "wrong" && fix !== "done");
export const kinds = (findings: readonly Finding[]): string[] => [...new Set(findings.map(({ kind }) => kind))].toSorted();
