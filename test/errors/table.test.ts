import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { connect, newPromptId, SessiondError, type ConnectOptions, type DriverSeat, type ErrorCode, type Host, type Session } from "@sessiond/client/node";
import { errorTable, formatHostKey } from "@sessiond/shared";
import { afterEach, describe, expect, test } from "vitest";
import { realDisk, type Disk } from "../../packages/daemon/src/disk.ts";
import { removeRoot, startTestDaemon, testEnv, type TestDaemon, type TestOptions } from "../../packages/daemon/src/testing.ts";
import { RawSocket } from "../support/raw-socket.ts";

/**
 * Every row of the error table, provoked through the client library against a daemon with a real socket,
 * or listed with the reason why this version cannot. Whatever was provoked, the daemon says hello afterwards.
 */
class World {
  readonly hosts: Host[] = [];
  readonly daemon: TestDaemon;
  readonly options: ConnectOptions;
  readonly workdir: string;

  constructor(daemon: TestDaemon) {
    this.daemon = daemon;
    this.options = { env: testEnv(daemon.root), autoStart: false };
    this.workdir = `${daemon.root}/project`;
    mkdirSync(this.workdir, { recursive: true });
  }

  async host(options: ConnectOptions = {}): Promise<Host> {
    const host = await connect({ ...this.options, ...options });
    this.hosts.push(host);
    return host;
  }

  async session(model = "practice"): Promise<Session> {
    return (await this.host()).startSession({ workdir: this.workdir, model });
  }

  async driver(model?: string): Promise<DriverSeat> {
    return (await this.session(model)).attach({ as: "driver" });
  }

  /** A driver whose turn waits for an answer. */
  async asking(): Promise<DriverSeat> {
    const seat = await this.driver();
    await seat.sendPrompt("run touch ran");
    while (seat.state.approvals.length === 0) await seat.changed();
    return seat;
  }

  /** A call as the library would never make it. */
  async raw(verb: string, input: object, method = "mutation"): Promise<never> {
    const socket = await RawSocket.open(this.daemon.socketPath);
    const reply = await socket.call(method, verb, JSON.stringify(input));
    socket.close();
    if (reply.error === undefined) throw new Error("it was not refused");
    // The library makes the same of it.
    throw new SessiondError(reply.error.data.code as ErrorCode, reply.error.data.detail as Record<string, unknown>);
  }
}

interface Provoked {
  /** Resolves, against the promise, when nothing failed. */
  readonly by: (world: World) => Promise<unknown>;
  readonly daemon?: TestOptions;
  /** What the sentence has to say. */
  readonly says: RegExp;
}

const question = async (world: World) => {
  const seat = await world.asking();
  const [approval] = seat.state.approvals;
  if (approval === undefined) throw new Error("no question is open");
  return { seat, approval };
};

/** The real disk, until a journal is to fail. */
let failing: "write" | "datasync" | null = null;
const fails = (step: typeof failing, code: string) =>
  failing === step ? Promise.reject(Object.assign(new Error(`${code}: made to fail`), { code })) : Promise.resolve();
const disk: Disk = {
  ...realDisk(),
  async open(path, mode) {
    const file = await realDisk().open(path, mode);
    if (!path.endsWith("/journal")) return file;
    return {
      ...file,
      write: (position, bytes) => fails("write", "EIO").then(() => file.write(position, bytes)),
      datasync: () => fails("datasync", "ENOSPC").then(() => file.datasync()),
    };
  },
};

