import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect, type Host } from "@sessiond/client/node";
import { formatHostKey } from "@sessiond/shared";
import { expect, test } from "vitest";
import { failure } from "../support/attached-seat.ts";
import { WirePeer, type PeerSocket } from "../support/wire-peer.ts";

/** A host key that is refused may have been rotated: its file is looked at once more, and never without end. */
const keys = ["a", "b", "c"].map((letter) => formatHostKey(letter.repeat(43))) as [string, string, string];

async function held(peer: WirePeer): Promise<{ host: Host; socket: PeerSocket; put: (text: string) => void }> {
  const put = (text: string): void => writeFileSync(join(peer.dir, "host-key"), text, { mode: 0o600 });
  put(`${keys[0]}\n`);
  const host = await connect({ runtimeDir: peer.dir, stateDir: peer.dir, autoStart: false });
  return { host, socket: await peer.sockets.next(), put };
}
const shownIn = ({ input }: { readonly input: { readonly auth?: Readonly<Record<string, string>> } }): string | undefined => input.auth?.["host_key"];

test("B4 a refused host key is read again from its file, and the call repeated with the new one; all that the handle gave out holds that from then on", async () => {
  await using peer = await WirePeer.listen();
  const { host, socket, put } = await held(peer);
  // Also one that is never repeated after a lost link: a refusal says that it did not happen.
  const minting = host.session(`ses_${"A".repeat(22)}`).mintToken({ right: "view", label: "x" });
  const [first] = [await socket.requests.next()];
  put(`${keys[1]}\n`);
  first.refuse("unauthenticated");
  const second = await socket.requests.next();
  expect([first, second].map(shownIn)).toEqual([keys[0], keys[1]]);
  second.answer({ token: "t", record: {} });
  await minting;
  const listing = host.observe().list();
  const third = await socket.requests.next();
  expect(shownIn(third)).toBe(keys[1]);
  third.answer({ sessions: [], next: null });
  await listing;
  await host.close();
});

test("B4 a refusal stands where the file holds the same key, none, or nothing; and where the new one is refused too, whatever the file holds by then", async () => {
  await using peer = await WirePeer.listen();
  const { host, socket, put } = await held(peer);
  for (const text of [`${keys[0]}\n`, "no key\n", ""]) {
    put(text);
    const listing = failure(host.listSessions());
    (await socket.requests.next()).refuse("unauthenticated");
    expect((await listing).code).toBe("unauthenticated");
    expect(socket.requests.size).toBe(0);
  }
  const listing = failure(host.listSessions());
  const first = await socket.requests.next();
  put(keys[1]);
  first.refuse("unauthenticated");
  const second = await socket.requests.next();
  put(keys[2]);
  second.refuse("unauthenticated");
  expect(await Promise.race([listing.then(({ code }) => code), socket.requests.next().then(() => "asked again")])).toBe("unauthenticated");
  await host.close();
});

test("B4 calls under way at once are all repeated, and a refusal of another kind is not", async () => {
  await using peer = await WirePeer.listen();
  const { host, socket, put } = await held(peer);
  const listings = [host.listSessions(), host.listAgents(), host.status()];
  const asked = [await socket.requests.next(), await socket.requests.next(), await socket.requests.next()];
  put(keys[1]);
  for (const request of asked) request.refuse("unauthenticated");
  for (let at = 0; at < asked.length; at++) {
    const request = await socket.requests.next();
    expect(shownIn(request)).toBe(keys[1]);
    request.answer({ sessions: [], next: null, agents: [] });
  }
  await Promise.all(listings);
  const listing = failure(host.listSessions());
  put(keys[2]);
  (await socket.requests.next()).refuse("role_too_small");
  expect((await listing).code).toBe("role_too_small");
  expect(socket.requests.size).toBe(0);
  await host.close();
});

test("B4 after a rotation the next call goes by another link: the daemon closes the one on which the old key was used, and a call that is never repeated would be lost with it", async () => {
  await using peer = await WirePeer.listen();
  const { host, socket, put } = await held(peer);
  const rotating = host.rotateHostKey();
  const asked = await socket.requests.next();
  put(`${keys[1]}\n`);
  asked.answer({ file: "host-key" });
  expect(await rotating).toEqual({ file: "host-key" });
  const listing = host.listSessions();
  const next = await Promise.race([peer.sockets.next(), socket.requests.next().then(() => "the same link" as const)]);
  if (next === "the same link") return expect.unreachable(next);
  (await next.requests.next()).answer({ sessions: [], next: null });
  await listing;
  await host.close();
});
