import { spawn } from "node:child_process";
import { join } from "node:path";
import type { initTRPC } from "@trpc/server";
import type OpenAI from "openai";
import { z } from "zod";
import { Log } from "./steps.ts";

/**
 * Turns, bare: a model's stream is relayed to whoever listens, a tool call becomes a question, the answer runs the
 * command, its result goes to the model. What has to survive is synced, a line at a time: the prompt and the turn's end,
 * the answer and the tool's beginning. There is one place a conversation, and nobody is asked who he is.
 */
const conversation = z.object({ id: z.int() });
const tools = z.custom<OpenAI.ChatCompletionFunctionTool[]>(Array.isArray);
const seq = z.object({ seq: z.int() });
type Message = OpenAI.ChatCompletionMessageParam;
type Call = OpenAI.ChatCompletionMessageFunctionToolCall;

export type TurnEvent =
  | { readonly type: "agent_message_chunk"; readonly text: string }
  | { readonly type: "approval_requested"; readonly call_id: string; readonly command: string }
  | { readonly type: "tool_call_update"; readonly call_id: string; readonly result: string }
  | { readonly type: "turn_ended" };

export const turnsRouter = (trpc: ReturnType<typeof initTRPC.create>, { directory, baseURL }: { readonly directory: string; readonly baseURL: string }) => {
  const conversations: Conversation[] = [];
  let client: Promise<OpenAI> | undefined;
  const of = ({ id }: { readonly id: number }): Conversation => {
    const found = conversations[id];
    if (found === undefined) throw new Error("there is no such conversation");
    return found;
  };
  return trpc.router({
    /** @param synced  false: nothing is written */
    begin: trpc.procedure
      .input(z.object({ system: z.string(), tools, synced: z.boolean() }))
      .output(conversation)
      .mutation(async ({ input }) => {
        client ??= import("openai").then(({ default: Client }) => new Client({ apiKey: "k", baseURL, maxRetries: 0 }));
        const id = conversations.length;
        const log = input.synced ? await Log.open(join(directory, `conversation-${id}`)) : null;
        conversations.push(new Conversation(await client, { log, tools: input.tools, messages: [{ role: "system", content: input.system }] }));
        return { id };
      }),
    told: trpc.procedure.input(conversation).subscription(({ input, signal }) => of(input).read(signal)),
    say: trpc.procedure
      .input(z.object({ ...conversation.shape, text: z.string() }))
      .output(seq)
      .mutation(async ({ input }) => ({ seq: await of(input).say(input.text) })),
    answer: trpc.procedure
      .input(z.object({ ...conversation.shape, call_id: z.string() }))
      .output(seq)
      .mutation(async ({ input }) => ({ seq: await of(input).answer(input.call_id) })),
  });
};

interface Parts {
  readonly log: Log | null;
  readonly tools: OpenAI.ChatCompletionFunctionTool[];
  readonly messages: Message[];
}

interface Reader {
  batches: (readonly TurnEvent[])[];
  wake(): void;
}

class Conversation {
  readonly #client: OpenAI;
  readonly #parts: Parts;
  readonly #readers = new Set<Reader>();
  #batch: TurnEvent[] = [];
  #answered = (): void => undefined;

  constructor(client: OpenAI, parts: Parts) {
    this.#client = client;
    this.#parts = parts;
  }

  async say(text: string): Promise<number> {
    this.#parts.messages.push({ role: "user", content: text });
    const at = await this.#keep({ type: "prompt_accepted", text });
    void this.#turn();
    return at;
  }

  async answer(call_id: string): Promise<number> {
    const at = await this.#keep({ type: "approval_resolved", call_id });
    this.#answered();
    return at;
  }

  async *read(signal: AbortSignal | undefined): AsyncGenerator<readonly TurnEvent[]> {
    const reader: Reader = { batches: [], wake: () => undefined };
    this.#readers.add(reader);
    signal?.addEventListener("abort", () => reader.wake(), { once: true });
    while (signal?.aborted !== true) {
      const batch = reader.batches.shift();
      if (batch === undefined) await new Promise<void>((resolve) => (reader.wake = resolve));
      else yield batch;
    }
    this.#readers.delete(reader);
  }

  async #turn(): Promise<void> {
    for (let call = await this.#ask(); call !== null; call = await this.#ask()) {
      const { command } = JSON.parse(call.function.arguments) as { command: string };
      const answered = new Promise<void>((resolve) => (this.#answered = resolve));
      this.#tell({ type: "approval_requested", call_id: call.id, command });
      await answered;
      await this.#keep({ type: "tool_call_update", call_id: call.id, status: "in_progress" });
      const result = await run(command);
      this.#tell({ type: "tool_call_update", call_id: call.id, result });
      this.#parts.messages.push({ role: "tool", tool_call_id: call.id, content: result });
    }
    await this.#keep({ type: "turn_ended" });
    this.#tell({ type: "turn_ended" });
  }

  /** One question to the model, relayed as its answer comes. @returns the call that it wants, or null */
  async #ask(): Promise<Call | null> {
    const { messages } = this.#parts;
    const body = { model: "m", messages, tools: this.#parts.tools, stream: true, stream_options: { include_usage: true } } as const;
    let text = "";
    let call: Call | null = null;
    for await (const { choices } of await this.#client.chat.completions.create(body)) {
      const delta = choices[0]?.delta;
      if (delta?.content) this.#tell({ type: "agent_message_chunk", text: delta.content });
      text += delta?.content ?? "";
      const wanted = delta?.tool_calls?.[0];
      if (wanted)
        call = { id: wanted.id ?? "", type: "function", function: { name: wanted.function?.name ?? "", arguments: wanted.function?.arguments ?? "" } };
    }
    messages.push({ role: "assistant", content: text || null, ...(call !== null && { tool_calls: [call] }) });
    return call;
  }

  async #keep(event: object): Promise<number> {
    return (await this.#parts.log?.append(JSON.stringify({ at: Date.now(), event }))) ?? 0;
  }

  /** What one turn of the event loop brought is one message. */
  #tell(event: TurnEvent): void {
    if (this.#batch.length === 0) setImmediate(() => this.#flush());
    this.#batch.push(event);
  }

  #flush(): void {
    const batch = this.#batch;
    this.#batch = [];
    for (const reader of this.#readers) {
      reader.batches.push(batch);
      reader.wake();
    }
  }
}

/** As a tool's command is run: with sh, in a group of its own, its output gathered. */
function run(command: string): Promise<string> {
  const child = spawn("/bin/sh", ["-c", command], { detached: true, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (piece: string) => (output += piece));
  return new Promise((resolve) => child.once("close", (code) => resolve(`${output || "(no output)"}\n[exit code ${code}]`)));
}
