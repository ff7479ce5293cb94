import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Approval, VerbInput, VerbOutput } from "@sessiond/shared";
import { removeRoot, startTestDaemon, type TestDaemon, type TestOptions } from "../../packages/daemon/src/testing.ts";
import { FakeClock } from "./fake-clock.ts";
import { ScriptedKind } from "./scripted-agent.ts";
import { Rig, type TestSeat } from "./session-rig.ts";

/** A daemon of a test with the built-in agent, and sessions in it that do what the practice model understands. */
export class House {
  readonly #options: TestOptions;
  daemon: TestDaemon;

  private constructor(daemon: TestDaemon, options: TestOptions) {
    this.daemon = daemon;
    this.#options = options;
  }

  static async open(options: TestOptions = {}): Promise<House> {
    return new House(await startTestDaemon(options), options);
  }

  async restart(): Promise<void> {
    await this.daemon.stop(0);
    this.daemon = await startTestDaemon({ ...this.#options, root: this.daemon.root });
  }

  async close(): Promise<void> {
    await this.daemon.stop(0);
    await removeRoot(this.daemon.root);
  }

  get owner(): { host_key: string } {
    return { host_key: this.daemon.hostKey };
  }

  /** A directory in the daemon's root. */
  workdir(name = "work"): string {
    const path = join(this.daemon.root, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  start(options: Omit<VerbInput<"start_or_get_for_workdir">, "workdir"> = {}, workdir = this.workdir()): Promise<VerbOutput<"start_session">> {
    return this.daemon.call("start_or_get_for_workdir", { workdir, model: "practice", ...options }, this.owner);
  }

  async driver({ session, token }: VerbOutput<"start_session">, label = "driver"): Promise<TestSeat> {
    const rig = new Rig(this.daemon, { clock: new FakeClock(), kind: new ScriptedKind(), workdir: session.workdir, options: {} });
    Object.assign(rig, { sessionId: session.session_id, token });
    return rig.driver(label);
  }
}

/** Runs one prompt; questions get this option. @returns what the turn's calls were told */
export async function played(seat: TestSeat, text: string, judge: (question: Approval) => string = () => "allow_once"): Promise<string[]> {
  const { turn_id } = await seat.prompt(text);
  const answered = new Set<string>();
  for (;;) {
    const open = () => seat.state.approvals.find((approval) => !answered.has(approval.approval_id));
    await seat.until(() => open() !== undefined || seat.state.last_turn?.turn_id === turn_id);
    const question = open();
    if (question === undefined) break;
    answered.add(question.approval_id);
    await seat.approve(question, judge(question));
  }
  return seat.state.messages.flatMap((message) => (message.type === "tool" && message.turn_id === turn_id ? [message.text] : []));
}
