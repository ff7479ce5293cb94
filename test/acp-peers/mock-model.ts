import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text as bodyOf } from "node:stream/consumers";
import { chat } from "./model/chat.ts";
import type { Dialect } from "./model/dialect.ts";
import { gemini } from "./model/gemini.ts";
import { messages } from "./model/messages.ts";
import { responses } from "./model/responses.ts";
import { decide, type Doing } from "./model/script.ts";

/**
 * The model of every agent here: one HTTP server on loopback that speaks four dialects and does what model/script.ts
 * says. It is also the proxy for whatever an agent would reach beyond this machine, and refuses it: nothing leaves,
 * and what was tried is told.
 */
export interface MockModel {
  /** Without a path: `http://127.0.0.1:<port>`. */
  readonly url: string;
  /** Every request for an answer, in the order in which they arrived. */
  readonly requests: readonly ModelRequest[];
  /** `<method> <url>` of what was asked for and is not here: other hosts, unknown paths. */
  readonly refused: readonly string[];
  /** The first request, past or to come, that `isIt`. */
  request(isIt: (request: ModelRequest) => boolean): Promise<ModelRequest>;
  close(): Promise<void>;
}

export interface ModelRequest {
  readonly dialect: Dialect["name"];
  readonly path: string;
  readonly body: unknown;
  readonly does: Doing["does"];
  /** Resolves when the answer is over: "whole", or "cut" when the agent closed the connection before. */
  readonly over: Promise<"whole" | "cut">;
}

const dialects: readonly Dialect[] = [chat, responses, messages, gemini];
const slowEveryMs = 100;
/** No peer may keep a test's process busy for longer. */
const slowWordsMax = 600;

export async function startMockModel(): Promise<MockModel> {
  const requests: ModelRequest[] = [];
  const refused: string[] = [];
  const waiting = new Set<(request: ModelRequest) => void>();

  const server = createServer((incoming, response) => {
    const path = (incoming.url ?? "").split("?")[0] ?? "";
    const dialect = incoming.method === "POST" && path.startsWith("/") ? dialects.find((each) => each.path.test(path)) : undefined;
    if (dialect === undefined) return aside(incoming, response, path);
    void bodyOf(incoming).then((text) => {
      const body: unknown = JSON.parse(text);
      const asked = dialect.read(body);
      const doing = decide(asked, `call_${requests.length + 1}`);
      const over = new Promise<"whole" | "cut">((resolve) => response.once("close", () => resolve(response.writableFinished ? "whole" : "cut")));
      const request = { dialect: dialect.name, path, body, does: doing.does, over };
      requests.push(request);
      for (const each of [...waiting]) each(request);
      if (dialect.streams(body, path)) return streamed(response, dialect.stream(asked), doing);
      const reply = doing.does === "call" ? { call: doing.call } : { text: doing.does === "slow" ? "slow" : doing.text };
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(dialect.whole(reply)));
    });
  });
  server.on("connect", (incoming: IncomingMessage, socket) => {
    refused.push(`CONNECT ${incoming.url ?? ""}`);
    // Who is refused may be gone before it heard so.
    socket.on("error", () => undefined).end("HTTP/1.1 403 Forbidden\r\n\r\n");
  });

  /** Token counts and lists of models; everything else is not here. */
  function aside(incoming: IncomingMessage, response: ServerResponse, path: string): void {
    incoming.resume();
    const found = path.endsWith(":countTokens")
      ? { totalTokens: 100 }
      : path.endsWith("/count_tokens")
        ? { input_tokens: 100 }
        : path.endsWith("/models")
          ? { object: "list", data: [{ id: "mock", object: "model", created: 1, owned_by: "mock" }], models: [] }
          : undefined;
    if (found === undefined) refused.push(`${incoming.method} ${incoming.url}`);
    response
      .writeHead(found === undefined ? 404 : 200, { "content-type": "application/json" })
      .end(JSON.stringify(found ?? { error: { message: "not here" } }));
  }

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    refused,
    request(isIt) {
      const past = requests.find(isIt);
      if (past !== undefined) return Promise.resolve(past);
      return new Promise((resolve) => {
        const hear = (request: ModelRequest): void => {
          if (!isIt(request)) return;
          waiting.delete(hear);
          resolve(request);
        };
        waiting.add(hear);
      });
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function streamed(response: ServerResponse, stream: ReturnType<Dialect["stream"]>, doing: Doing): void {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write(stream.begin);
  if (doing.does === "slow") return slow(response, stream);
  if (doing.does === "call") return void response.end(`${stream.call(doing.call)}${stream.end("")}`);
  // Several pieces, so that what an agent does with them can be seen.
  for (const piece of doing.text.match(/.{1,40}/gs) ?? []) response.write(stream.text(piece));
  response.end(stream.end(doing.text));
}

function slow(response: ServerResponse, stream: ReturnType<Dialect["stream"]>): void {
  let whole = "";
  let words = 0;
  const timer = setInterval(() => {
    const piece = `word${++words} `;
    whole += piece;
    response.write(stream.text(piece));
    if (words < slowWordsMax) return;
    clearInterval(timer);
    response.end(stream.end(whole));
  }, slowEveryMs);
  response.once("close", () => clearInterval(timer));
}