const provoked: Partial<Record<ErrorCode, Provoked>> = {
  unknown_verb: { by: (world) => world.raw("make_coffee", {}), says: /no verb make_coffee.*Update/ },
  bad_request: { by: async (world) => (await world.driver()).sendPrompt([]), says: /parts/ },
  config_invalid: {
    by: (world) => startTestDaemon({ root: join(world.daemon.root, "other"), listen: "0.0.0.0:0" }),
    says: /listen on 0\.0\.0\.0.*without TLS; give cert and key under \[tcp\]/,
  },
  protocol_mismatch: { by: (world) => world.raw("hello", { protocol: { min: 7, max: 9 } }, "query"), says: /client 7-9, daemon 1.*Update the older one/ },
  timeout: {
    // A daemon that takes the connection and says nothing: no answer can overtake the timer.
    by: async (world) => {
      const runtimeDir = `${world.daemon.root}/silent`;
      mkdirSync(runtimeDir, { mode: 0o700 });
      const silent = createServer().listen(`${runtimeDir}/sock`);
      await once(silent, "listening");
      return connect({ ...world.options, runtimeDir, timeoutMs: 50 }).finally(() => silent.close());
    },
    says: /sessiond status/,
  },
  cancelled: { by: async (world) => (await world.host()).status({ signal: AbortSignal.abort() }), says: /may have happened/ },
  unauthenticated: {
    by: async (world) => world.raw("daemon_status", { auth: { host_key: formatHostKey("z".repeat(43)) } }, "query"),
    says: /sessiond token mint/,
  },
  role_too_small: {
    by: async (world) => {
      const host = await world.host();
      const { id } = await world.session();
      return (await host.openSession(id, { right: "view" })).attach({ as: "driver" });
    },
    says: /control is needed/,
  },
  not_attached: {
    by: async (world) => {
      const seat = await world.driver();
      await seat.detach();
      return seat.sendPrompt("say hi");
    },
    says: /attach first as driver/,
  },
  not_driver: {
    by: async (world) => {
      const session = await world.session();
      await session.attach({ as: "driver", label: "Ada" });
      const secret = "s".repeat(32);
      const socket = await RawSocket.open(world.daemon.socketPath);
      const auth = { token: session.token, seat_secret: secret };
      await socket.call("subscription", "attach", JSON.stringify({ session_id: session.id, role: "viewer", label: "viewer", auth }));
      const prompt = { session_id: session.id, prompt_id: newPromptId(), parts: [{ type: "text", text: "say hi" }], when_busy: "queue", auth };
      return world.raw("send_prompt", prompt).finally(() => socket.close());
    },
    says: /the driver is Ada/,
  },
  driver_taken: {
    by: async (world) => {
      const session = await world.session();
      await session.attach({ as: "driver", label: "Ada" });
      return session.attach({ as: "driver" });
    },
    says: /taken by Ada.*Attach as viewer/,
  },
  turn_in_progress: { by: async (world) => (await world.asking()).sendPrompt("say hi", { whenBusy: "reject" }), says: /Queue the prompt, interrupt/ },
  approval_gone: {
    by: async (world) => {
      const { seat, approval } = await question(world);
      await seat.approve(approval, { kind: "reject_once" });
      return seat.approve(approval, { kind: "allow_once" });
    },
    says: /closed: \w+/,
  },
  prompt_gone: { by: async (world) => (await world.driver()).withdrawPrompt(newPromptId()), says: /never accepted/ },
  conflict: {
    by: async (world) => {
      const seat = await world.driver();
      const promptId = newPromptId();
      await seat.sendPrompt("say one", { promptId });
      return seat.sendPrompt("say other", { promptId });
    },
    says: /another content/,
  },
  session_stopped: {
    by: async (world) => {
      const session = await world.session();
      await session.stop();
      return session.attach({ as: "driver" });
    },
    says: /Start it again with/,
  },
  session_faulted: {
    daemon: { disk },
    by: async (world) => {
      const seat = await world.driver();
      failing = "write";
      await seat.sendPrompt("say hi").catch(() => undefined);
      while (seat.fault === undefined) await seat.changed();
      return seat.sendPrompt("say hi");
    },
    says: /EIO.*Mend the disk/,
  },
  storage_failed: {
    daemon: { disk },
    by: async (world) => {
      const seat = await world.driver();
      failing = "datasync";
      return seat.sendPrompt("say hi");
    },
    says: /ENOSPC.*may not have happened.*repeat it/,
  },
  not_found: { by: async (world) => (await world.host()).session(`ses_${"0".repeat(22)}`).info(), says: /no such session/ },
  workdir_invalid: { by: async (world) => (await world.host()).sessionForWorkdir(`${world.workdir}/nowhere`), says: /does not exist/ },
  model_unknown: { by: async (world) => (await world.host()).sessionForWorkdir(world.workdir, { model: "no such model" }), says: /`practice`/ },
  unsupported: {
    by: async (world) => {
      const { events } = await world.driver();
      events[Symbol.asyncIterator]();
      return events[Symbol.asyncIterator]().next();
    },
    says: /one reader at a time/,
  },
  limit_reached: { by: async (world) => (await world.driver()).sendPrompt("x".repeat(1_000_000)), says: /prompt_bytes_max reached \(262144 bytes\)/ },
  rate_limited: {
    daemon: { limits: { calls_per_token_per_minute_max: 4, throttle_window_ms: 3_600_000 } },
    by: async (world) => {
      const session = await (await world.host()).sessionForWorkdir(world.workdir, { model: "practice" });
      return Promise.all(Array.from({ length: 10 }, () => session.info()));
    },
    says: /More than 4 calls a minute with this token or key \(limit calls_per_token_per_minute_max\); try again in \d+ ms/,
  },
  queue_full: {
    daemon: { limits: { queue_prompts_max: 2 } },
    by: async (world) => {
      const seat = await world.asking();
      for (;;) await seat.sendPrompt("say hi");
    },
    says: /2 waiting.*Withdraw one/,
  },
  shutting_down: {
    by: async (world) => {
      const seat = await world.asking();
      await seat.sendPrompt("say hi");
      world.daemon.host.draining = true;
      return seat.sendPrompt("say hi").finally(() => (world.daemon.host.draining = false));
    },
    says: /takes no new work.*started again/,
  },
  daemon_unreachable: { by: (world) => connect({ ...world.options, runtimeDir: `${world.daemon.root}/elsewhere` }), says: /sessiond up/ },
  agent_unavailable: { by: async (world) => (await world.driver("gpt-5")).sendPrompt("say hi"), says: /OPENAI_API_KEY.*practice/ },
  token_ended: {
    by: async (world) => {
      const { id } = await world.session();
      const host = await world.host();
      const session = await host.openSession(id);
      const seat = await session.attach({ as: "viewer" });
      const mine = (await host.session(id).listTokens()).find(({ origin }) => origin === "host");
      await host.session(id).revokeToken(mine?.token_id ?? "");
      throw await seat.ended;
    },
    says: /revoked/,
  },
};

