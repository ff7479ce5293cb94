import { chmodSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect as dialSecurely, type PeerCertificate, type SecureVersion } from "node:tls";
import { SessiondError } from "@sessiond/shared";
import { expect, test } from "vitest";
import { systemClock } from "../../packages/daemon/src/clock.ts";
import { startTestDaemon } from "../../packages/daemon/src/testing.ts";
import { selfSigned } from "../support/certificate.ts";
import { eventually } from "../support/eventually.ts";
import { hostAuth } from "../support/gate-world.ts";
import { configured, pairFiles, request, say, tcpDaemons, upgradeLines, way, writePair, type TcpDaemon } from "../support/tcp-daemon.ts";

/** TLS of the TCP door: the pair that is there when it starts, and the one that takes its place. */
const begin = tcpDaemons();

const [first, second] = [selfSigned("IP:127.0.0.1", "DNS:box.example"), selfSigned("IP:127.0.0.1", "DNS:box.example")];
const onBox = 'listen = "127.0.0.1:0"\nhosts = ["box.example:9443"]\norigins = ["https://app.example"]';
const problems = async (daemon: TcpDaemon) => (await daemon.call("daemon_status", {}, hostAuth(daemon))).problems.filter(({ what }) => /TLS/.test(what));

interface Handshake {
  readonly certificate?: PeerCertificate["fingerprint256"];
  readonly protocol?: string | null;
  readonly failed?: string;
}
const shake = (daemon: TcpDaemon, maxVersion: SecureVersion = "TLSv1.3"): Promise<Handshake> =>
  new Promise((resolve) => {
    // Old versions are not offered by this OpenSSL either unless it is told to.
    const old = maxVersion === "TLSv1.1" ? { minVersion: "TLSv1" as const, ciphers: "DEFAULT@SECLEVEL=0" } : {};
    const socket = dialSecurely({ host: "127.0.0.1", port: daemon.tcp.port, rejectUnauthorized: false, maxVersion, ...old });
    socket.once("secureConnect", () => {
      resolve({ certificate: socket.getPeerCertificate().fingerprint256, protocol: socket.getProtocol() });
      socket.destroy();
    });
    socket.once("error", (error: NodeJS.ErrnoException) => resolve({ failed: error.code ?? error.message }));
  });

test("B6 with certificate and key the door speaks TLS 1.2 and newer and nothing else, and its names and pages are https", async () => {
  const daemon = await begin({ pair: first, table: onBox });
  const { port } = daemon.tcp;
  expect(daemon.tcp).toMatchObject({ tls: true, hosts: [`127.0.0.1:${port}`, `localhost:${port}`, "box.example:9443"] });
  expect((await shake(daemon)).protocol).toBe("TLSv1.3");
  expect((await shake(daemon, "TLSv1.2")).protocol).toBe("TLSv1.2");
  expect((await shake(daemon, "TLSv1.1")).failed).toMatch(/PROTOCOL_VERSION|ALERT|ECONNRESET/);
  const host = `Host: 127.0.0.1:${port}`;
  const asked = async (...lines: string[]) => (await say(way(daemon), request("/", [host, ...lines, ...upgradeLines]))).status;
  expect([await asked(), await asked(`Origin: https://127.0.0.1:${port}`), await asked(`Origin: http://127.0.0.1:${port}`)]).toEqual([101, 101, 403]);
  expect([await asked("Origin: https://app.example"), await asked("Origin: https://evil.example")]).toEqual([101, 403]);
  expect((await say(way(daemon), request("/healthz", ["Host: box.example:9443"]))).status).toBe(200);
  // In the clear there is no answer at all.
  expect((await say(way({ ...daemon, tcp: { ...daemon.tcp, tls: false } }), request("/healthz", [host]))).status).toBe(0);
});

