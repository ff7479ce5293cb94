import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { connect as dial, type Socket } from "node:net";
import { join } from "node:path";
import { connect as dialSecurely } from "node:tls";
import { afterEach, expect } from "vitest";
import { removeRoot, startTestDaemon, testRoot, type TestDaemon, type TestOptions } from "../../packages/daemon/src/testing.ts";
import type { Certificate } from "./certificate.ts";
import { hostAuth } from "./gate-world.ts";

/** A daemon in this process with a TCP door, and what a stranger can say to that: bytes, and what came back. */
export interface TcpDaemon extends TestDaemon {
  readonly tcp: { readonly address: string; readonly port: number; readonly tls: boolean; readonly hosts: readonly string[] };
}

export interface TcpOptions extends TestOptions {
  /** Lines of `[tcp]`. */
  readonly table?: string;
  readonly pair?: Certificate;
}

/** Where the pair lies that the daemon is given. */
export const pairFiles = (root: string) => ({ cert: join(root, "config/sessiond/cert.pem"), key: join(root, "config/sessiond/key.pem") });

export function writePair(root: string, { cert, key }: Certificate): void {
  const files = pairFiles(root);
  writeFileSync(files.cert, cert);
  writeFileSync(files.key, key, { mode: 0o600 });
  // Of a file that is there the mode stays as it was.
  chmodSync(files.key, 0o600);
}

/** A folder whose config.toml says that. */
export async function configured({ table = 'listen = "127.0.0.1:0"', pair, root }: TcpOptions = {}): Promise<string> {
  const folder = root ?? (await testRoot());
  mkdirSync(join(folder, "config/sessiond"), { recursive: true, mode: 0o700 });
  if (pair !== undefined) writePair(folder, pair);
  const files = pair === undefined ? "" : '\ncert = "cert.pem"\nkey = "key.pem"';
  writeFileSync(join(folder, "config/sessiond/config.toml"), `[tcp]\n${table}${files}\n`);
  return folder;
}

export async function startTcpDaemon(options: TcpOptions = {}): Promise<TcpDaemon> {
  const daemon = await startTestDaemon({ ...options, root: await configured(options) });
  const { tcp } = await daemon.call("daemon_status", {}, hostAuth(daemon));
  if (tcp === null) throw new Error("no TCP door");
  return { ...daemon, tcp };
}

/** Starts such daemons for the tests of a file; each is stopped after its test, and no bug was met. */
export function tcpDaemons(): (options?: TcpOptions) => Promise<TcpDaemon> {
  const open: TcpDaemon[] = [];
  afterEach(async () => {
    for (const daemon of open.splice(0)) {
      expect(daemon.bugs).toEqual([]);
      await daemon.stop(0);
      await removeRoot(daemon.root);
    }
  });
  return async (options) => {
    const daemon = await startTcpDaemon(options);
    open.push(daemon);
    return daemon;
  };
}

export interface Heard {
  /** Of the HTTP answer; 0 where none came. */
  readonly status: number;
  readonly text: string;
}

/** How to come in by TCP. */
export const way = ({ tcp }: TcpDaemon): Socket =>
  tcp.tls ? dialSecurely({ host: "127.0.0.1", port: tcp.port, rejectUnauthorized: false }) : dial(tcp.port, "127.0.0.1");

/** Says these bytes; resolves with the answer when the other side has closed, or when it is a WebSocket. */
export function say(socket: Socket, text: string): Promise<Heard> {
  let heard = "";
  return new Promise((resolve) => {
    const end = () => {
      socket.destroy();
      resolve({ status: Number(/^HTTP\/1\.1 (\d{3})/.exec(heard)?.[1] ?? 0), text: heard });
    };
    socket.on("data", (bytes) => {
      heard += bytes.toString("latin1");
      if (heard.startsWith("HTTP/1.1 101") && heard.includes("\r\n\r\n")) end();
    });
    socket.once("error", () => undefined);
    socket.once("close", end);
    socket.write(text);
  });
}

export const upgradeLines = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="];
export const request = (target: string, lines: readonly string[], version = "1.1"): string => `GET ${target} HTTP/${version}\r\n${lines.join("\r\n")}\r\n\r\n`;
