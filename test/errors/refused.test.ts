import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { connect, newPromptId, SessiondError, type ConnectOptions, type DriverSeat, type ErrorCode, type Host, type Session } from "@sessiond/client/node";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { removeRoot, startTestDaemon, testEnv, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { RawSocket } from "../support/raw-socket.ts";
import { ScriptedKind, type ScriptedTurn } from "../support/scripted-agent.ts";

/**
 * What the verbs refuse beyond the error table's one example a code: each with its code and what to do, and
 * nothing of the session has changed. Against an agent that takes no prompt into a running turn.
 */
class Room {
  readonly daemon: TestDaemon;
  readonly kind: ScriptedKind;
  readonly host: Host;
  readonly session: Session;
  readonly seat: DriverSeat;
  readonly workdir: string;

  constructor(parts: Pick<Room, "daemon" | "kind" | "host" | "session" | "seat" | "workdir">) {
    ({ daemon: this.daemon, kind: this.kind, host: this.host, session: this.session, seat: this.seat, workdir: this.workdir } = parts);
  }

  static async open(): Promise<Room> {
    const kind = new ScriptedKind({ steer: false, knows: (model) => model !== "unknown-model" });
    const daemon = await startTestDaemon({ kinds: [kind] });
    const workdir = join(daemon.root, "project");
    mkdirSync(workdir);
    const host = await connect(optionsFor(daemon));
    const session = await host.sessionForWorkdir(workdir, { title: "as it was" });
    return new Room({ daemon, kind, host, session, seat: await session.attach({ as: "driver" }), workdir });
  }

  /** A turn that runs. */
  async running(promptId = newPromptId()): Promise<ScriptedTurn> {
    await this.seat.sendPrompt("work", { promptId });
    return this.kind.turn();
  }

  /** A turn whose question is open. */
  async asking() {
    const turn = await this.running();
    await turn.call("call1");
    const answer = turn.ask("call1");
    while (this.seat.state.approvals.length === 0) await this.seat.changed();
    const [approval] = this.seat.state.approvals;
    if (approval === undefined) throw new Error("no question is open");
    return { turn, answer, approval };
  }

  /** A call as the library would never make it. */
  async raw(method: string, verb: string, input: object): Promise<never> {
    const socket = await RawSocket.open(this.daemon.socketPath);
    const { error } = await socket.call(method, verb, JSON.stringify(input));
    socket.close();
    if (error === undefined) throw new Error("it was not refused");
    throw new SessiondError(error.data.code as ErrorCode, error.data.detail as Record<string, unknown>);
  }

  get owner() {
    return { host_key: this.daemon.hostKey };
  }

  async close(): Promise<void> {
    await this.host.close();
    await this.daemon.stop(0);
    await removeRoot(this.daemon.root);
  }
}

const optionsFor = (daemon: TestDaemon): ConnectOptions => ({ env: testEnv(daemon.root), autoStart: false });
const planted = "planted-value-of-a-secret";

interface Refused {
  readonly what: string;
  readonly code: ErrorCode;
  readonly says: RegExp;
  /** @returns the call that is refused, when everything it needs is there */
  readonly ready: (room: Room) => Promise<() => Promise<unknown>>;
}

const at =
  (call: (room: Room) => Promise<unknown>): Refused["ready"] =>
  async (room) =>
  () =>
    call(room);

const refusals: readonly Refused[] = [
  // Policy and other settings.
  ...[-1, 1.5, Number.MAX_SAFE_INTEGER].map((ms) => ({
    what: `a policy of ${ms} ms`,
    code: "bad_request" as const,
    says: /policy\.ms/,
    ready: at(({ seat }) => seat.configure({ policy: { type: "reject_after", ms } })),
  })),
  {
    what: "a start with a policy of minus one",
    code: "bad_request",
    says: /policy\.ms/,
    ready: at(({ host, workdir }) => host.startSession({ workdir, policy: { type: "reject_after", ms: -1 } })),
  },
  { what: "an empty title", code: "bad_request", says: /title/, ready: at(({ seat }) => seat.configure({ title: "" })) },
  { what: "a title without end", code: "bad_request", says: /title/, ready: at(({ seat }) => seat.configure({ title: "x".repeat(121) })) },
  {
    what: "a model that is not there, beside a title that could be had",
    code: "model_unknown",
    says: /no model unknown-model/,
    ready: at(({ seat }) => seat.configure({ title: "another", starred: true, model: "unknown-model" })),
  },
  { what: "an empty note", code: "bad_request", says: /text/, ready: at(({ seat }) => seat.addSystemMessage("")) },
  {
    what: "a note with a token in it",
    code: "bad_request",
    says: /text: there is a token or key/,
    ready: at(({ seat, session }) => seat.addSystemMessage(`use ${session.token}`)),
  },
  // Variables.
  ...["OPENAI_API_KEY", "GITHUB_TOKEN", "MY_SECRET", "DB_PASSWORD", "AWS_CREDENTIALS", "SESSIOND_HOME"].map((name) => ({
    what: `a start with the variable ${name}`,
    code: "bad_request" as const,
    says: new RegExp(`${name}.*secret`),
    ready: at(({ host, workdir }) => host.startSession({ workdir, env: { PATH: "/bin", [name]: planted } })),
  })),
  {
    what: "a start with a variable that is on no list",
    code: "bad_request",
    says: /HARMLESS.*allow-list.*config\.toml/,
    ready: at(({ host, workdir }) => host.startSession({ workdir, env: { HARMLESS: planted } })),
  },
  {
    what: "a start with a token in a variable that is allowed",
    code: "bad_request",
    says: /env\.EDITOR: there is a token or key/,
    ready: at(({ host, workdir, session }) => host.startSession({ workdir, env: { EDITOR: `vi ${session.token}` } })),
  },
  {
    what: "a start with a variable that has no name",
    code: "bad_request",
    says: /variable's name/,
    ready: at(({ host, workdir }) => host.startSession({ workdir, env: { "a=b": planted } })),
  },
  {
    what: "a start with a token where a variable's name should be",
    code: "bad_request",
    says: /env\.…: a variable's name/,
    ready: at(({ host, workdir, session }) => host.startSession({ workdir, env: { [session.token]: "1" } })),
  },
  // Questions.
  ...["allow_everything", "ALLOW_ONCE", "reject_always", "constructor"].map((optionId) => ({
    what: `an answer with the option ${optionId}, which the question has not`,
    code: "bad_request" as const,
    says: /option_id must be one of allow_once/,
    ready: async (room: Room) => {
      const { approval } = await room.asking();
      return () => room.seat.approve(approval, { optionId });
    },
  })),
  {
    what: "an answer to a question that never was",
    code: "approval_gone",
    says: /never asked/,
    ready: async (room) => {
      const { approval } = await room.asking();
      return () => room.seat.approve({ ...approval, approval_id: `apr_${"z".repeat(22)}` }, { kind: "allow_once" });
    },
  },
  {
    what: "an answer to what was not shown",
    code: "conflict",
    says: /digest/,
    ready: async (room) => {
      const { approval } = await room.asking();
      return () => room.seat.approve({ ...approval, digest: "0".repeat(64) }, { kind: "allow_once" });
    },
  },
  { what: "a rule that is not there", code: "not_found", says: /no such rule/, ready: at(({ session }) => session.forgetRule(`rul_${"z".repeat(22)}`)) },
  // Prompts.
  {
    what: "a steering prompt for an agent that takes none",
    code: "unsupported",
    says: /when_busy queue.*interrupt/,
    ready: async (room) => {
      await room.running();
      return () => room.seat.sendPrompt("and", { whenBusy: "steer" });
    },
  },
  {
    what: "an edit of a prompt that was delivered",
    code: "prompt_gone",
    says: /delivered/,
    ready: async (room) => {
      const promptId = newPromptId();
      await room.running(promptId);
      return () => room.seat.editPrompt(promptId, "other work");
    },
  },
  {
    what: "an edit of a prompt that was withdrawn",
    code: "prompt_gone",
    says: /withdrawn/,
    ready: async (room) => {
      await room.running();
      const { promptId } = await room.seat.sendPrompt("later");
      await room.seat.withdrawPrompt(promptId);
      return () => room.seat.editPrompt(promptId, "other work");
    },
  },
  { what: "an edit of a prompt that never was", code: "prompt_gone", says: /never accepted/, ready: at(({ seat }) => seat.editPrompt(newPromptId(), "x")) },
  {
    what: "an edit that makes a prompt too large",
    code: "limit_reached",
    says: /prompt_bytes_max/,
    ready: async (room) => {
      await room.running();
      const { promptId } = await room.seat.sendPrompt("later");
      return () => room.seat.editPrompt(promptId, "x".repeat(300_000));
    },
  },
  {
    what: "an edit to nothing",
    code: "bad_request",
    says: /parts/,
    ready: async (room) => {
      await room.running();
      const { promptId } = await room.seat.sendPrompt("later");
      return () => room.seat.editPrompt(promptId, []);
    },
  },
  // The wheel.
  {
    what: "the wheel, given to a seat that left",
    code: "not_found",
    says: /no such seat/,
    ready: async (room) => {
      const viewer = await room.session.attach({ as: "viewer" });
      const to = viewer.seatId ?? "";
      await viewer.detach();
      while (room.seat.state.seats.some(({ seat_id }) => seat_id === to)) await room.seat.changed();
      return () => room.seat.yieldDriver({ to });
    },
  },
  {
    what: "the wheel, given to a seat that has not asked",
    code: "not_found",
    says: /no such seat/,
    ready: async (room) => {
      const { seatId } = await room.session.attach({ as: "viewer" });
      while (!room.seat.state.seats.some(({ seat_id }) => seat_id === seatId)) await room.seat.changed();
      return () => room.seat.yieldDriver({ to: seatId ?? "" });
    },
  },
  {
    what: "the wheel, taken while another has it",
    code: "driver_taken",
    says: /taken by sessiond client/,
    ready: async (room) => {
      const viewer = await room.session.attach({ as: "viewer" });
      while (room.seat.state.seats.length < 2) await room.seat.changed();
      return () => viewer.takeDriver();
    },
  },
  // What concerns the host.
  {
    what: "a watch of a session that is not there",
    code: "not_found",
    says: /no such session/,
    ready: at(watching({ sessionIds: [`ses_${"z".repeat(22)}`] })),
  },
  {
    what: "a watch with a filter that says nothing",
    code: "bad_request",
    says: /empty filter.*leave it out/,
    ready: at((room) => room.raw("subscription", "watch_sessions", { filter: {}, auth: room.owner })),
  },
  { what: "a watch of a list of none", code: "bad_request", says: /session_ids/, ready: at(watching({ sessionIds: [] })) },
  {
    what: "a watch by a session's token",
    code: "unauthenticated",
    says: /missing or not valid/,
    ready: at((room) => room.raw("subscription", "watch_sessions", { auth: { token: room.session.token } })),
  },
  {
    what: "a cursor that no watch gave",
    code: "bad_request",
    says: /cursor of watch_sessions/,
    ready: at((room) => room.raw("subscription", "watch_sessions", { cursor: "1:42", auth: room.owner })),
  },
  {
    what: "a stop of a directory that has no session",
    code: "not_found",
    says: /no such session/,
    ready: async (room) => {
      mkdirSync(join(room.workdir, "other"));
      return () => room.host.stopWorkdirSession(join(room.workdir, "other"));
    },
  },
];

function watching(filter: { sessionIds?: string[] }) {
  return async ({ host }: Room): Promise<never> => {
    throw await host.observe().watch(filter).ended;
  };
}

let room: Room;
beforeEach(async () => {
  room = await Room.open();
});
afterEach(async () => {
  expect(room.daemon.bugs).toEqual([]);
  await room.close();
});

describe("refused, and nothing has changed:", () => {
  test.each(refusals)("$what ($code)", async ({ code, says, ready }) => {
    const call = await ready(room);
    const before = { info: await room.session.info(), list: await room.host.listSessions(), turns: room.kind.turns.length };
    const error: unknown = await call().then(
      () => "it was not refused",
      (failed: unknown) => failed,
    );
    expect(error).toBeInstanceOf(SessiondError);
    const { code: got, message, detail } = error as SessiondError;
    expect([got, message]).toEqual([code, expect.stringMatching(says)]);
    expect(message).toMatch(/^[A-Z`].*\.$/);
    // Neither in words nor in the facts beside them.
    for (const secret of [planted, room.session.token]) expect(message + JSON.stringify(detail)).not.toContain(secret);
    expect({ info: await room.session.info(), list: await room.host.listSessions(), turns: room.kind.turns.length }).toEqual(before);
  });
});
