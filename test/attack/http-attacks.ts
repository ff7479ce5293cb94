import type { Chance } from "../support/chance.ts";
import { frameOf, upgradeLines, upgradeText, type Entrance } from "./entrance.ts";

/**
 * What is said before, or instead of, the WebSocket: requests that are too long, too many in one, never ended, or none.
 * What must come of it is one of these status lines, and the socket closed.
 */
export interface HttpAttack {
  /** 101: it becomes a WebSocket, on which the call is answered. */
  readonly status: readonly number[];
  /** It is only ended by the time that a newcomer has. */
  readonly waits?: true;
  bytes(given: { readonly entrance: Entrance; readonly verb: string; readonly call: string; readonly chance: Chance }): string | Buffer;
}

const one = <T>(chance: Chance, values: readonly T[]): T => values[Math.floor(chance.upTo(values.length))] as T;
const request = (lines: readonly string[], body = ""): string => `${lines.join("\r\n")}\r\n\r\n${body}`;
const of = (status: readonly number[], bytes: HttpAttack["bytes"]): HttpAttack => ({ status, bytes });
const upgradeWith = (status: readonly number[], more: readonly string[] | ((chance: Chance) => readonly string[]), target = "/"): HttpAttack =>
  of(status, ({ entrance, chance }) => upgradeText(entrance, { target, more: typeof more === "function" ? more(chance) : more }));
const host = (entrance: Entrance): string => `Host: ${entrance.host}`;
const params = ({ entrance, call }: { entrance: Entrance; call: string }, first: string): Buffer =>
  Buffer.concat([Buffer.from(upgradeText(entrance, { target: "/?connectionParams=1" })), frameOf(first), frameOf(call)]);

