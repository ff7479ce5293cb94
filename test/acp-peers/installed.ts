interface Peers {
  readonly peersDir: string;
  readonly chosenPeers: readonly string[];
}

/** Where scripts/acp-peers.mjs put the agents and clients that are pinned there; the names of those that were asked for. */
export const { peersDir, chosenPeers } = (await import(new URL("../../scripts/acp-peers.mjs", import.meta.url).href)) as Peers;
