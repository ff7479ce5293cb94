import { isSessiondError } from "@sessiond/client";
import { sessionFromToken } from "@sessiond/client/node";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DaemonHome, daemonFile } from "../support/daemon-home.ts";

/** Tokens that a handle mints, and who may end them. */
let home: DaemonHome;
beforeEach(() => {
  home = new DaemonHome();
});
afterEach(() => home.close());

test("B4 a handle that minted a token can revoke it, and the token's stream ends with the reason", async () => {
  const session = await (await home.connect()).sessionForWorkdir(home.workdir);
  const { token, record } = await session.mintToken({ right: "view", label: "a guest" });
  const guest = await sessionFromToken(token, { env: home.env, bin: daemonFile });
  const seat = await guest.attach({ as: "viewer" });
  expect(await session.revokeToken(record.token_id)).toEqual([record.token_id]);
  const end = await seat.ended;
  expect(isSessiondError(end, "token_ended") && end.detail).toMatchObject({ cause: "revoked" });
  expect((await session.listTokens()).map(({ token_id }) => token_id)).not.toContain(record.token_id);
  await guest.close();
});
