import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text as bodyOf } from "node:stream/consumers";
import { serveSide } from "../side-process.ts";
import { chat } from "./chat.ts";
import type { Answer, Dialect } from "./dialect.ts";
import { responses } from "./responses.ts";

/**
 * The model of all three, a process of its own: one HTTP server on loopback that speaks what each needs and says the
 * same to all. The last user message decides, as with bench/model.ts: `stream N`, `stream N every MS`, `call`, or any
 * other text, whose answer is `ok`. It is also the proxy for whatever the three would reach beyond this machine, and
 * refuses it: nothing leaves, and what was tried is told.
 */
export interface ModelReady {
  readonly baseURL: string;
}

/** Since they were last asked for; times are of the machine's one monotonic clock, in ns. */
export interface ModelTimes {
  /** When each request had arrived whole. */
  readonly requests: readonly string[];
  /** When each tool call was written. */
  readonly calls: readonly string[];
  /** When each stream's first chunk was written. */
  readonly streams: readonly string[];
  /** Hosts that were asked for, and refused. */
  readonly refused: readonly string[];
}

const seen = { requests: [] as string[], calls: [] as string[], streams: [] as string[], refused: [] as string[] };
const dialects: readonly Dialect[] = [chat, responses];
const now = (): string => String(process.hrtime.bigint());

const server = createServer((incoming, response) => {
  const dialect = dialects.find(({ path }) => incoming.url?.endsWith(path) === true);
  if (dialect === undefined) {
    // A proxy is asked for a whole address.
    if (incoming.url?.startsWith("http") === true) seen.refused.push(new URL(incoming.url).host);
    response.writeHead(404).end();
    return;
  }
  void bodyOf(incoming).then((text) => {
    seen.requests.push(now());
    const body: unknown = JSON.parse(text);
    response.writeHead(200, { "content-type": "text/event-stream" });
    return reply(response, dialect.asked(body), dialect.answer(body));
  });
});
// A pause between two rounds must not cost the next one a connection.
server.keepAliveTimeout = 600_000;
server.on("connect", (incoming: IncomingMessage, socket) => {
  seen.refused.push(incoming.url ?? "");
  // Who is refused may be gone before it heard so.
  socket.on("error", () => undefined).end("HTTP/1.1 403 Forbidden\r\n\r\n");
});

function reply(response: ServerResponse, asked: string | null, answer: Answer): Promise<void> | void {
  const [verb, count, , every] = (asked ?? "").split(" ");
  if (verb === "stream") {
    seen.streams.push(now());
    return every === undefined ? fast(response, answer, Number(count)) : paced(response, answer, { count: Number(count), every: Number(every) });
  }
  if (verb === "call") {
    seen.calls.push(now());
    response.end(`${answer.begin}${answer.call()}${answer.end("")}`);
    return;
  }
  const text = asked === null ? "done" : "ok";
  response.end(`${answer.begin}${answer.beforeText}${answer.text(text)}${answer.end(text)}`);
}

/** In blocks, as the kernel would hand a slower reader single writes too. */
async function fast(response: ServerResponse, answer: Answer, count: number): Promise<void> {
  const [before = "", after = ""] = answer.text("#").split("#");
  let block = `${answer.begin}${answer.beforeText}`;
  let whole = "";
  for (let number = 0; number < count; number++) {
    const piece = `${String(number).padStart(7, "0")} `;
    whole += piece;
    block += `${before}${piece}${after}`;
    if (block.length < 65_536) continue;
    if (!response.write(block, "latin1")) await drained(response);
    if (response.destroyed) return;
    block = "";
  }
  response.end(`${block}${answer.end(whole)}`);
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

/** By the clock and not by what a timer adds up to; each chunk is a write of its own. */
function paced(response: ServerResponse, answer: Answer, { count, every }: { count: number; every: number }): void {
  response.write(`${answer.begin}${answer.beforeText}`);
  const begun = performance.now();
  let [written, whole] = [0, ""];
  const timer = setInterval(() => {
    if (response.destroyed) return clearInterval(timer);
    for (; written < count && performance.now() - begun >= written * every; written++) {
      const piece = `${now()} `;
      whole += piece;
      response.write(answer.text(piece));
    }
    if (written < count) return;
    clearInterval(timer);
    response.end(answer.end(whole));
  }, 1);
}

server.listen(0, "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo;
  serveSide({ baseURL: `http://127.0.0.1:${port}/v1` } satisfies ModelReady, () => {
    const times: ModelTimes = {
      requests: seen.requests.splice(0),
      calls: seen.calls.splice(0),
      streams: seen.streams.splice(0),
      refused: seen.refused.splice(0),
    };
    return Promise.resolve(times);
  });
});
