import type { Action } from "./actions.ts";
import { callSession, goodTokens, keepToken, living, mayHaveEnded, mustBeExplained, present } from "./calls.ts";
import type { SimSession } from "./records.ts";
import { holds } from "./violation.ts";
import type { World } from "./world.ts";

/** Tokens come and go. */
/** True when a loss of power in this step would leave the token in its file. */
function isStored({ platter }: World, { id }: SimSession, tokenId: string): boolean {
  const path = `/sim/state/sessions/${id}/session.json`;
  const file = JSON.parse(platter.durableFile(path)?.synced.toString("utf8") ?? "{}") as { tokens?: { token_id: string }[] };
  return file.tokens?.some(({ token_id }) => token_id === tokenId) === true;
}

export const tokenActions: Action[] = [
  {
    name: "mint_token",
    weight: 3.4,
    act(world) {
      const session = world.pick(living(world));
      if (session === undefined || session.tokens.length > 24) return false;
      const parent = world.odds(0.5) ? world.pick(goodTokens(world, session)) : undefined;
      const right = world.odds(0.75) ? "control" : "view";
      const ttl_ms = world.odds(0.55) ? (world.pick([2_000, 20_000, 600_000]) ?? 2_000) : undefined;
      const name = ttl_ms === undefined ? "mint_token" : "mint_expiring_token";
      callSession(
        world,
        session,
        "mint_token",
        { right, label: `t${world.number()}`, ...(ttl_ms !== undefined && { ttl_ms }) },
        parent === undefined ? {} : { token: parent },
        {
          ok: ({ token, record }) => {
            holds(parent === undefined || record.parent === parent.record.token_id, "B4", () => "a child without its parent");
            const above = parent?.record.expires_at;
            holds(above === undefined || (record.expires_at ?? Infinity) <= above, "B4", () => "a child outlives its parent");
            keepToken(session, token, record);
            holds(isStored(world, session, record.token_id), "B4", () => "a token was given out that a loss of power would take");
            world.hit(name);
          },
        },
      );
      return true;
    },
    otherwise: "start_or_get",
  },
  {
    name: "revoke_token",
    weight: 1.7,
    act(world) {
      const session = world.pick(present(world).filter((each) => each.tokens.some(({ ended }) => ended === "no")));
      const token = world.pick(session?.tokens.filter(({ ended }) => ended === "no") ?? []);
      if (session === undefined || token === undefined) return false;
      const gone = [token];
      for (const each of gone)
        gone.push(...session.tokens.filter(({ record }) => record.parent === each.record.token_id && !gone.some((one) => one.record === record)));
      // Where one has ended already, nothing is left to be revoked.
      const known = gone.filter((each) => !mayHaveEnded(world, session, each));
      for (const each of gone) if (each.ended === "no") each.ended = "maybe";
      callSession(
        world,
        session,
        "revoke_token",
        { token_id: token.record.token_id },
        {},
        {
          ok: ({ revoked }) => {
            holds(revoked.includes(token.record.token_id), "B4", () => "a revoked token is not named");
            for (const each of session.tokens) if (revoked.includes(each.record.token_id)) each.ended = "yes";
            holds(!isStored(world, session, token.record.token_id), "B4", () => "a revoked token would be back after a loss of power");
            holds(
              known.every(({ ended }) => ended === "yes"),
              "B4",
              () => "a revoked token has left its children",
            );
            world.hit("revoke_token");
          },
        },
      );
      return true;
    },
    otherwise: "mint_token",
  },
  {
    name: "authorize",
    weight: 1.5,
    act(world) {
      const session = world.pick(present(world).filter(({ tokens }) => tokens.length > 0));
      const token = world.pick(session?.tokens ?? []);
      if (session === undefined || token === undefined) return false;
      const surely = !mayHaveEnded(world, session, token);
      callSession(
        world,
        session,
        "authorize",
        {},
        { token },
        {
          ok: (output) => {
            holds(output.token_id === token.record.token_id && output.right === token.record.right, "B4", () => "a token is another one");
            const { expires_at } = token.record;
            holds(expires_at === undefined || world.time.wall <= expires_at + 10_000, "B4", () => `an expired token is good`);
            world.hit("authorize");
          },
          refused: (code) => {
            if (!surely) world.hit("authorize");
            if (code !== "unauthenticated") mustBeExplained(world, { session, verb: "authorize", code, error: new Error(code), token, drove: false });
          },
        },
      );
      return true;
    },
    otherwise: "start_or_get",
  },
];
