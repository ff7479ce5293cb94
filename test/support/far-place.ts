import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";

/**
 * The other end of a network link: a namespace with a wire of its own, behind which the daemon's unix socket is to be
 * had over TCP. Cut, the link swallows everything and nobody is told; each end's connections stay as they are.
 */
const fixture = resolve(import.meta.dirname, "../fixtures/net-relay.mjs");
const ip = (...words: string[]): void => void execFileSync("ip", words, { stdio: ["ignore", "ignore", "pipe"] });
const port = 7_000;

/** False where namespaces cannot be made: no root, no `ip`. */
export function canLeave(): boolean {
  const name = `ssdp${process.pid}`;
  try {
    ip("netns", "add", name);
    ip("netns", "del", name);
    return true;
  } catch {
    return false;
  }
}

export class FarPlace {
  /** A runtime directory there, whose socket leads to the daemon. */
  readonly runtimeDir: string;
  readonly #name: string;
  readonly #relays: ChildProcess[] = [];

  private constructor(name: string, runtimeDir: string) {
    this.#name = name;
    this.runtimeDir = runtimeDir;
  }

  /** @param n  0 to 250: which of this process's places it is; sets its addresses apart */
  static async begin(n: number, { socket, directory }: { readonly socket: string; readonly directory: string }): Promise<FarPlace> {
    const name = `ssd${process.pid}x${n}`;
    const net = `10.${100 + (process.pid % 100)}.${n + 1}`;
    const place = new FarPlace(name, directory);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    try {
      ip("netns", "add", name);
      ip("link", "add", place.#near, "type", "veth", "peer", "name", "eth0", "netns", name);
      ip("addr", "add", `${net}.1/24`, "dev", place.#near);
      ip("link", "set", place.#near, "up");
      ip("netns", "exec", name, "ip", "addr", "add", `${net}.2/24`, "dev", "eth0");
      ip("netns", "exec", name, "ip", "link", "set", "eth0", "up");
      await place.#relay([], `${net}.1:${port}`, socket);
      await place.#relay(["ip", "netns", "exec", name], join(directory, "sock"), `${net}.1:${port}`);
    } catch (error) {
      await place.end();
      throw error;
    }
    return place;
  }

  cut(): void {
    ip("link", "set", this.#near, "down");
  }

  mend(): void {
    ip("link", "set", this.#near, "up");
  }

  async end(): Promise<void> {
    for (const relay of this.#relays) {
      if (relay.exitCode !== null || relay.signalCode !== null) continue;
      const gone = once(relay, "exit");
      relay.kill("SIGKILL");
      await gone;
    }
    for (const words of [
      ["link", "del", this.#near],
      ["netns", "del", this.#name],
    ])
      try {
        ip(...words);
      } catch {
        // It was not made, or went with the other.
      }
  }

  get #near(): string {
    return `v${this.#name.slice(3)}`;
  }

  async #relay(where: readonly string[], listen: string, dial: string): Promise<void> {
    const [command, ...words] = [...where, process.execPath, fixture, listen, dial];
    const relay = spawn(command, words, { stdio: ["ignore", "pipe", "inherit"] });
    this.#relays.push(relay);
    const ready = relay.stdout === null ? [] : once(relay.stdout, "data");
    await Promise.race([ready, once(relay, "exit").then(() => Promise.reject(new Error("the relay did not begin")))]);
  }
}
