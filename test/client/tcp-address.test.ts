import { connectTo, webSocketDial } from "@sessiond/client";
import { connect, sessionFromToken } from "@sessiond/client/node";
import { formatApiKey, formatToken } from "@sessiond/shared";
import { expect, test, vi } from "vitest";
import { failure } from "../support/attached-seat.ts";

/** What is an address, before anybody is dialled: the same for Node and for a page. */
const apiKey = formatApiKey(`key_${"K".repeat(22)}`, "k".repeat(32));
const token = formatToken("control", `ses_${"A".repeat(22)}`, "t".repeat(32));

const refused: readonly [url: string, why: RegExp][] = [
  ["", /looks like wss/],
  ["127.0.0.1:7717", /looks like wss|begins with wss/],
  ["//box.example:7717", /looks like wss/],
  ["http://127.0.0.1:7717", /begins with wss/],
  ["https://box.example", /begins with wss/],
  ["ws+unix:/run/sock", /begins with wss/],
  // In plain text over a wire. The first of each kind would be refused by this machine at once.
  ["ws://0.0.0.0:1", /everybody on the way/],
  ["ws://box.example:7717", /everybody on the way/],
  ["ws://10.0.0.1:7717", /everybody on the way/],
  ["ws://[::ffff:127.0.0.1]:7717", /everybody on the way/],
  ["ws://localhost.example:7717", /everybody on the way/],
  ["ws://127.0.0.1.example:7717", /everybody on the way/],
  ["ws://128.0.0.1:7717", /everybody on the way/],
  // What has no place in one.
  ["wss://me:secret@127.0.0.1:1", /nothing else/],
  ["wss://me:secret@box.example:7717", /nothing else/],
  ["wss://@box.example:7717", /nothing else/],
  ["ws://127.0.0.1@box.example:7717", /nothing else/],
  [`wss://box.example:7717/${apiKey}`, /nothing else/],
  [`wss://box.example:7717/?key=${apiKey}`, /nothing else/],
  [`wss://box.example:7717/#${apiKey}`, /nothing else/],
  ["wss://box.example:7717?", /nothing else/],
  ["wss://box.example:7717#", /nothing else/],
  ["wss://box.example:7717/sessiond", /nothing else/],
  ["wss:\\\\box.example\\", /nothing else/],
  [" wss://box.example:7717", /nothing else/],
  ["wss://box.\nexample:7717", /nothing else/],
];

test("B2 B6 an address that is none, holds a secret, or would show one on the way is refused in a sentence without it, and nobody is dialled", async () => {
  const dialled = vi.fn(() => {
    throw new Error("a page's WebSocket was made");
  });
  vi.stubGlobal("WebSocket", dialled);
  try {
    for (const [url, why] of refused) {
      const ways = [() => connect({ url, apiKey }), () => sessionFromToken(token, { url }), () => connectTo({ url, apiKey }), async () => webSocketDial(url)];
      for (const way of ways) {
        const error = await failure(way());
        expect([url, error.code]).toEqual([url, "unsupported"]);
        expect(error.message, url).toMatch(why);
        expect(error.message).not.toMatch(/ssdk_|secret/);
      }
    }
    expect(dialled).not.toHaveBeenCalled();
  } finally {
    vi.unstubAllGlobals();
  }
});

test("B2 addresses that are ones are taken: TLS anywhere, plain text on this machine alone", () => {
  const good = ["wss://box.example:7717", "wss://box.example", "wss://10.0.0.1:7717/", "wss://[2001:db8::1]:7717", "WSS://Box.Example:7717"];
  const here = ["ws://127.0.0.1:7717", "ws://127.9.9.9:7717", "ws://[::1]:7717", "ws://localhost:7717/"];
  for (const url of [...good, ...here]) expect(() => webSocketDial(url), url).not.toThrow();
});
