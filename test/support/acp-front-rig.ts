import { expect } from "vitest";
import { removeRoot, startTestDaemon, testEnv, testRoot, type TestDaemon } from "../../packages/daemon/src/testing.ts";
import { AcpClient, type ClientOptions } from "./acp-client.ts";
import { wrongWith } from "./acp-schema.ts";
import { DaemonHome } from "./daemon-home.ts";
import { ScriptedKind, type ScriptOptions } from "./scripted-agent.ts";

/**
 * Homes, daemons and editors of one test of `sessiond acp`. `end` ends all of them, and holds each editor to what is
 * promised always: nothing on stderr, nothing but messages on stdout, and each of them as the protocol's schema has it.
 */
export class FrontRig {
  readonly #clients: AcpClient[] = [];
  readonly #homes: DaemonHome[] = [];
  readonly #daemons: TestDaemon[] = [];
  /** Its stderr is meant to say something. */
  readonly outspoken = new Set<AcpClient>();

  home(config?: string): DaemonHome {
    const home = new DaemonHome(config);
    this.#homes.push(home);
    return home;
  }

  /** A daemon in this process, with an agent that a test plays. */
  async scripted(script: ScriptOptions = {}): Promise<{ daemon: TestDaemon; kind: ScriptedKind; env: Record<string, string> }> {
    const kind = new ScriptedKind(script);
    const root = await testRoot();
    const daemon = await startTestDaemon({ root, kinds: [kind] });
    this.#daemons.push(daemon);
    return { daemon, kind, env: testEnv(root) };
  }

  editor(at: { readonly env: Record<string, string> }, options: Partial<ClientOptions> = {}): AcpClient {
    const client = new AcpClient({ env: at.env, ...options });
    this.#clients.push(client);
    return client;
  }

  /** One that has introduced itself. */
  async met(at: { readonly env: Record<string, string> }, options: Partial<ClientOptions> & { readonly name?: string } = {}): Promise<AcpClient> {
    const client = this.editor(at, options);
    await client.initialize(options.name);
    return client;
  }

  async end(): Promise<void> {
    const clients = this.#clients.splice(0);
    await Promise.all(clients.map((client) => client.kill()));
    await Promise.all(this.#homes.splice(0).map((home) => home.close()));
    for (const daemon of this.#daemons.splice(0)) {
      await daemon.stop(0);
      await removeRoot(daemon.root);
    }
    for (const client of clients) {
      if (!this.outspoken.has(client)) expect(client.stderr).toBe("");
      expect(client.noise).toEqual([]);
      for (const came of client.came) expect(wrongWith(came, "agent", (id) => client.asked.get(id as number))).toBeNull();
    }
  }
}
