import { spawnSync } from "node:child_process";
import dns from "node:dns";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { SessiondError } from "@sessiond/shared";
import { afterEach, expect, test, vi } from "vitest";
import { removeRoot, startTestDaemon } from "../../packages/daemon/src/testing.ts";
import { selfSigned } from "../support/certificate.ts";
import { DaemonHome, daemonFile } from "../support/daemon-home.ts";
import { configured, request, say, startTcpDaemon, upgradeLines, way, type TcpDaemon, type TcpOptions } from "../support/tcp-daemon.ts";

/** Where the TCP door may be: on this machine alone, or with TLS; judged by the address that was really bound. */
const undo: (() => unknown)[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const each of undo.splice(0).toReversed()) await each();
});
const begin = async (options?: TcpOptions): Promise<TcpDaemon> => {
  const daemon = await startTcpDaemon(options);
  undo.push(async () => {
    await daemon.stop(0);
    await removeRoot(daemon.root);
  });
  return daemon;
};
/** What is said instead of a start; the folder is as if nothing had been tried. */
async function refusal(options: TcpOptions): Promise<string> {
  const root = await configured(options);
  undo.push(() => removeRoot(root));
  const error = (await startTestDaemon({ root, ...(options.listen !== undefined && { listen: options.listen }) }).catch(
    (failed: unknown) => failed,
  )) as SessiondError;
  expect(error).toMatchObject({ code: "config_invalid" });
  expect(existsSync(join(root, "run/sessiond/sock"))).toBe(false);
  return error.message;
}
const withoutTls = (address: string) =>
  expect.stringContaining(`it would listen on ${address}, which others can reach, without TLS; give cert and key under [tcp]`) as string;
/** Every name leads there. */
const everyNameIs = (address: string): void =>
  void vi
    .spyOn(dns, "lookup")
    .mockImplementation(((_name: string, ...rest: unknown[]) =>
      (rest.at(-1) as (error: null, address: string, family: number) => void)(null, address, address.includes(":") ? 6 : 4)) as never);

test("B6 every address of the machine is refused without TLS, also where a name leads there: what was bound counts, not what was written", async () => {
  expect(await refusal({ listen: "0.0.0.0:0" })).toEqual(withoutTls("0.0.0.0"));
  expect(await refusal({ listen: "[::]:0" })).toEqual(withoutTls("::"));
  expect(await refusal({ listen: "[::ffff:0.0.0.0]:0" })).toEqual(withoutTls("::ffff:0.0.0.0"));
  everyNameIs("0.0.0.0");
  expect(await refusal({ listen: "localhost:0" })).toEqual(withoutTls("0.0.0.0"));
  expect(await refusal({ table: 'listen = "box.example:0"\nhosts = ["localhost"]' })).toEqual(withoutTls("0.0.0.0"));
});

test("B6 a loopback address is taken in each of its forms, and goes by its own name and localhost", async () => {
  const hosts = async (listen: string) => {
    const { tcp } = await begin({ listen });
    return tcp.hosts.map((host) => host.replace(`:${tcp.port}`, ":P"));
  };
  expect(await hosts("127.0.0.1:0")).toEqual(["127.0.0.1:P", "localhost:P"]);
  expect(await hosts("127.8.9.10:0")).toEqual(["127.8.9.10:P", "localhost:P"]);
  expect(await hosts("[::1]:0")).toEqual(["[::1]:P", "localhost:P"]);
  expect(["127.0.0.1:P", "[::1]:P"]).toContain((await hosts("localhost:0"))[0]);
});

test("B6 with TLS it may be every address, if it is said what it is called by; then only that is answered", async () => {
  const pair = selfSigned("DNS:box.example");
  expect(await refusal({ pair, table: 'listen = "0.0.0.0:0"' })).toContain(
    "it would listen on every address (0.0.0.0) and be called by none; list under [tcp] the hosts",
  );
  for (const listen of ["0.0.0.0:0", "[::]:0"]) {
    const daemon = await begin({ pair, table: `listen = "${listen}"\nhosts = ["box.example"]` });
    const { port } = daemon.tcp;
    expect(daemon.tcp).toMatchObject({ tls: true, hosts: [`box.example:${port}`] });
    const asked = async (host: string) => (await say(way(daemon), request("/", [`Host: ${host}`, ...upgradeLines]))).status;
    expect([await asked(`box.example:${port}`), await asked(`127.0.0.1:${port}`), await asked(`localhost:${port}`), await asked(`0.0.0.0:${port}`)]).toEqual([
      101, 403, 403, 403,
    ]);
  }
});

