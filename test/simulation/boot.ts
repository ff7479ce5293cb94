import { limits, type Limits } from "@sessiond/shared";
import type { Audit } from "../../packages/daemon/src/audit.ts";
import { ServedAgents } from "../../packages/daemon/src/agents/served/served-agents.ts";
import { Counters } from "../../packages/daemon/src/counters.ts";
import { GateKeeper } from "../../packages/daemon/src/gate.ts";
import { ApiKeys } from "../../packages/daemon/src/host/api-keys.ts";
import { Host } from "../../packages/daemon/src/host/host.ts";
import { Starts } from "../../packages/daemon/src/host/starts.ts";
import { Store } from "../../packages/daemon/src/host/store.ts";
import { mintBootId } from "../../packages/daemon/src/ids.ts";
import { linkInProcess } from "../../packages/daemon/src/testing.ts";
import { Throttle } from "../../packages/daemon/src/throttle.ts";
import { HostKey } from "../../packages/daemon/src/keys.ts";
import { buildRouter, type Connection } from "../../packages/daemon/src/router.ts";
import type { SimAgents } from "./world.ts";
import type { SimClock } from "./sim-clock.ts";
import type { SimDisk } from "./sim-disk.ts";

/**
 * One run of the daemon's core: what main.ts composes, without door, lock and log. It ends with a
 * crash, after which nothing of it reaches anybody, or by draining.
 */
export const simLimits: Limits = {
  ...limits,
  segment_bytes_max: 6_000,
  segments_kept: 1,
  segments_open_max: 2,
  window_bytes_max: 4_000,
  window_frames_max: 24,
  batch_frames_max: 8,
  batch_bytes_max: 2_000,
  queue_prompts_max: 6,
  epochs_kept: 12,
  seats_max: 8,
  transcript_kept_chars_max: 1_000,
  // Of one peer, whose steps take no time.
  failed_credentials_per_peer_per_minute_max: Number.MAX_SAFE_INTEGER,
  failed_credentials_per_id_per_minute_max: Number.MAX_SAFE_INTEGER,
};

export interface BootParts {
  readonly disk: SimDisk;
  readonly clock: SimClock;
  readonly agents: SimAgents;
  report(error: unknown): void;
}

type Caller = Record<string, (input: unknown) => Promise<unknown>>;

export class Boot {
  readonly host: Host;
  readonly disk: SimDisk;
  readonly clock: SimClock;
  readonly agents: SimAgents;
  /** False once it was killed, or has drained: what it still says is heard by nobody. */
  alive = true;
  readonly #router: ReturnType<typeof buildRouter>;
  readonly #caller: Caller;

  private constructor({ disk, clock, agents }: BootParts, host: Host, router: ReturnType<typeof buildRouter>) {
    this.disk = disk;
    this.clock = clock;
    this.agents = agents;
    this.host = host;
    this.#router = router;
    this.#caller = this.connect(linkInProcess());
  }

  /** @throws SessiondError storage_failed */
  static async start(parts: BootParts): Promise<Boot> {
    const { disk, clock, agents, report } = parts;
    const counters = new Counters();
    const bootId = mintBootId();
    const store = new Store("/sim/state", disk, clock, { counters, limits: simLimits, report });
    const registry = await store.prepare();
    const remembered = await store.remembered();
    const hostKey = await HostKey.load(disk, "/sim/state/host-key");
    const kinds = new Map(agents.kinds.map((kind) => [kind.name, kind]));
    const keys = new ApiKeys({ store: await store.apiKeys(), clock, limits: simLimits, onEnded: () => undefined, report });
    const host = new Host({
      bootId,
      store,
      registry,
      remembered,
      clock,
      kinds,
      report,
      note: () => undefined,
      limits: simLimits,
      defaultAgent: agents.kinds[0]?.name ?? "",
      workdirs: { home: "/sim/home", own: ["/sim/state"], roots: [], allowBroad: false },
      envAllow: [],
      defaultSandbox: "off",
      keyEnd: (keyId) => keys.endOf(keyId),
    });
    const status = () => Promise.reject(new Error("nobody asks for the status here"));
    const nothing = { status, shutDown: () => undefined, rotateHostKey: status };
    const served = new ServedAgents({ kinds, limits: simLimits });
    const daemon = { host, starts: new Starts(host), keys, served, limits: simLimits, bootId, counters, ...nothing };
    // The audit file is a file of its own, and nothing waits for it.
    const audit = { record: () => undefined } as unknown as Audit;
    const throttle = new Throttle(clock, simLimits);
    const router = buildRouter({ daemon, gate: new GateKeeper(host, hostKey, keys), throttle, audit, counters, clock, report });
    const boot = new Boot(parts, host, router);
    const recovery = await host.recover();
    void recovery.done.then(() => host.resting.begin().catch(report));
    return boot;
  }

  call(verb: string, input: object): Promise<unknown> {
    const call = this.#caller[verb];
    return call === undefined ? Promise.reject(new Error(`no verb ${verb}`)) : call(input);
  }

  connect(connection: Connection): Caller {
    return this.#router.createCaller({ connection }) as unknown as Caller;
  }

  /** In this step: killed. */
  end(): void {
    this.alive = false;
    this.disk.end();
    this.clock.stop();
  }
}