const unreached: Partial<Record<ErrorCode, string>> = {
  internal: "a bug; the router's own tests make a handler throw",
  moved: "the library makes a secret for each attach, so no two of its streams share a seat; test/session/seats.test.ts provokes it",
  slow_consumer: "needs a reader that takes nothing for stall_ms and a full socket; test/room and the fan-out tests provoke it",
};

let world: World | null = null;
afterEach(async () => {
  failing = null;
  await Promise.all((world?.hosts ?? []).map((host) => host.close()));
  await world?.daemon.stop(0);
  if (world !== null) await removeRoot(world.daemon.root);
  world = null;
});

test("every code of the table is provoked here, or listed with the reason why it is not", () => {
  expect([...Object.keys(provoked), ...Object.keys(unreached)].toSorted()).toEqual(Object.keys(errorTable).toSorted());
});

describe.each(Object.entries(provoked))("%s", (code, { by, daemon, says }) => {
  test("comes with its code, says what to do, and the daemon is unharmed", async () => {
    world = new World(await startTestDaemon(daemon ?? {}));
    const error: unknown = await by(world).then(
      () => "nothing failed",
      (failed: unknown) => failed,
    );
    expect(error).toBeInstanceOf(SessiondError);
    expect(error).toMatchObject({ code, retry: errorTable[code as ErrorCode].retry });
    const { message } = error as SessiondError;
    expect(message).toMatch(says);
    // A sentence, without holes and without a stack.
    expect(message).toMatch(/^[A-Z`].*\.$/);
    expect(message).not.toMatch(/undefined|\[object|\?\)|NaN| {2}|\n\s+at /);
    const after = await connect(world.options);
    expect(after.hello?.boot_id).toBe((await after.status()).boot_id);
    await after.close();
    expect(world.daemon.bugs).toEqual([]);
  });
});

test("B45 with nothing configured a prompt is refused with what to do, and nothing of it is accepted, kept or run", async () => {
  world = new World(await startTestDaemon());
  const seat = await (await (await world.host()).sessionForWorkdir(world.workdir)).attach({ as: "driver" });
  const before = seat.state.seq;
  const promptId = newPromptId();
  for (const _ of [1, 2]) {
    const error = (await seat.sendPrompt("run touch ran", { promptId }).catch((failed: unknown) => failed)) as SessiondError;
    expect(error).toMatchObject({ code: "agent_unavailable", retry: "never" });
    expect(error.message).toMatch(/OPENAI_API_KEY.*api_key_file or base_url in config\.toml.*--model practice/);
  }
  expect(await seat.prompt("say hi").catch((failed: SessiondError) => failed.code)).toBe("agent_unavailable");
  expect(await (await world.host()).session(seat.sessionId).info()).toMatchObject({ seq: before, queue: [], turn: null, turns: 0, status: "idle" });
});
