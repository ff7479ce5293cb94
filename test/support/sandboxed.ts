import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { afterEach } from "vitest";
import { AgentDriver, tempDir, type DriverOptions } from "./agent-driver.ts";

/** Commands of the built-in agent in a sandbox, and directories for them that go with their test. */
export const bubblewrap = "/usr/bin/bwrap";
export const bubblewrapWorks = spawnSync(bubblewrap, ["--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "true"]).status === 0;
if (!bubblewrapWorks) console.log("bubblewrap is missing here, or does not work: what is said of sandboxes is not tried");

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

export function freshDir(): string {
  const directory = tempDir();
  directories.push(directory);
  return directory;
}

export interface Ran {
  readonly ok: boolean;
  /** What the model was told, without the line about the end. */
  readonly output: string;
  /** That line. */
  readonly end: string;
}

/** One command in a life of its own, in a sandbox without network unless told otherwise. */
export async function inside(command: string, options: DriverOptions = {}): Promise<Ran> {
  const driver = new AgentDriver({ workdir: options.workdir ?? freshDir(), sandbox: "no_network", ...options });
  const turn = driver.prompt(`run ${command}`);
  await turn.ended;
  await driver.agent.close();
  const [result] = turn.results;
  const lines = (result?.result ?? "").split("\n");
  return { ok: result?.status === "completed", output: lines.slice(0, -1).join("\n"), end: lines.at(-1) ?? "" };
}

/** Says whether what perl tries there works: `yes`, or the system's word for why not. */
export const tries = (perl: string): string => `perl -MSocket -e '${perl} or do { print "no: $!"; exit }; print "yes"'`;
/** Connects to a listener of the machine. */
export const connectsTo = {
  tcp: (port: number): string => tries(`socket(S, PF_INET, SOCK_STREAM, 0) && connect(S, sockaddr_in(${port}, inet_aton("127.0.0.1")))`),
  unix: (path: string): string => tries(`socket(S, PF_UNIX, SOCK_STREAM, 0) && connect(S, pack_sockaddr_un("${path}"))`),
};
