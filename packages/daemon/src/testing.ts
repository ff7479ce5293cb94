import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { limits as defaults, SessiondError, type Auth, type Limits, type VerbInput, type VerbName, type VerbOutput } from "@sessiond/shared";
import { readConfig } from "./config.ts";
import { startDaemon, type Parts, type RunningDaemon } from "./main.ts";
import type { Connection } from "./router.ts";

/**
 * A whole daemon inside a test's process: real socket, real files in a folder of its own, and
 * whatever clock, disk or agent the test puts in. Two of them do not know of each other.
 */
export interface TestDaemon extends RunningDaemon {
  readonly root: string;
  readonly hostKey: string;
  /** Errors that nobody expected; a test that cares asserts that it is empty. */
  readonly bugs: unknown[];
  /** A verb over the in-process link: the same ladder of checks, no socket. */
  call<V extends VerbName>(verb: V, input: VerbInput<V>, auth?: Auth): Promise<VerbOutput<V>>;
  /** A stream over the in-process link. */
  stream<V extends VerbName>(verb: V, input: VerbInput<V>, auth: Auth, signal: AbortSignal): Promise<AsyncIterable<unknown>>;
}

export interface TestOptions extends Partial<Omit<Parts, "log">> {
  /** To start again where another has stopped. */
  readonly root?: string;
  readonly limits?: Partial<Limits>;
  readonly startedBy?: "client" | "hand";
  /** As `--listen`. */
  readonly listen?: string;
  readonly model?: { readonly apiKey?: string; readonly baseURL?: string; readonly name?: string };
}

export const testRoot = (): Promise<string> => mkdtemp(join(tmpdir(), "ssd-"));

/** Environment under which daemon and client of a test find each other, and nothing else. */
export const testEnv = (root: string): Record<string, string> => ({
  HOME: join(root, "home"),
  XDG_STATE_HOME: join(root, "state"),
  XDG_RUNTIME_DIR: join(root, "run"),
  XDG_CONFIG_HOME: join(root, "config"),
  PATH: process.env["PATH"] ?? "/usr/bin:/bin",
});

/** A connection without a socket, as if by the unix door. */
export const linkInProcess = (over: Partial<Connection> = {}): Connection => ({
  signal: new AbortController().signal,
  peer: { door: "unix", name: "in process" },
  full: false,
  ready: () => Promise.resolve(),
  enter: () => () => undefined,
  endsWith: () => undefined,
  turnOut: () => undefined,
  ...over,
});

export async function startTestDaemon(options: TestOptions = {}): Promise<TestDaemon> {
  const root = options.root ?? (await testRoot());
  const bugs: unknown[] = [];
  const words = [...(options.startedBy === "client" ? ["--started-by", "client"] : []), ...(options.listen === undefined ? [] : ["--listen", options.listen])];
  const config = readConfig(testEnv(root), words);
  const { clock, disk, kinds, programDirs } = options;
  const daemon = await startDaemon(
    { ...config, limits: { ...defaults, ...options.limits }, model: options.model ?? config.model },
    {
      log: { info: () => undefined, error: (_what, error) => void bugs.push(error) },
      ...(clock && { clock }),
      ...(disk && { disk }),
      ...(kinds && { kinds }),
      ...(programDirs && { programDirs }),
    },
  );
  if (daemon === null) throw new SessiondError("conflict", { reason: "a daemon runs in this folder already" });
  const hostKey = (await readFile(join(config.stateDir, "host-key"), "utf8")).trim();
  const caller = daemon.router.createCaller({ connection: linkInProcess() }) as unknown as Record<string, (input: unknown) => Promise<unknown>>;
  const call = async (verb: string, input: object, auth?: Auth): Promise<unknown> => {
    try {
      return await caller[verb]?.({ ...input, ...(auth && { auth }) });
    } catch (error) {
      throw error instanceof Error && error.cause instanceof SessiondError ? error.cause : error;
    }
  };
  const stream = async (verb: string, input: object, auth: Auth, signal: AbortSignal): Promise<AsyncIterable<unknown>> => {
    const streaming = daemon.router.createCaller({ connection: linkInProcess({ signal }) }) as unknown as Record<
      string,
      (input: unknown) => Promise<AsyncIterable<unknown>>
    >;
    const opened = await streaming[verb]?.({ ...input, auth });
    if (opened === undefined) throw new SessiondError("unknown_verb", { verb });
    return opened;
  };
  return { ...daemon, root, hostKey, bugs, call: call as TestDaemon["call"], stream };
}

/** Remove what a test daemon left; something that it let go of may still be writing its last. */
export const removeRoot = (root: string): Promise<void> => rm(root, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
