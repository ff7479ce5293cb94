import dns from "node:dns";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, sessionFromToken } from "@sessiond/client/node";
import { formatApiKey, formatHostKey, formatToken } from "@sessiond/shared";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { failure } from "../support/attached-seat.ts";
import { selfSigned, type Certificate } from "../support/certificate.ts";
import { FalseDaemon } from "../support/false-daemon.ts";
import { spoiled } from "../support/spoiled.ts";

/** What leaves this process over TCP, and to whom: seen by those who listen where a daemon is expected. */
const hostKey = formatHostKey("h".repeat(43));
const apiKey = formatApiKey(`key_${"K".repeat(22)}`, "k".repeat(32));
const sessionId = `ses_${"A".repeat(22)}`;
const token = formatToken("control", sessionId, "t".repeat(32));
const anySecret = /ssd[hk]?_/;

/** A place with a host key in it, as the environment names it. */
const root = mkdtempSync(join(tmpdir(), "ssd-tcp-"));
let certificate: Certificate;
beforeAll(() => {
  mkdirSync(join(root, "sessiond"), { mode: 0o700 });
  writeFileSync(join(root, "sessiond/host-key"), `${hostKey}\n`, { mode: 0o600 });
  vi.stubEnv("XDG_STATE_HOME", root);
  vi.stubEnv("XDG_RUNTIME_DIR", root);
  certificate = selfSigned("IP:127.0.0.1", "DNS:localhost");
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true, force: true });
});
afterEach(() => vi.restoreAllMocks());

test("B2 B6 the host key never leaves over TCP: not where no API key is given, nor where it is given as one, nor beside one", async () => {
  await using peer = await FalseDaemon.listen();
  const { url } = peer;
  // As plain JavaScript may call it.
  const wrong = [undefined, "", hostKey, token, spoiled(apiKey), `${apiKey} `];
  for (const key of wrong) {
    const error = await failure(connect({ url, apiKey: key as string }));
    expect([error.code, String(error.detail["reason"])]).toEqual(["unauthenticated", expect.stringContaining("API key")]);
  }
  expect(peer.connections).toBe(0);
  await using host = await connect({ url, apiKey });
  expect(await host.listSessions()).toEqual({ sessions: [], next: null });
  expect((await failure(host.status())).code).toBe("unauthenticated");
  expect((await failure(host.metrics())).code).toBe("unsupported");
  expect(peer.text).toContain(`{"api_key":"${apiKey}"}`);
  expect(peer.text).not.toContain("ssdh_");
  expect(peer.text).not.toContain("host_key");
});

test("B2 a credential travels with calls alone: nothing of it stands in the address, the headers or the hello", async () => {
  await using peer = await FalseDaemon.listen();
  await using host = await connect({ url: peer.url, apiKey });
  await host.listSessions();
  expect((await failure(sessionFromToken(token, { url: peer.url }))).code).toBe("unauthenticated");
  expect(peer.doorstep).toMatch(/^GET \/\n/);
  expect(peer.doorstep).not.toMatch(anySecret);
  expect(peer.heard.filter((each) => each.includes('"path":"hello"')).join("\n")).not.toMatch(anySecret);
  expect(peer.text.match(/"auth":\{[^}]*\}/g)).toEqual([`"auth":{"api_key":"${apiKey}"}`, `"auth":{"token":"${token}"}`]);
});

test("B2 B6 who answers with a redirect gets no credential, and neither does the place it sends to", async () => {
  await using elsewhere = await FalseDaemon.listen();
  for (const status of [301, 302, 307, 308]) {
    await using peer = await FalseDaemon.listen({ answers: { status, location: `${elsewhere.url}/` } });
    for (const error of [await failure(connect({ url: peer.url, apiKey })), await failure(sessionFromToken(token, { url: peer.url }))]) {
      expect(error.code).toBe("daemon_unreachable");
      expect(error.message).toContain(`${peer.url} sends elsewhere (${status})`);
    }
    expect(peer.connections).toBe(2);
    expect(peer.text).not.toMatch(anySecret);
  }
  expect(elsewhere.connections).toBe(0);
});

test("B2 B6 a certificate that is not trusted, or is another's, gets no credential; not even where the environment tells Node to look away", async () => {
  await using peer = await FalseDaemon.listen({ tls: certificate });
  const named = selfSigned("DNS:box.example");
  await using other = await FalseDaemon.listen({ tls: named });
  vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
  const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
  try {
    const wrong = [
      { url: peer.url },
      { url: peer.url, ca: named.cert },
      { url: other.url, ca: named.cert },
      { url: `wss://localhost:${other.port}`, ca: named.cert },
    ];
    for (const where of wrong) {
      for (const error of [await failure(connect({ ...where, apiKey })), await failure(sessionFromToken(token, where))]) {
        expect(error.code).toBe("daemon_unreachable");
        expect(error.message).toContain("is not trusted");
      }
    }
    expect([peer.text, other.text]).toEqual(["", ""]);
    for (const url of [peer.url, `wss://localhost:${peer.port}`]) {
      await using host = await connect({ url, apiKey, ca: certificate.cert });
      expect(await host.listSessions()).toEqual({ sessions: [], next: null });
    }
  } finally {
    warned.mockRestore();
    vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", undefined);
  }
});

test("B2 localhost is this machine, and no resolver is asked whether it is another", async () => {
  await using peer = await FalseDaemon.listen();
  const asked = vi
    .spyOn(dns, "lookup")
    .mockImplementation(((_name: string, _options: unknown, found: (error: Error) => void) => found(new Error("elsewhere"))) as never);
  await using host = await connect({ url: `ws://localhost:${peer.port}`, apiKey });
  expect(await host.listSessions()).toEqual({ sessions: [], next: null });
  expect(asked).not.toHaveBeenCalled();
});

test("B2 no address and no proxy is taken from the environment: nobody is dialled but whom the caller named", async () => {
  await using peer = await FalseDaemon.listen();
  vi.stubEnv("SESSIOND_URL", "ws://127.0.0.1:9");
  vi.stubEnv("HTTP_PROXY", "http://127.0.0.1:9");
  vi.stubEnv("HTTPS_PROXY", "http://127.0.0.1:9");
  vi.stubEnv("ALL_PROXY", "http://127.0.0.1:9");
  await using host = await connect({ url: peer.url, apiKey });
  await host.listSessions();
  expect(peer.connections).toBe(1);
});

test("a place where nobody listens, that is no daemon's, or speaks no TLS is told at once and in words, not after a minute of tries", async () => {
  await using forbids = await FalseDaemon.listen({ answers: { status: 403 } });
  const probe = createServer((socket) =>
    socket
      .on("error", () => undefined)
      .resume()
      .end("no\n"),
  ).listen(0, "127.0.0.1");
  await new Promise((resolve) => probe.once("listening", resolve));
  const { port } = probe.address() as AddressInfo;
  const wrong: readonly [url: string, words: string][] = [
    [forbids.url, "takes no connection by that name (403)"],
    [`wss://127.0.0.1:${forbids.port}`, "does not speak TLS"],
    [`ws://127.0.0.1:${port}`, "is no daemon"],
    ["ws://127.0.0.1:1", "nothing answers at ws://127.0.0.1:1 (ECONNREFUSED)"],
  ];
  for (const [url, words] of wrong) {
    const error = await failure(connect({ url, apiKey }));
    expect([error.code, error.message]).toEqual(["daemon_unreachable", expect.stringContaining(words)]);
  }
  await new Promise((resolve) => probe.close(resolve));
});
