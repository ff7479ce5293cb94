interface Peers {
  readonly peersDir: string;
}

/** Where scripts/acp-peers.mjs put the agents and clients that are pinned there. */
export const { peersDir } = (await import(new URL("../../scripts/acp-peers.mjs", import.meta.url).href)) as Peers;