export const httpAttacks: Readonly<Record<string, HttpAttack>> = {
  "verb as a page": of([404], ({ entrance, verb, chance }) =>
    request([`GET /${verb}${one(chance, ["", "?input={}", "?batch=1&input={}", "/", "%00"])} HTTP/1.1`, host(entrance)]),
  ),
  "verb by POST": of([404], ({ entrance, verb, call }) =>
    request([`POST /${verb} HTTP/1.1`, host(entrance), "Content-Type: application/json", `Content-Length: ${call.length}`], call),
  ),
  "other methods": of([400, 404, 405], ({ entrance, chance }) =>
    request([
      `${one(chance, ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "M-SEARCH"])} ${one(chance, ["/", "*", "/healthz"])} HTTP/1.1`,
      host(entrance),
    ]),
  ),
  "method unknown": of([400], ({ entrance, verb }) => request([`${verb} / HTTP/1.1`, host(entrance)])),
  CONNECT: of([405], ({ entrance }) => request(["CONNECT 10.0.0.1:22 HTTP/1.1", host(entrance)])),
  "upgrade by POST": of([400, 405], ({ entrance }) => request(["POST / HTTP/1.1", host(entrance), ...upgradeLines])),
  "two lengths": of([400], ({ entrance }) => request(["POST / HTTP/1.1", host(entrance), "Content-Length: 5", "Content-Length: 50"], "hello")),
  "chunks and a length": of([400], ({ entrance }) =>
    request(["POST / HTTP/1.1", host(entrance), "Content-Length: 5", "Transfer-Encoding: chunked"], "0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n"),
  ),
  "chunks in disguise": of([400, 404], ({ entrance, chance }) =>
    request(
      [
        "POST / HTTP/1.1",
        host(entrance),
        one(chance, [
          "Transfer-Encoding: xchunked",
          "Transfer-Encoding : chunked",
          "Transfer-Encoding: chunked, identity",
          "Transfer-Encoding:\tchunked\r\nTransfer-Encoding: x",
        ]),
      ],
      "0\r\n\r\n",
    ),
  ),
  "chunk without bounds": of([400, 404], ({ entrance }) =>
    request(["POST / HTTP/1.1", host(entrance), "Transfer-Encoding: chunked"], "ffffffffffffffffff\r\nx"),
  ),
  "body without end": of([404], ({ entrance }) => request(["POST / HTTP/1.1", host(entrance), "Content-Length: 999999999"], "x".repeat(65_536))),
  "absolute address": of([403, 404], ({ entrance, chance }) =>
    request([`GET ${one(chance, ["http://evil.example/", "http://localhost/healthz", "https://localhost:1/"])} HTTP/1.1`, host(entrance)]),
  ),
  "upgrade of no path": upgradeWith([400, 404], [], "//"),
  "upgrade of an address": of([400, 404], ({ entrance, chance }) =>
    upgradeText(entrance, {
      target: one(chance, [
        "http://",
        "http://[::1",
        "http://localhost/",
        "http://a:99999/",
        "*",
        "///",
        "//?connectionParams=1",
        "ws://localhost/",
        "http://:80",
      ]),
    }),
  ),
  "upgrade of a verb": of([404], ({ entrance, verb }) => upgradeText(entrance, { target: `/${verb}` })),
  "query that is odd": of([101], ({ entrance, chance, call }) =>
    Buffer.concat([
      Buffer.from(
        upgradeText(entrance, {
          target: `/?${one(chance, ["connectionParams=2", "connectionParams", "%", "%ff%fe", "a=".repeat(2_000), "__proto__[x]=1", "lastEventId=1:1", "=&=&?"])}`,
        }),
      ),
      frameOf(call),
    ]),
  ),
  "no Host": of([400, 403], () => request(["GET / HTTP/1.1", ...upgradeLines])),
  "another Host": of([403], ({ chance }) =>
    request([
      "GET / HTTP/1.1",
      `Host: ${one(chance, ["evil.example", "localhost.evil.example", "LOCALHOST.", "localhost:1", "127.0.0.1.", "[::1]", "localhost@evil.example", "0.0.0.0"])}`,
      ...upgradeLines,
    ]),
  ),
  "an Origin": upgradeWith([403], (chance) => [`Origin: ${one(chance, ["https://evil.example", "null", "http://localhost", "file://", ""])}`]),
  "HTTP/0.9": of([400, 403], () => "GET /\r\n\r\n"),
  "HTTP/1.0": of([101, 400, 403, 404], ({ entrance }) => request(["GET / HTTP/1.0", host(entrance)])),
  "HTTP of another version": of([400, 505], ({ entrance, chance }) => request([`GET / HTTP/${one(chance, ["9.9", "3.0", "1.2", "x"])}`, host(entrance)])),
  "HTTP/2": of([400, 505], () => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  "TLS on a plain door": of([400], () => Buffer.from("16030100c8010000c40303".padEnd(400, "a7"), "hex")),
  "another protocol": of([400], ({ chance }) =>
    one(chance, ["SSH-2.0-x\r\n\r\n", "EHLO x\r\n\r\n", "\u0005\u0001\u0000", "*1\r\n$4\r\nPING\r\n", "USER anonymous\r\n\r\n", "\u0000".repeat(100)]),
  ),
  "header of 20 KB": upgradeWith([431], [`X-Long: ${"y".repeat(20_000)}`]),
  "headers by the thousand": upgradeWith(
    [431],
    Array.from({ length: 5_000 }, (_, n) => `X-${n}: y`),
  ),
  "headers without end": of([431], ({ entrance }) => `GET / HTTP/1.1\r\n${host(entrance)}\r\n${"X-Long: y\r\n".repeat(20_000)}`),
  "target of 20 KB": upgradeWith([414, 431], [], `/?${"x".repeat(20_000)}`),
  "header in disguise": of([400], ({ entrance, chance }) =>
    request([
      "GET / HTTP/1.1",
      host(entrance),
      one(chance, ["X: a\u0000b", "X\u0000: a", "X : a", ": a", "X: a\rY: b", " X: folded", "no colon"]),
      ...upgradeLines,
    ]),
  ),
  "lines of LF": of([101, 400], ({ entrance }) => request(["GET / HTTP/1.1", host(entrance), ...upgradeLines]).replaceAll("\r\n", "\n")),
  "upgrade of another version": of([400, 426], ({ entrance, chance }) =>
    request([
      "GET / HTTP/1.1",
      host(entrance),
      "Connection: Upgrade",
      "Upgrade: websocket",
      `Sec-WebSocket-Version: ${one(chance, ["0", "12", "x", "13, 8"])}`,
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]),
  ),
  "upgrade without a key": of([400], ({ entrance, chance }) =>
    request([
      "GET / HTTP/1.1",
      host(entrance),
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      ...one(chance, [[], ["Sec-WebSocket-Key: short"], ["Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="]]),
    ]),
  ),
  "upgrade to something else": of([400, 404], ({ entrance, chance }) =>
    request(["GET / HTTP/1.1", host(entrance), "Connection: Upgrade", `Upgrade: ${one(chance, ["h2c", "TLS/1.0", "websocket, h2c", "x"])}`]),
  ),
  "subprotocols that are none": upgradeWith([400], (chance) => [`Sec-WebSocket-Protocol: ${one(chance, [",", "a,a", "a b", '"x"'])}`]),
  "compression offered": of([101], ({ entrance, chance, call }) =>
    Buffer.concat([
      Buffer.from(
        upgradeText(entrance, {
          more: [
            `Sec-WebSocket-Extensions: ${one(chance, ["permessage-deflate", "permessage-deflate; client_max_window_bits=15; server_no_context_takeover", "permessage-deflate; client_max_window_bits=99", "x-webkit-deflate-frame", ";;;", "permessage-deflate, permessage-deflate"])}`,
          ],
        }),
      ),
      frameOf(call),
    ]),
  ),
  "upgrade with a body": of([101], ({ entrance, call }) => Buffer.concat([Buffer.from(upgradeText(entrance, { more: ["Content-Length: 5"] })), frameOf(call)])),
  "requests in a row": of([404], ({ entrance }) => request(["GET / HTTP/1.1", host(entrance)]).repeat(50)),
  "a body to be asked for": of([100, 404, 417], ({ entrance, chance }) =>
    request(["POST / HTTP/1.1", host(entrance), `Expect: ${one(chance, ["100-continue", "miracle"])}`, "Connection: close", "Content-Length: 5"], "hello"),
  ),
  "parameters that are none": of([101], (given) =>
    params(
      given,
      one(given.chance, [
        "",
        "null",
        "[]",
        '{"method":"connectionParams","data":17}',
        '{"method":"connectionParams","data":{"x":1}}',
        "{",
        given.call.repeat(2),
        '{"data":[]}',
      ]),
    ),
  ),
  "half a request": { ...of([408], ({ entrance, chance }) => upgradeText(entrance).slice(0, 1 + Math.floor(chance.upTo(60)))), waits: true },
  "nothing at all": { ...of([408], () => ""), waits: true },
  "an upgrade that stays silent": { ...upgradeWith([101], []), waits: true },
};
