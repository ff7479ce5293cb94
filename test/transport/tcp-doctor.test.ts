import { chmodSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RecoveryLine } from "@sessiond/shared";
import { afterEach, expect, test } from "vitest";
import { readConfig } from "../../packages/daemon/src/config.ts";
import { tcpTroubles } from "../../packages/daemon/src/recovery/tcp-check.ts";
import { removeRoot, testEnv } from "../../packages/daemon/src/testing.ts";
import { selfSigned } from "../support/certificate.ts";
import { configured, pairFiles, type TcpOptions } from "../support/tcp-daemon.ts";

/** What doctor says of a TCP door before any daemon opens it. */
const roots: string[] = [];
afterEach(async () => {
  await Promise.all(roots.splice(0).map((root) => removeRoot(root)));
});

async function look(options: TcpOptions, spoil: (root: string) => void = () => undefined) {
  const root = await configured(options);
  roots.push(root);
  spoil(root);
  const told: RecoveryLine[] = [];
  const troubles = await tcpTroubles(readConfig(testEnv(root), []), { running: null, tell: (line) => void told.push(line) });
  return { root, troubles, told };
}
const pair = selfSigned("IP:127.0.0.1");

test("B42 doctor tells where the door would be, and of its certificate what the next start would say; an open key is closed by --fix", async () => {
  const plain = await look({ table: 'listen = "[::1]:7717"' });
  expect(plain).toMatchObject({ troubles: [], told: [{ type: "fact", name: "tcp", value: "[::1]:7717, without TLS (as config.toml says)" }] });
  const soon = await look({ pair });
  expect(soon.troubles).toMatchObject([{ finding: { kind: "setup", weight: "wrong", what: expect.stringMatching(/expires in 2 days/) as string } }]);
  const broken = await look({ pair }, (root) => writeFileSync(pairFiles(root).cert, "no certificate"));
  expect(broken.troubles).toMatchObject([
    { finding: { what: expect.stringMatching(/are no pair in PEM form/) as string, path: join(broken.root, "config/sessiond/cert.pem") } },
  ]);
  const open = await look({ pair }, (root) => chmodSync(pairFiles(root).key, 0o644));
  expect(open.troubles).toMatchObject([{ finding: { kind: "place", what: expect.stringMatching(/key\.pem is open to other accounts/) as string } }]);
  await open.troubles[0]?.repair?.run();
  expect(statSync(pairFiles(open.root).key).mode & 0o777).toBe(0o600);
});
