import { join } from "node:path";
import { SessiondError, version, type VerbOutput } from "@sessiond/shared";
import type { AgentKind } from "./agents/agent.ts";
import { acpKinds } from "./agents/acp/kinds.ts";
import { reapOrphans } from "./agents/children.ts";
import { openaiKind } from "./agents/openai/kind.ts";
import { ServedAgents } from "./agents/served/served-agents.ts";
import { Audit } from "./audit.ts";
import { systemClock, within, type Clock } from "./clock.ts";
import type { Config } from "./config.ts";
import { countedDisk } from "./counted-disk.ts";
import { Counters } from "./counters.ts";
import { realDisk, type Disk } from "./disk.ts";
import { GateKeeper } from "./gate.ts";
import { ApiKeys } from "./host/api-keys.ts";
import { census } from "./host/census.ts";
import { Host } from "./host/host.ts";
import { placeProblems, problemsOf, type Problem } from "./host/problems.ts";
import { Starts } from "./host/starts.ts";
import { claimFormat } from "./host/state-format.ts";
import { Store } from "./host/store.ts";
import { installIdOf, mintBootId } from "./ids.ts";
import { HostKey } from "./keys.ts";
import { claim, privateDirectory, type Claim } from "./lifecycle.ts";
import type { Log } from "./log.ts";
import { metricsPage } from "./metrics.ts";
import { buildRouter } from "./router.ts";
import { Throttle } from "./throttle.ts";
import { openDoor, type Door } from "./transport/listen.ts";
import { TcpPlace } from "./transport/tcp-place.ts";
import type { Daemon } from "./verbs/verb.ts";

/**
 * The composition root: the only file that knows all others. Clock, disk and configuration enter
 * here; nothing below reads them from anywhere else.
 */
export interface Parts {
  readonly log: Log;
  readonly clock?: Clock;
  readonly disk?: Disk;
  /** What is wrong with how it was started, to be told in its status. */
  readonly problems?: readonly Problem[];
  /** Where programs of the system are looked for, in place of where they always are. */
  readonly programDirs?: readonly string[];
  /** In place of the built-in agents. */
  readonly kinds?: readonly AgentKind[];
}

export interface RunningDaemon {
  readonly socketPath: string;
  readonly router: ReturnType<typeof buildRouter>;
  readonly host: Host;
  readonly door: Door;
  /** What has happened since the start; a test compares it exactly. */
  readonly counters: Counters;
  /** Begin to drain, if that has not begun; resolves when all is at rest and the socket is gone. */
  stop(waitMs: number): Promise<void>;
  /** Resolves when the daemon has stopped, for whatever reason. */
  readonly stopped: Promise<void>;
}

/**
 * @returns null when another daemon holds the runtime directory
 * @throws SessiondError storage_failed, limit_reached (socket path), conflict (another daemon owns the state), config_invalid (TCP)
 */
export async function startDaemon(config: Config, parts: Parts): Promise<RunningDaemon | null> {
  const socketPath = join(config.runtimeDir, "sock");
  await privateDirectory(config.runtimeDir);
  await privateDirectory(config.stateDir);
  const held = await claim(socketPath, config.stateDir);
  if (held === null) return null;
  try {
    return await compose(config, parts, held, socketPath);
  } catch (error) {
    await held.release();
    throw error;
  }
}

