import type { Peer, PeerHome, PeerName, Served } from "./peer.ts";

/** One server of each, each in a home of its own, for all rows that only ask: started once, at the first of them. */
export class Running {
  readonly #homes: readonly { readonly name: PeerName; readonly home: PeerHome }[];
  #served: Promise<Readonly<Record<PeerName, Served>>> | undefined;

  constructor(peers: readonly Peer[], model: string) {
    this.#homes = peers.map((peer) => ({ name: peer.name, home: peer.home(model) }));
  }

  served(): Promise<Readonly<Record<PeerName, Served>>> {
    this.#served ??= this.#start();
    return this.#served;
  }

  async #start(): Promise<Readonly<Record<PeerName, Served>>> {
    const served = await Promise.all(this.#homes.map(async ({ name, home }) => [name, await home.start()] as const));
    return Object.fromEntries(served) as Record<PeerName, Served>;
  }

  async end(): Promise<void> {
    if (this.#served !== undefined) for (const served of Object.values(await this.#served)) await served.end();
    for (const { home } of this.#homes) await home.remove();
  }
}
