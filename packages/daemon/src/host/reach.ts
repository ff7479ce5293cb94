import type { KeyId } from "@sessiond/shared";
import type { RegistryEntry } from "./registry-file.ts";
import { isWithin } from "./workdir.ts";

/** What somebody asks with, for the step that does what was asked: it may have waited its turn until then. */
export interface Standing {
  /** Looks once more: the credential may have ended meanwhile. @throws SessiondError unauthenticated; of a seat also not_attached, not_driver */
  mustStand(): void;
}

/**
 * How far the holder of a power over the host reaches: all of it for the owner; for an API key the sessions that it
 * started, and those in its directories. Made by the gate; who gets one asks it, and never who it is.
 */
export interface Reach extends Standing {
  readonly keyId?: KeyId;
  /** Real paths in one of which a session must live; null: anywhere. */
  readonly roots: readonly string[] | null;
  sees(session: Pick<RegistryEntry, "workdir" | "key_id">): boolean;
  /** Itself, and what it made: the keys that it may see and change. */
  governs(keyId: KeyId): boolean;
}

export const everywhere: Reach = { roots: null, sees: () => true, governs: () => true, mustStand: () => undefined };

export const reachOfKey = (keyId: KeyId, roots: readonly string[], of: Pick<Reach, "governs" | "mustStand">): Reach => ({
  keyId,
  roots,
  sees: ({ workdir, key_id: starter }) => starter === keyId || roots.some((root) => isWithin(workdir, root)),
  ...of,
});