async function compose(config: Config, parts: Parts, held: Claim, socketPath: string): Promise<RunningDaemon> {
  const { log, clock = systemClock } = parts;
  const counters = new Counters();
  const disk = countedDisk(parts.disk ?? realDisk(), counters);
  const report = (error: unknown) => log.error("unexpected", error);
  const bootId = mintBootId();
  const installId = installIdOf(config.stateDir);
  const reaped = await reapOrphans(installId, bootId);
  const startedAt = clock.now();
  const begun = clock.steady();
  const store = new Store(config.stateDir, disk, clock, { counters, limits: config.limits, report });
  await claimFormat({ root: config.stateDir, disk, now: startedAt, setAside: store.keepAside });
  const registry = await store.prepare();
  const remembered = await store.remembered();
  const hostKeyPath = join(config.stateDir, "host-key");
  const hostKey = await HostKey.load(disk, hostKeyPath);
  const keys = new ApiKeys({
    store: await store.apiKeys(),
    clock,
    limits: config.limits,
    onEnded: (ids, cause) => host.credentials.keysEnded(ids, cause),
    report,
  });
  const audit = new Audit(join(config.stateDir, "audit.jsonl"), clock, config.limits);
  const forbiddenDirs = [config.stateDir, config.runtimeDir, config.configDir, config.cacheDir];
  const ofChildren = { programDirs: parts.programDirs, childEnv: config.childEnv, home: config.home, limits: config.limits };
  const mark = (call: string) => `${installId}.${bootId}.${call}`;
  const builtIn = () => [
    openaiKind({
      ...config.model,
      ...ofChildren,
      model: config.model.name,
      forbiddenDirs,
      secretFiles: config.secretFiles,
      mark,
      daemon: () => `this daemon (pid ${process.pid}, started by ${config.startedBy === "client" ? "a client" : "hand"} ${ago(clock.steady() - begun)})`,
    }),
    ...acpKinds(config.agents, {
      ...ofChildren,
      forbiddenDirs: [...forbiddenDirs, ...config.secretFiles],
      mark,
      directory: (id) => store.directory(id),
      report,
    }),
  ];
  const kinds = new Map((parts.kinds ?? builtIn()).map((kind) => [kind.name, kind]));
  const served = new ServedAgents({ kinds, limits: config.limits });
  const host: Host = new Host({
    bootId,
    store,
    registry,
    remembered,
    clock,
    kinds,
    report,
    note: (what, about) => log.info(what, about),
    limits: config.limits,
    defaultAgent: [...kinds.keys()][0] ?? "openai",
    workdirs: { home: config.home, own: forbiddenDirs, roots: config.roots, allowBroad: config.allowBroad },
    envAllow: config.envAllow,
    defaultSandbox: config.sandbox,
    keyEnd: (keyId) => keys.endOf(keyId),
  });
  const daemon: Daemon = {
    host,
    starts: new Starts(host),
    keys,
    served,
    limits: config.limits,
    bootId,
    counters,
    status,
    rotateHostKey: () => hostKey.rotate(),
    shutDown: (waitMs) => void stop(waitMs),
  };
  const gate = new GateKeeper(host, hostKey, keys);
  const throttle = new Throttle(clock, config.limits);
  const router = buildRouter({ daemon, gate, throttle, audit, counters, clock, report });
  const atDoor = () => ({ connections: door.connections, readBytes: door.bytes.read, writtenBytes: door.bytes.written });
  const metrics = (key: unknown) => metricsPage({ host, gate, audit, counters, clock, startedAt, door: atDoor }, key);
  const door: Door = openDoor({
    router,
    clock,
    limits: config.limits,
    counters,
    metrics,
    report,
    knock: (peer) => throttle.knock(peer),
    heard: (caller, message) => throttle.said(caller, message),
    onChange: watchIdle,
  });

  const tcp = config.tcp === null ? null : new TcpPlace(config.tcp, { clock, limits: config.limits, counters, note: log.info, add: door.add });
  const tcpFacts = () => tcp?.facts ?? null;
  let stopping: Promise<void> | null = null;
  let tellStopped = () => undefined as void;
  const stopped = new Promise<void>((resolve) => (tellStopped = resolve));
  let cancelIdle = () => undefined as void;

  const recovery = await host.recover();
  let ready = false;
  void recovery.done.then(() => {
    ready = true;
    log.info("recovered");
    host.resting.begin().catch(report);
  });
  await openEntrances();
  log.info("listening", { socket: socketPath, tcp: tcpFacts(), pid: process.pid, version, started_by: config.startedBy, orphans_ended: reaped.length });
  watchIdle(0);

  /** Who finds the socket finds all of the daemon: TCP first. Both are open when calls can be answered, or neither; but a port may be taken. */
  async function openEntrances(): Promise<void> {
    try {
      await tcp?.open();
      await held.listen(door.server);
    } catch (error) {
      tcp?.close();
      await door.close(0);
      throw error;
    }
  }

  function stop(waitMs: number, unused = false): Promise<void> {
    stopping ??= drain(waitMs, unused);
    return stopping;
  }

  async function drain(waitMs: number, unused: boolean): Promise<void> {
    log.info("draining", { wait_ms: waitMs });
    cancelIdle();
    tcp?.close();
    host.draining = true;
    // Nobody told it to go, so nobody is to be told: who comes in this instant finds no door, and starts the next daemon.
    if (unused) await door.close(config.limits.door_close_ms);
    await within(clock, config.limits.rest_wait_ms, recovery.done);
    await host.drain(waitMs);
    served.end(new SessiondError("shutting_down"));
    await door.close(config.limits.door_close_ms);
    keys.close();
    await within(clock, config.limits.door_close_ms, Promise.all([audit.flush(), keys.writeUse()]));
    await held.release();
    log.info("stopped");
    tellStopped();
  }

  /** Started by a client, the daemon leaves when nobody has used it for a while; started by hand, never by itself. */
  function watchIdle(connections: number): void {
    cancelIdle();
    if (config.startedBy !== "client" || connections > 0 || stopping !== null) return;
    cancelIdle = clock.after(config.limits.idle_exit_ms, () => {
      if (host.awake.some((session) => session.busy)) watchIdle(0);
      else void stop(0, true);
    });
  }

  async function status(): Promise<VerbOutput<"daemon_status">> {
    const places = await placeProblems({ socket: socketPath, directories: [config.stateDir, config.runtimeDir], files: [hostKeyPath] });
    await host.look();
    // From here on in one step: a number and the problem behind it are told together.
    const problems = [...problemsOf(host, audit.counts), ...places, ...(tcp?.problems() ?? []), ...(parts.problems ?? [])];
    const { lifeStates, seats, approvalsPending, turnsRunning } = census(host);
    return {
      pid: process.pid,
      version,
      boot_id: bootId,
      socket: socketPath,
      state_dir: config.stateDir,
      started_at: startedAt,
      started_by: config.startedBy,
      draining: host.draining,
      tcp: tcpFacts(),
      ready: ready && !host.draining,
      orphans_ended: reaped.length,
      problems,
      connections: door.connections,
      sessions: lifeStates,
      seats: seats.driver + seats.viewer,
      pending_approvals: approvalsPending,
      turns_running: turnsRunning,
      faults: host.awake.flatMap((session) => (session.log.room.fault === undefined ? [] : [{ session_id: session.id, fault: session.log.room.fault }])),
      set_aside: store.setAside.map((aside) => ({ ...aside })),
      audit: { ...audit.counts },
    };
  }

  return { socketPath, router, host, door, counters, stop, stopped };
}

/** For a caller that needs words: why a daemon did not start. */
export const startFailure = (error: unknown): string =>
  error instanceof SessiondError ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error);

/** How long since, in the one unit that a person would use. */
function ago(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min ago`;
  return minutes < 48 * 60 ? `${Math.floor(minutes / 60)} h ago` : `${Math.floor(minutes / 1_440)} days ago`;
}
