import { requestOf } from "../packages/daemon/src/agents/openai/request.ts";
import { Transcript } from "../packages/daemon/src/agents/transcript.ts";
import type { TurnEvent } from "./limit/turns.ts";
import { QuickClient } from "./quick-client.ts";
import type { Rig } from "./rig.ts";

/** The driver's and a viewer's end of a conversation with the limit; each event of it must come to both, once. */
export class BareConversation {
  readonly #id: number;
  readonly #driver: QuickClient;
  readonly #viewer: QuickClient;
  readonly #came = { driver: 0, viewer: 0 };
  #expected = 0;
  #asked: (callId: string) => void = () => undefined;
  #ended = (): void => undefined;
  #caughtUp = (): void => undefined;

  private constructor(id: number, driver: QuickClient, viewer: QuickClient) {
    this.#id = id;
    this.#driver = driver;
    this.#viewer = viewer;
  }

  /** What the model is asked with is what the daemon asks it with. @param synced  false: the limit writes nothing */
  static async begin({ limit, home }: Rig, { synced }: { readonly synced: boolean }): Promise<BareConversation> {
    const [driver, viewer] = await Promise.all([QuickClient.open(limit), QuickClient.open(limit)]);
    const { messages, tools } = requestOf(new Transcript(), { model: "m", workdir: home.workdir });
    const { id } = await driver.call<{ id: number }>("mutation", "begin", { system: messages[0]?.content, tools, synced });
    const conversation = new BareConversation(id, driver, viewer);
    await driver.subscribe<readonly TurnEvent[]>("told", { id }, (events) => conversation.#toldDriver(events));
    await viewer.subscribe<readonly TurnEvent[]>("told", { id }, (events) => conversation.#toldViewer(events));
    return conversation;
  }

  /** Resolves when the driver is told of its end. @param events  how many it has */
  async turn(text: string, events: number): Promise<void> {
    this.#expected += events;
    const ended = new Promise<void>((resolve) => (this.#ended = resolve));
    await this.#driver.call("mutation", "say", { id: this.#id, text });
    await ended;
  }

  /** Begin before the turn. @returns the question's call, when it is at the viewer */
  question(): Promise<string> {
    return new Promise((resolve) => (this.#asked = resolve));
  }

  answer(call_id: string): Promise<unknown> {
    return this.#driver.call("mutation", "answer", { id: this.#id, call_id });
  }

  /** @throws when one of them was told of more or less than there was */
  async close(): Promise<void> {
    const { driver, viewer } = this.#came;
    // A viewer's last batch may still be on its way.
    const late = viewer < driver ? new Promise<void>((resolve) => (this.#caughtUp = resolve)) : null;
    await late;
    this.#driver.close();
    this.#viewer.close();
    if (this.#came.driver !== this.#expected || this.#came.viewer !== this.#expected)
      throw new Error(`of ${this.#expected} events ${this.#came.driver} came to the driver, and ${this.#came.viewer} to the viewer`);
  }

  #toldDriver(events: readonly TurnEvent[]): void {
    this.#came.driver += events.length;
    if (events.some(({ type }) => type === "turn_ended")) this.#ended();
  }

  #toldViewer(events: readonly TurnEvent[]): void {
    this.#came.viewer += events.length;
    for (const event of events) if (event.type === "approval_requested") this.#asked(event.call_id);
    if (this.#came.viewer >= this.#came.driver) this.#caughtUp();
  }
}
