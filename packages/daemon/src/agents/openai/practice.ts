import { setTimeout as pause } from "node:timers/promises";
import type { Action, ToolAction } from "./practice-words.ts";
import { actionsOf, practiceHelp } from "./practice-words.ts";

/**
 * The practice model: a `fetch` that answers Chat Completions in-process, in the true streaming
 * format, with real tool calls for plain requests. It has no intelligence and no memory: each
 * answer follows from the request's messages alone.
 */
export const practiceFetch: typeof fetch = async (_url, init) => {
  const signal = init?.signal ?? new AbortController().signal;
  signal.throwIfAborted();
  const messages = messagesOf(typeof init?.body === "string" ? init.body : "{}");
  const segment = segmentOf(messages);
  if (segment.some((action) => action.do === "fail")) {
    const error = { message: "You asked the practice model to fail.", type: "server_error", code: null, param: null };
    return Response.json({ error }, { status: 500, headers: { "x-should-retry": "false" } });
  }
  const promptTokens = Math.ceil(messages.reduce((sum, message) => sum + message.content.length, 0) / 4);
  return new Response(streamOf(answer(segment, reportOf(messages), { signal, promptTokens }), signal), { headers: { "content-type": "text/event-stream" } });
};

interface PracticeMessage {
  readonly role: string;
  readonly content: string;
  readonly calls: readonly { readonly name: string; readonly args: string }[];
}

function messagesOf(body: string): PracticeMessage[] {
  const { messages = [] } = JSON.parse(body) as {
    messages?: { role: string; content?: unknown; tool_calls?: { function: { name: string; arguments: string } }[] }[];
  };
  return messages.map(({ role, content, tool_calls = [] }) => ({
    role,
    content: typeof content === "string" ? content : "",
    calls: tool_calls.map((call) => ({ name: call.function.name, args: call.function.arguments })),
  }));
}

const sinceLastUser = (messages: readonly PracticeMessage[]): readonly PracticeMessage[] =>
  messages.slice(messages.findLastIndex((message) => message.role === "user") + 1);

/** What to do now: the actions after those whose tools have run, up to and with the next that needs tools. */
function segmentOf(messages: readonly PracticeMessage[]): Action[] {
  const actions = actionsOf(messages.findLast((message) => message.role === "user")?.content ?? "");
  let toSkip = sinceLastUser(messages).filter((message) => message.calls.length > 0).length;
  const from = toSkip === 0 ? 0 : actions.findIndex((action) => action.do === "tools" && (toSkip -= 1) === 0) + 1;
  const end = actions.findIndex((action, at) => at >= from && action.do === "tools");
  return actions.slice(from, end < 0 ? undefined : end + 1);
}

/** What came of the tools that ran last, in a line each. */
function reportOf(messages: readonly PracticeMessage[]): string {
  const since = sinceLastUser(messages);
  const at = since.findLastIndex((message) => message.calls.length > 0);
  const calls = since[at]?.calls ?? [];
  return calls.map((call, index) => `${call.name}: ${said(since[at + 1 + index]?.content ?? "")}\n`).join("");
}

function said(result: string): string {
  const refused = /^The user refused this call: ([^]*)/.exec(result);
  if (refused !== null) return `You refused it: ${refused[1]}`;
  const [first = "", ...rest] = result.trim().split("\n");
  return first.slice(0, 200) + (rest.length > 0 ? ` (and ${rest.length} more ${rest.length === 1 ? "line" : "lines"})` : "");
}

interface Asked {
  readonly signal: AbortSignal;
  readonly promptTokens: number;
}

/** The body, piece by piece: what is not pulled is not made. */
async function* answer(segment: readonly Action[], report: string, { signal, promptTokens }: Asked): AsyncGenerator<string> {
  const sse = (data: unknown): string => `data: ${typeof data === "string" ? data : JSON.stringify(data)}\n\n`;
  const frame = { id: "chatcmpl-practice", object: "chat.completion.chunk", created: 0, model: "practice" };
  const chunk = (delta: object, finish_reason: string | null = null): string =>
    sse({ ...frame, choices: [{ index: 0, delta, finish_reason, logprobs: null }], usage: null });
  let tokens = 0;
  const text = (content: string): string => ((tokens += Math.ceil(content.length / 4)), chunk({ content }));
  let wants: readonly ToolAction[] = [];

  // Waiting comes before the first byte: that is what a slow model looks like.
  for (const action of segment) {
    if (action.do !== "wait") break;
    await pause(action.ms, undefined, { signal });
  }
  yield chunk({ role: "assistant", content: "" });
  if (report !== "") yield text(report);
  let begun = false;
  for (const action of segment) {
    if (action.do === "wait" && begun) await pause(action.ms, undefined, { signal });
    if (action.do !== "wait") begun = true;
    if (action.do === "say") for (const word of action.text.match(/\s*\S+\s*/g) ?? []) yield text(word);
    if (action.do === "help") yield text(practiceHelp);
    if (action.do === "think") yield chunk({ reasoning_content: action.text });
    if (action.do === "tools") wants = action.calls;
    if (action.do !== "stream") continue;
    for (let n = 1; n <= action.count;) {
      let together = "";
      for (const last = action.everyMs > 0 ? n : n + 31; n <= Math.min(last, action.count); n += 1) together += text(`${n} `);
      yield together;
      if (action.everyMs > 0) await pause(action.everyMs, undefined, { signal });
    }
  }
  for (const [index, call] of wants.entries()) {
    // The arguments come in two pieces, as they do from a real model.
    const args = JSON.stringify(call.input);
    const half = Math.ceil(args.length / 2);
    yield chunk({ tool_calls: [{ index, id: `call_practice_${index}`, type: "function", function: { name: call.tool, arguments: args.slice(0, half) } }] });
    yield chunk({ tool_calls: [{ index, function: { arguments: args.slice(half) } }] });
    tokens += Math.ceil(args.length / 4);
  }
  yield chunk({}, wants.length > 0 ? "tool_calls" : "stop");
  yield sse({ ...frame, choices: [], usage: { prompt_tokens: promptTokens, completion_tokens: tokens, total_tokens: promptTokens + tokens } });
  yield sse("[DONE]");
}

function streamOf(pieces: AsyncGenerator<string>, signal: AbortSignal): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let ended = false;
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const onAbort = (): void => {
          if (!ended) controller.error(signal.reason);
          ended = true;
        };
        signal.addEventListener("abort", onAbort, { once: true });
      },
      async pull(controller) {
        const next = await pieces.next().catch(() => ({ done: true, value: undefined }) as const);
        if (ended) return;
        if (next.done !== true) return controller.enqueue(encoder.encode(next.value));
        ended = true;
        controller.close();
      },
      async cancel() {
        ended = true;
        await pieces.return(undefined);
      },
    },
    { highWaterMark: 0 },
  );
}
