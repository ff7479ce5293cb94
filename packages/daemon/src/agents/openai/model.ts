import { setTimeout as pause } from "node:timers/promises";
import type { Limits, Usage } from "@sessiond/shared";
import type OpenAI from "openai";
import { joinedSignal } from "../../joined-signal.ts";
import { AnswerEvents, chunkOf } from "./answer-events.ts";
import { boundedFetch } from "./bounded-answer.ts";
import { IdleWatch } from "./idle-watch.ts";
import type { ModelFailure } from "./model-failure.ts";
import { failureOf, retryAfter } from "./model-failure.ts";
import type { WantedCall } from "./wanted-calls.ts";
import { WantedCalls } from "./wanted-calls.ts";

/**
 * One question to the model over Chat Completions, streamed. Owns the client, the retries and
 * the watch for silence. Whatever goes wrong comes back as an outcome, never as an exception.
 */
export interface ModelRequest {
  readonly model: string;
  readonly messages: OpenAI.ChatCompletionMessageParam[];
  readonly tools: OpenAI.ChatCompletionFunctionTool[];
}

export type ModelDelta = { readonly type: "text" | "thought"; readonly text: string };

export type ModelOutcome = { readonly usage: Usage } & (
  | { readonly type: "answered"; readonly reason: "stop" | "length" | "refusal"; readonly calls: readonly WantedCall[] }
  | { readonly type: "failed"; readonly error: ModelFailure }
  | { readonly type: "aborted" }
);

export interface ModelOptions {
  readonly apiKey: string;
  readonly baseURL: string;
  readonly limits: Limits;
  readonly fetch?: typeof fetch | undefined;
  /** Waits between retries; a test's clock. Rejects or resolves early when aborted. */
  readonly sleep?: ((ms: number, signal: AbortSignal) => Promise<void>) | undefined;
}

const noUsage: Usage = { input_tokens: 0, output_tokens: 0 };

export class ChatModel {
  readonly #options: ModelOptions;
  #client: Promise<OpenAI> | undefined;

  constructor(options: ModelOptions) {
    this.#options = options;
  }

