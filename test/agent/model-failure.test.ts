/** What a provider says when it refuses goes into journals and onto screens, without the key that it repeats. */
import { expect, test } from "vitest";
import { failureOf } from "../../packages/daemon/src/agents/openai/model-failure.ts";
import { leaksIn } from "../support/secret-search.ts";

test("B2 a failure's words hold no key, whatever the key looks like, however often it is repeated, and in whatever failure", () => {
  for (const key of ["sk-proj-0123456789abcdefghij", "0123456789abcdef0123456789abcdef", "A/b+c=D/e+f=G/h+i=J/k+l=", "local key with blanks"]) {
    for (const status of [undefined, 400, 401, 404, 429, 500]) {
      const said = `Incorrect API key ${key}: you sent "Authorization: Bearer ${key}"${key}`;
      const { message } = failureOf(Object.assign(new Error(said), { status }), { apiKey: key, baseURL: `http://user:${key}@host/v1?key=${key}` });
      expect(leaksIn([{ name: "key", text: key }], { message }), `${status}: ${message}`).toEqual([]);
    }
  }
});
