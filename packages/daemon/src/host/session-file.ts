import { schemas } from "@sessiond/shared";
import { z } from "zod";

/** `session.json`: what changes slowly in a session. Of secrets it holds hashes only. */
const hash = z.string().regex(/^[0-9a-f]{64}$/);

export const storedToken = z.strictObject({ ...schemas.tokenRecord.shape, hash });
export type StoredToken = z.infer<typeof storedToken>;

/** Who drives, or is about to: the seat that has it by the journal can be resumed after a restart. */
const driverDigest = z.strictObject({ seat_id: schemas.seatId, secret_hash: hash, token_id: schemas.tokenId });

export const sessionFile = z.strictObject({
  version: z.literal(1),
  session_id: schemas.sessionId,
  workdir: z.string(),
  stable: z.boolean(),
  created_at: schemas.millis,
  request_id: schemas.requestId.optional(),
  key_id: schemas.keyId.optional(),
  tokens: z.array(storedToken),
  /** Given at the start of the life, for its tools. */
  env: z.record(z.string(), z.string()),
  drivers: z.array(driverDigest).max(2),
});
export type SessionFile = z.infer<typeof sessionFile>;
