import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text as bodyOf } from "node:stream/consumers";
import { serveSide } from "./side-process.ts";

/**
 * The model of all benches, a process of its own: an HTTP server on loopback with the Chat Completions stream. It is
 * cheap on purpose, so that what is measured is who reads it. The last user message decides what it says:
 *
 *   stream N           N chunks as fast as the socket takes them; each chunk's text is its number, 7 digits and a space
 *   stream N every MS  paced; each chunk's text is the time at which it was written (hrtime in ns) and a space
 *   call               one tool call: shell, `true`; after the tool's result the text `done`
 *   anything else      one chunk, `ok`
 */
export interface ModelReady {
  readonly baseURL: string;
}

/** Times of the machine's one monotonic clock, in ns, since they were last asked for. */
export interface ModelTimes {
  /** When each request had arrived whole. */
  readonly requests: readonly string[];
  /** When each tool call was written. */
  readonly calls: readonly string[];
}

interface Message {
  readonly role: string;
  readonly content: string | readonly { readonly text?: string }[] | null;
}

const requests: string[] = [];
const calls: string[] = [];

const now = (): string => String(process.hrtime.bigint());
/** A chunk as servers write it; some of them say more in each, none says less. */
const line = (rest: object): string => `data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "m", ...rest })}\n\n`;
const delta = (content: object, finish_reason: string | null = null): string => line({ choices: [{ index: 0, delta: content, finish_reason }] });
const chunk = (content: string): string => delta({ content });
const usage = line({ choices: [], usage: { prompt_tokens: 10, completion_tokens: 10, total_tokens: 20 } });
const [aroundNumber = "", afterNumber = ""] = chunk("#").split("#");

const server = createServer((incoming, response) => {
  void bodyOf(incoming).then((body) => {
    requests.push(now());
    response.writeHead(200, { "content-type": "text/event-stream" });
    return answer((JSON.parse(body) as { messages: readonly Message[] }).messages, response);
  });
});
// A pause between two rounds must not cost the next one a connection.
server.keepAliveTimeout = 600_000;

async function answer(messages: readonly Message[], response: ServerResponse): Promise<void> {
  if (messages.at(-1)?.role === "tool") return end(response, chunk("done"));
  const [verb, count, , every] = textOf(messages.findLast(({ role }) => role === "user")).split(" ");
  if (verb === "stream" && every !== undefined) return paced(response, Number(count), Number(every));
  if (verb === "stream") return fast(response, Number(count));
  if (verb !== "call") return end(response, chunk("ok"));
  calls.push(now());
  const call = { index: 0, id: `call_${process.hrtime.bigint()}`, type: "function", function: { name: "shell", arguments: '{"command":"true"}' } };
  end(response, delta({ tool_calls: [call] }), "tool_calls");
}

const end = (response: ServerResponse, last = "", reason = "stop"): void => void response.end(`${last}${delta({}, reason)}${usage}data: [DONE]\n\n`);

/** In blocks, as the kernel would hand a slower reader single writes too. */
async function fast(response: ServerResponse, count: number): Promise<void> {
  let block = "";
  for (let number = 0; number < count; number++) {
    block += `${aroundNumber}${String(number).padStart(7, "0")} ${afterNumber}`;
    if (block.length < 65_536) continue;
    if (!response.write(block, "latin1")) await drained(response);
    if (response.destroyed) return;
    block = "";
  }
  end(response, block);
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off("drain", done).off("close", done);
      resolve();
    };
    response.once("drain", done).once("close", done);
  });
}

/** By the clock and not by what a timer adds up to; a late timer writes what is due, each chunk as a write of its own. */
function paced(response: ServerResponse, count: number, every: number): void {
  const begun = performance.now();
  let written = 0;
  const timer = setInterval(() => {
    if (response.destroyed) return clearInterval(timer);
    while (written < count && performance.now() - begun >= written * every) {
      response.write(chunk(`${now()} `));
      written++;
    }
    if (written < count) return;
    clearInterval(timer);
    end(response);
  }, 1);
}

function textOf(message: Message | undefined): string {
  const content = message?.content ?? "";
  return typeof content === "string" ? content : content.map(({ text }) => text ?? "").join("\n");
}

server.listen(0, "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo;
  serveSide({ baseURL: `http://127.0.0.1:${port}/v1` } satisfies ModelReady, () =>
    Promise.resolve({ requests: requests.splice(0), calls: calls.splice(0) } satisfies ModelTimes),
  );
});