test("B6 a renewed pair is taken without a restart; one that does not match, is damaged or open to others is not, and status says so until it is mended", async () => {
  const daemon = await begin({ pair: first, table: onBox, limits: { tls_look_ms: 20 }, clock: { ...systemClock, now: () => Date.now() - 20 * 86_400_000 } });
  const { certificate } = await shake(daemon);
  expect(certificate).toBeDefined();
  const files = pairFiles(daemon.root);

  const stays = async (what: RegExp) => {
    const [problem, ...others] = await eventually("it is told", async () =>
      (await problems(daemon)).some((each) => what.test(each.what)) ? problems(daemon) : null,
    );
    expect([problem?.what, others]).toEqual([expect.stringMatching(/^the TLS certificate is not renewed: /), []]);
    expect((await shake(daemon)).certificate).toBe(certificate);
  };
  const mended = () => eventually("no problem is left", async () => (await problems(daemon)).length === 0);
  writeFileSync(files.cert, second.cert);
  await stays(/no pair/);
  writeFileSync(files.cert, "-----BEGIN CERTIFICATE-----\nMIIB");
  await stays(/no pair/);
  writeFileSync(files.cert, first.cert);
  await mended();
  chmodSync(files.key, 0o644);
  await stays(/open to other accounts: chmod 600/);
  chmodSync(files.key, 0o600);
  await mended();

  writePair(daemon.root, second);
  const renewed = await eventually("the new one is shown", async () => {
    const { certificate: shown } = await shake(daemon);
    return shown !== certificate && shown;
  });
  await mended();
  expect((await shake(daemon)).certificate).toBe(renewed);
});

test("B42 a certificate that ends within two weeks, or has ended, is a problem with words; the door stays open", async () => {
  const days = (n: number) => ({ ...systemClock, now: () => Date.now() + n * 86_400_000 });
  const soon = await begin({ pair: first, table: onBox });
  expect(await problems(soon)).toMatchObject([
    { what: expect.stringMatching(/cert\.pem expires in 2 days, on \d{4}-/) as string, mend: expect.stringMatching(/renewed pair/) as string },
  ]);
  const over = await begin({ pair: first, table: onBox, clock: days(3) });
  expect(await problems(over)).toMatchObject([{ what: expect.stringMatching(/cert\.pem expired on \d{4}-.*clients refuse it/) as string }]);
  expect((await shake(over)).protocol).toBe("TLSv1.3");
  expect(await problems(await begin({ pair: first, table: onBox, clock: days(-20) }))).toEqual([]);
});

test("B6 without a pair that can be used there is no start: each sentence names the file and what to do, and nothing stays behind", async () => {
  const cases: [string, (root: string) => void, RegExp][] = [
    ["a key that others can read", (root) => chmodSync(pairFiles(root).key, 0o640), /key .*key\.pem is open to other accounts: chmod 600 .*key\.pem/],
    ["another's key", (root) => writeFileSync(pairFiles(root).key, second.key), /cert\.pem and key .*key\.pem are no pair/],
    ["no certificate", (root) => writeFileSync(pairFiles(root).cert, "hello"), /are no pair in PEM form/],
    ["a file that is not there", (root) => chmodSync(join(root, "config/sessiond"), 0o700), /cannot be read/],
  ];
  for (const [what, spoil, says] of cases) {
    const missing = what === "a file that is not there";
    const root = await configured(missing ? { table: 'listen = "127.0.0.1:0"\ncert = "nowhere.pem"\nkey = "key.pem"' } : { pair: first, table: onBox });
    spoil(root);
    const error: unknown = await startTestDaemon({ root }).catch((failed: unknown) => failed);
    expect([what, error]).toEqual([what, expect.any(SessiondError)]);
    expect(error).toMatchObject({ code: "config_invalid", message: expect.stringMatching(says) as string });
    expect([what, existsSync(join(root, "run/sessiond/sock"))]).toEqual([what, false]);
    // The same folder starts when it is mended: no lock was kept.
    const mended = await begin({ root, pair: first, table: onBox });
    expect(mended.tcp.tls).toBe(true);
  }
});
