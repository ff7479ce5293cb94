import type { Approval, DriverSeat, Session } from "@sessiond/client";
import type { EventOf, EventType, SessionState } from "@sessiond/shared";
import { configure } from "../support/acp-house.ts";
import { DaemonHome } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { groupsOf, membersOf, processesWith } from "../support/processes.ts";
import type { AcpAgent } from "./agents/agent.ts";
import { newPlace, type Place } from "./conversation.ts";
import { peersDir } from "./installed.ts";
import { startMockModel, type MockModel } from "./mock-model.ts";

/** A real agent behind a real daemon, the mock model behind it, and the client library in front, as driver. */
export class Behind {
  readonly agent: AcpAgent;
  readonly home: DaemonHome;
  /** Of the agent: its own home, and the session's workdir within. */
  readonly place: Place;
  readonly model: MockModel;
  readonly session: Session;
  readonly seat: DriverSeat;

  private constructor(agent: AcpAgent, { home, place, model, session, seat }: Pick<Behind, "home" | "place" | "model" | "session" | "seat">) {
    this.agent = agent;
    this.home = home;
    this.place = place;
    this.model = model;
    this.session = session;
    this.seat = seat;
  }

  /** @param options  of the session's start */
  static async start(agent: AcpAgent, options: { readonly model?: string } = {}): Promise<Behind> {
    const [home, place, model] = [new DaemonHome(), newPlace(), await startMockModel()];
    agent.prepare(place.homeDir, model.url);
    const entry = { name: agent.name, command: agent.command(peersDir), args: agent.args(peersDir), env: agent.env(model.url, place.homeDir, peersDir) };
    configure(home.root, [entry]);
    const host = await home.connect({ clientName: "driver" });
    const session = await host.sessionForWorkdir(place.workdir, { agent: agent.name, ...options });
    const seat = await session.attach({ as: "driver" });
    return new Behind(agent, { home, place, model, session, seat });
  }

  async until(holds: (state: SessionState) => boolean): Promise<void> {
    while (!holds(this.seat.state)) {
      if (this.seat.connection === "ended") throw new Error(`the seat ended before that: ${String(await this.seat.ended)}`);
      await this.seat.changed();
    }
  }

  /** What this prompt's turn asks; it fails where the turn ends without asking. */
  async question(promptId: string): Promise<Approval> {
    const ended = (): boolean =>
      this.events("prompt_delivered").some((each) => each.prompt_id === promptId && each.turn_id === this.seat.state.last_turn?.turn_id);
    await this.until(({ approvals }) => approvals.length > 0 || ended());
    const [question] = this.seat.state.approvals;
    if (question === undefined) throw new Error(`the turn ended and nothing was asked; it said ${JSON.stringify(this.said.at(-1))}`);
    return question;
  }

  /** Prompts for a tool call and answers what is asked. @returns how the turn ended */
  async answered(text: string, kind: "allow_once" | "reject_once"): Promise<EventOf<"turn_ended">> {
    const { promptId } = await this.seat.sendPrompt(text);
    await this.seat.approve(await this.question(promptId), { kind });
    await this.until(({ turn }) => turn === null);
    return this.events("turn_ended").at(-1) as EventOf<"turn_ended">;
  }

  /** Resolves when the agent is in the middle of an answer that does not end. */
  async slow(): Promise<void> {
    await this.seat.sendPrompt("slow please");
    await this.until(() => this.said.at(-1)?.includes("word3") === true);
  }

  /** All messages of the agent, in order. */
  get said(): string[] {
    return this.seat.state.messages.flatMap((message) => (message.type === "agent" ? [message.text] : []));
  }

  /** Of the journal. */
  events<T extends EventType>(type: T): EventOf<T>[] {
    return this.home.journal(this.seat.sessionId).flatMap(({ event }) => (event.type === type ? [event as unknown as EventOf<T>] : []));
  }

  /** What the model was asked for an answer to these words: the conversation as the agent knows it. */
  async asked(words: string): Promise<string> {
    const { body } = await this.model.request(({ body: all, does }) => does !== "side" && JSON.stringify(all).includes(words));
    return JSON.stringify(body);
  }

  /** Of all that runs now, what is left of it whenever this is called: by mark, by group, by the agent's home in its environment. */
  family(): () => number[] {
    const known = (): number[] => [...this.home.tools(), ...processesWith(`HOME=${this.place.homeDir}`).map(({ pid }) => pid)];
    const groups = groupsOf(known());
    if (groups.size === 0) throw new Error("no process of the agent runs");
    return () => [...new Set([...known(), ...membersOf(groups)])];
  }

  /** kill -9 of the daemon; resolves when another one serves this seat. */
  async killDaemon(): Promise<void> {
    const epoch = this.seat.cursor.split(":")[0];
    await this.home.kill(await this.home.daemon());
    await eventually("the client is back by itself", () => this.seat.connection === "live" && this.seat.cursor.split(":")[0] !== epoch);
  }

  async close(): Promise<void> {
    await this.home.close();
    await this.model.close();
    this.place[Symbol.dispose]();
  }
}