  /** @yields the answer's text and thoughts as they come, together what came together. @throws never */
  async *ask(request: ModelRequest, signal: AbortSignal): AsyncGenerator<readonly ModelDelta[], ModelOutcome, void> {
    const watch = new IdleWatch(this.#options.limits.model_idle_ms);
    const either = joinedSignal(signal, watch.signal);
    try {
      const answer = await this.#open(request, { signal: either.signal, watch });
      if (answer === null) return { type: "aborted", usage: noUsage };
      return yield* this.#read(answer, { signal, watch });
    } catch (error) {
      if (signal.aborted) return { type: "aborted", usage: noUsage };
      return { type: "failed", error: watch.silent ? this.#silence() : failureOf(error, this.#options), usage: noUsage };
    } finally {
      watch.stop();
      either.release();
    }
  }

  /** The SDK's own retries are off: they cannot be seen, and wait without a bound of ours. */
  async #open(request: ModelRequest, { signal, watch }: { signal: AbortSignal; watch: IdleWatch }): Promise<AnswerEvents | null> {
    const client = await this.#connect();
    const body = { ...request, stream: true, stream_options: { include_usage: true } } as const;
    for (let retries = 0; ; retries += 1) {
      try {
        const asked = client.chat.completions.create(request.tools.length > 0 ? body : { ...body, tools: undefined as never }, { signal });
        return new AnswerEvents(await watch.during(asked.asResponse()), this.#options.limits);
      } catch (error) {
        const wait = retries < this.#options.limits.model_retries_max ? retryAfter(error, retries) : null;
        if (wait === null || signal.aborted || wait > this.#options.limits.model_idle_ms) throw error;
        await (this.#options.sleep ?? sleep)(wait, signal);
        if (signal.aborted) return null;
      }
    }
  }

  async *#read(answer: AnswerEvents, { signal, watch }: { signal: AbortSignal; watch: IdleWatch }): AsyncGenerator<readonly ModelDelta[], ModelOutcome, void> {
    const calls = new WantedCalls(this.#options.limits);
    let finish: string | null = null;
    let refused = false;
    let usage = noUsage;
    try {
      for (;;) {
        const group = await watch.during(answer.next());
        if (signal.aborted) return { type: "aborted", usage };
        if (group === null) break;
        const deltas: ModelDelta[] = [];
        try {
          for (const data of group) {
            const chunk = chunkOf(data);
            // Some servers send running totals with each chunk: the last one counts.
            if (chunk.usage) usage = usageOf(chunk.usage, this.#options.limits.model_usage_tokens_max);
            const choice = chunk.choices?.[0];
            if (choice === undefined) continue;
            finish = choice.finish_reason ?? finish;
            const { delta } = choice;
            if (!delta) continue;
            const thought = thoughtOf(delta);
            if (thought !== "") deltas.push(...pieces("thought", thought));
            if (delta.content) deltas.push(...pieces("text", delta.content));
            if (delta.refusal) {
              refused = true;
              deltas.push(...pieces("text", delta.refusal));
            }
            for (const call of delta.tool_calls ?? []) calls.add(call);
          }
        } finally {
          // Also what came before one that is wrong.
          if (deltas.length > 0) yield deltas;
        }
      }
    } catch (error) {
      if (signal.aborted) return { type: "aborted", usage };
      // What breaks after the answer is complete takes nothing from it.
      if (finish === null) return { type: "failed", error: watch.silent ? this.#silence() : failureOf(error, { ...this.#options, midway: true }), usage };
    } finally {
      // Ends the connection when the consumer left in the middle.
      await answer.close();
    }
    if (watch.silent && finish === null) return { type: "failed", error: this.#silence(), usage };
    if (finish === null)
      return {
        type: "failed",
        error: { code: "model_cut", message: "The model's answer broke off: the stream ended without saying that it was complete. Send the prompt again." },
        usage,
      };
    const reason = finish === "length" ? "length" : finish === "content_filter" || refused ? "refusal" : "stop";
    return { type: "answered", reason, calls: reason === "stop" ? calls.all() : [], usage };
  }

  #silence(): ModelFailure {
    return {
      code: "model_silent",
      message: `The model said nothing for ${this.#options.limits.model_idle_ms} ms, so the turn was ended. Send the prompt again, or look whether the model's server is well.`,
    };
  }

  #connect(): Promise<OpenAI> {
    // Loaded at the first question, so that a daemon starts without it.
    return (this.#client ??= import("openai").then(
      ({ default: Client }) =>
        new Client({
          apiKey: this.#options.apiKey,
          baseURL: this.#options.baseURL,
          organization: null,
          project: null,
          maxRetries: 0,
          logLevel: "off",
          timeout: this.#options.limits.model_idle_ms * 2,
          fetch: boundedFetch(this.#options.limits, this.#options.fetch),
        }),
    ));
  }
}

const sleep = (ms: number, signal: AbortSignal): Promise<void> => pause(ms, undefined, { signal }).catch(() => {});

function usageOf({ prompt_tokens, completion_tokens }: { prompt_tokens?: number; completion_tokens?: number }, most: number): Usage {
  const count = (value: number | undefined): number => (Number.isFinite(value) ? Math.min(Math.max(0, Math.trunc(value ?? 0)), most) : 0);
  return { input_tokens: count(prompt_tokens), output_tokens: count(completion_tokens) };
}

/** Not in the official API; several servers send it under one of two names. */
function thoughtOf(delta: object): string {
  if ("reasoning_content" in delta && typeof delta.reasoning_content === "string") return delta.reasoning_content;
  return "reasoning" in delta && typeof delta.reasoning === "string" ? delta.reasoning : "";
}

const pieceCharsMax = 65_536;

/** A server may send a whole answer as one delta; an event is a line of bounded length. */
function* pieces(type: "text" | "thought", text: string): Generator<ModelDelta> {
  for (let at = 0; at < text.length;) {
    const high = text.charCodeAt(at + pieceCharsMax - 1);
    const end = at + pieceCharsMax - (high >= 0xd800 && high < 0xdc00 ? 1 : 0);
    yield { type, text: text.slice(at, end) };
    at = end;
  }
}