test("what cannot be listened on, or is no address, is refused with a sentence that says what to do", async () => {
  expect(await refusal({ listen: "192.0.2.77:0" })).toContain("this machine has no such address");
  for (const listen of ["7717", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:-1", "::1:7717", "http://127.0.0.1:7717", "127.0.0.1:77 17", "", "_:1", "[evil]:1"])
    expect([listen, await refusal({ listen })]).toEqual([listen, expect.stringContaining("is no ADDRESS:PORT; examples: 127.0.0.1:7717") as string]);
  const tables: [string, string][] = [
    ['hosts = ["box.example"]', "[tcp] has no listen"],
    ['listen = "127.0.0.1:0"\nhosts = ["https://box.example"]', 'hosts: "https://box.example" is no HOST or HOST:PORT'],
    ['listen = "127.0.0.1:0"\nhosts = ["*"]', 'hosts: "*" is no HOST'],
    ['listen = "127.0.0.1:0"\nhosts = ["box.example."]', "is no HOST"],
    ['listen = "127.0.0.1:0"\norigins = ["*"]', 'origins: "*" is no origin'],
    ['listen = "127.0.0.1:0"\norigins = ["null"]', 'origins: "null" is no origin'],
    ['listen = "127.0.0.1:0"\norigins = ["https://app.example/x"]', "no path"],
    ['listen = "127.0.0.1:0"\ncert = "c.pem"', "TLS needs both files: key is missing"],
    ['listen = "127.0.0.1:0"\nport = 1', "tcp"],
  ];
  for (const [table, says] of tables) expect([table, await refusal({ table })]).toEqual([table, expect.stringContaining(says) as string]);
});

test("B6 the argument outranks the file; without either there is no TCP door", async () => {
  const daemon = await begin({ table: 'listen = "0.0.0.0:0"\nhosts = ["box.example"]', listen: "127.0.0.1:0" });
  expect(daemon.tcp).toMatchObject({ address: "127.0.0.1", hosts: [expect.any(String), expect.any(String), `box.example:${daemon.tcp.port}`] });
  const plain = await startTestDaemon();
  undo.push(async () => {
    await plain.stop(0);
    await removeRoot(plain.root);
  });
  expect((await plain.call("daemon_status", {}, { host_key: plain.hostKey })).tcp).toBeNull();
});

const apart = ["--map-root-user", "--net", "--mount"];
const canBeApart = spawnSync("unshare", [...apart, "true"]).status === 0;
if (!canBeApart) console.log("B6: no namespaces here, so the machine's own addresses are not tried");

test.skipIf(!canBeApart)("B6 the real daemon, on a machine whose hosts file sends localhost to an address of its network, says so and does not start", () => {
  const home = new DaemonHome();
  undo.push(() => home.close());
  const hosts = join(home.root, "hosts");
  writeFileSync(hosts, "198.51.100.7 localhost\n");
  mkdirSync(join(home.root, "run"), { recursive: true });
  const script = `ip link set lo up && ip addr add 198.51.100.7/32 dev lo && mount --bind ${hosts} /etc/hosts && exec ${process.execPath} ${daemonFile} --listen "$0"`;
  for (const listen of ["localhost:0", "198.51.100.7:0"]) {
    const ended = spawnSync("unshare", [...apart, "sh", "-c", script, listen], { env: home.env, encoding: "utf8", timeout: 25_000 });
    expect([listen, ended.status, ended.stderr]).toEqual([
      listen,
      1,
      expect.stringContaining("it would listen on 198.51.100.7, which others can reach, without TLS") as string,
    ]);
  }
  expect(existsSync(home.socket)).toBe(false);
});
