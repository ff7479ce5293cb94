import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { DriverSeat, Host, Served, ServedAgent, ServedEvent, SessiondError, TurnToRun } from "@sessiond/client";
import { connect } from "@sessiond/client/node";
import { removeRoot, startTestDaemon, testEnv, type TestDaemon, type TestOptions } from "../../packages/daemon/src/testing.ts";
import { eventually } from "./eventually.ts";

/** A daemon, and over its socket: who serves agents there, and who drives sessions of theirs. */
export type Play = (turn: TurnToRun) => AsyncIterable<ServedEvent>;

export class ServedHouse {
  readonly daemon: TestDaemon;
  readonly #hosts: Host[] = [];

  private constructor(daemon: TestDaemon) {
    this.daemon = daemon;
  }

  static async open(options: TestOptions = {}): Promise<ServedHouse> {
    return new ServedHouse(await startTestDaemon(options));
  }

  async host(): Promise<Host> {
    const host = await connect({ env: testEnv(this.daemon.root), autoStart: false });
    this.#hosts.push(host);
    return host;
  }

  /** By a process of its own, as far as the daemon can tell. */
  async serve(name: string, prompt: Play, more: Partial<ServedAgent> = {}): Promise<Served> {
    return (await this.host()).serveAgent(name, { prompt, ...more });
  }

  /** Closes, and resolves when the daemon has noticed. */
  async leave(served: Served): Promise<void> {
    served.close();
    const host = await this.host();
    await eventually("the agent is gone", async () => !(await host.listAgents()).some(({ name }) => name === served.name));
  }

  workdir(name = "work"): string {
    const path = join(this.daemon.root, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  /** In a session of its own directory. */
  async driver(agent: string, name = "work"): Promise<DriverSeat> {
    const session = await (await this.host()).sessionForWorkdir(this.workdir(name), { agent });
    return session.attach({ as: "driver" });
  }

  async close(): Promise<void> {
    await Promise.all(this.#hosts.map((host) => host.close()));
    await this.daemon.stop(0);
    await removeRoot(this.daemon.root);
  }
}

/** Resolves when the seat's state fulfils it. */
export async function until(seat: DriverSeat, holds: () => boolean): Promise<void> {
  while (!holds()) {
    // From then on the next change is always there at once.
    if (seat.connection === "ended") throw (await seat.ended) ?? new Error("the seat was left");
    await seat.changed();
  }
}

export const question = async (seat: DriverSeat) => {
  await until(seat, () => seat.state.approvals.length > 0);
  const [approval] = seat.state.approvals;
  if (approval === undefined) throw new Error("no question is open");
  return approval;
};

export const refusal = (call: Promise<unknown>): Promise<SessiondError> =>
  call.then(
    () => Promise.reject(new Error("it was not refused")),
    (error: unknown) => error as SessiondError,
  );

export const toolCall = (tool_call_id: string, input: Record<string, unknown> = { path: "a.txt" }, tool = "write"): ServedEvent => ({
  type: "tool_call",
  tool_call_id,
  message_id: `of ${tool_call_id}`,
  tool,
  kind: "edit",
  title: `${tool} ${tool_call_id}`,
  input,
});

export const update = (tool_call_id: string, status: "in_progress" | "completed" | "failed", result?: string): ServedEvent => ({
  type: "tool_call_update",
  tool_call_id,
  status,
  ...(result !== undefined && { result }),
});
