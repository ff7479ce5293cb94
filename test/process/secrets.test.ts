/**
 * A full run of real processes with everything in it, after which all that daemon, children and command ever
 * wrote, printed, sent or hold is searched for every secret that was used. A further secret is one line of
 * `secrets`, a further place one of `places`; where a secret may be is `allowed`, and nothing else.
 */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import WebSocket from "ws";
import { verbs, type VerbName } from "@sessiond/shared";
import { amount } from "../support/amount.ts";
import { CommandHouse, type Outcome } from "../support/command.ts";
import { filesOf, idOf } from "../support/gate-world.ts";
import { startModelServer, type ModelServer, type Reply } from "../support/model-server.ts";
import { toldByProc } from "../support/process-family.ts";
import { RawSocket, type RawReply } from "../support/raw-socket.ts";
import { core, formsOf, leaksIn, type Secret } from "../support/secret-search.ts";

const house = new CommandHouse();
const stateDir = join(house.env["XDG_STATE_HOME"] ?? "", "sessiond");
const configDir = join(house.env["XDG_CONFIG_HOME"] ?? "", "sessiond");
const socketPath = join(house.env["XDG_RUNTIME_DIR"] ?? "", "sessiond", "sock");
const workdir = house.workdir("project");
/** What the test itself keeps secrets in, as a person would: not searched. */
const given = house.workdir("given");

const secrets: Secret[] = [];
const places: Record<string, string> = {};
const allowed = new Set<string>();
/** Once, where a secret may be: its own file, the reply that mints it. */
const allow = (secret: string, place: string): void => void allowed.add(`${secret} @ ${place}`);

let model: ModelServer;
beforeAll(async () => {
  model = await startModelServer([answer]);
  mkdirSync(configDir, { recursive: true, mode: 0o700 });
  delete house.env["SESSIOND_MODEL"];
});
afterAll(async () => {
  await house.close();
  await model.close();
});

function secret(name: string, text: string): string {
  secrets.push({ name, text });
  return text;
}
const random = (letters: string): string => `${letters}/${Buffer.from(Array.from({ length: 30 }, () => Math.floor(Math.random() * 256))).toString("base64")}`;

const modelKeys = {
  environment: secret("model key of the environment", random("sk-env")),
  config: secret("model key of config.toml", random("sk-config")),
  file: secret("model key of a file", random("sk-file")),
};
const bystander = secret("a password in the starter's environment", random("pw"));

/** What a tool can learn of its own process and of who started it, and then waits for the test to look too. */
const dump =
  "for p in $$ $PPID; do for f in cmdline environ; do tr '\\0' '\\n' < /proc/$p/$f; done; done | tee seen.txt; env | sort; cat ../state/sessiond/host-key >/dev/null 2>&1; echo sho''wn; read wait < gate";

/** The model's part: what it does is told by the last prompt; what it says of the key it says as sloppy servers do. */
function answer(reply: Reply, { headers, body }: ModelServer["requests"][number]): void {
  const key = String(headers.authorization).replace("Bearer ", "");
  const last = body.messages.at(-1);
  const asked = last?.role === "user" ? String(last.content) : "";
  const quoted = { error: { message: `Incorrect API key provided: ${key}, sent as "Authorization: Bearer ${key}"`, type: "e", code: null } };
  if (asked === "dump") reply.call(0, "shell", { command: dump });
  else if (asked === "files") {
    for (const [at, path] of [join(stateDir, "host-key"), join(configDir, "config.toml"), "/proc/self/environ"].entries()) reply.call(at, "read", { path });
  } else if (/^\d+$/.test(asked)) return reply.status(Number(asked), { "retry-after-ms": "1", "x-key": key }, quoted);
  else if (asked === "midway") {
    reply.text("half");
    reply.delta({ ...quoted, content: "" });
    return reply.cut();
  } else reply.text("well");
  reply.finish(asked === "dump" || asked === "files" ? "tool_calls" : "stop");
}

const printed: { what: string; outcome: Outcome }[] = [];
async function command(...args: readonly string[]): Promise<Outcome> {
  const outcome = await house.run(workdir, ...args);
  printed.push({ what: `${printed.length}: sessiond ${args.map((arg) => arg.slice(0, 24)).join(" ")}`, outcome });
  return outcome;
}

const sockets: RawSocket[] = [];
let socket: RawSocket;
async function reconnect(): Promise<void> {
  socket = await RawSocket.open(socketPath);
  sockets.push(socket);
}
const call = (verb: VerbName, input: object, auth: object): Promise<RawReply> => socket.call(verbs[verb].kind, verb, JSON.stringify({ ...input, auth }));

/** A call whose reply shows a secret, once. */
async function minted<Output>(name: string, of: (output: Output) => string, [verb, input, auth]: [VerbName, object, object]): Promise<Output> {
  const { data, error } = await call(verb, input, auth);
  expect(error, verb).toBeUndefined();
  const place = `the reply of ${verb} (${name})`;
  places[place] = socket.received.pop() ?? "";
  secret(name, of(data as Output));
  allow(name, place);
  return data as Output;
}

const daemonPid = (): number => (JSON.parse(house.printed.findLast(({ args }) => args.join(" ") === "status --json")?.stdout ?? "") as { pid: number }).pid;

/** A tool that shows what it was given, and waits; meanwhile everybody's arguments and environment are read. */
async function dumped(life: string, end: "by itself" | "by kill -9"): Promise<void> {
  const running = house.start(workdir, ["run", "--approve", "dump"]);
  await running.said("shown");
  await command("status", "--json");
  const pid = daemonPid();
  for (const [place, text] of Object.entries(toldByProc(pid, stateDir))) places[`${life}, ${place}`] = text;
  if (end === "by kill -9") process.kill(pid, "SIGKILL");
  else execFileSync("sh", ["-c", "echo > gate"], { cwd: workdir });
  const outcome = await running.done;
  printed.push({ what: `run dump, ${life}`, outcome });
}

const configure = (toml: string): void =>
  writeFileSync(join(configDir, "config.toml"), `[model]\nname = "m"\nbase_url = "${model.baseURL}"\n${toml}`, { mode: 0o600 });

async function raw(text: string | Buffer): Promise<void> {
  const peer = new WebSocket(`ws+unix://${socketPath}:/`, { perMessageDeflate: false });
  await new Promise((resolve, reject) => peer.once("open", resolve).once("error", reject));
  const heard: string[] = [];
  peer.on("message", (data) => heard.push(String(data)));
  peer.send(text);
  // An answer to what came after it: by then the first has been dealt with.
  peer.send('{"id":7,"method":"query","params":{"path":"hello","input":{"protocol":{"min":1,"max":9}}}}');
  await new Promise((resolve) => peer.on("message", (data) => String(data).includes('"id":7') && resolve(null)).once("close", resolve));
  peer.terminate();
  places[`answers to a malformed frame ${Object.keys(places).length}`] = heard.join("\n");
}

const page = (path: string, headers: Record<string, string>): Promise<void> =>
  new Promise((resolve) => {
    const asked = request({ socketPath, path, headers: { host: "localhost", ...headers } }, (response) => {
      let text = JSON.stringify(response.headers);
      response.setEncoding("utf8").on("data", (piece: string) => (text += piece));
      response.on("end", () => ((places[`page ${Object.keys(places).length}`] = text), resolve()));
    });
    asked.on("upgrade", (_response, upgraded) => (upgraded.destroy(), resolve())).on("error", () => resolve());
    asked.end();
  });

/** In the place of names, ids, texts, verbs, keys of objects, URLs, headers, and in frames that are none. */
async function misplaced(text: string, { session_id, auth }: { session_id: string; auth: object }): Promise<void> {
  const fields: [VerbName, object][] = [
    ["session_info", { session_id: text }],
    ["session_info", { session_id, [text]: 1 }],
    ["session_info", { session_id, token: text }],
    ["mint_token", { session_id, right: text, label: "x" }],
    ["mint_token", { session_id, right: "view", label: text.slice(0, 64) }],
    ["send_prompt", { session_id, prompt_id: text, parts: [{ type: "text", text: "x", [text]: 1 }], when_busy: text }],
    ["attach", { session_id, role: text, label: text, cursor: text }],
    ["approve", { session_id, approval_id: text, option_id: text, digest: text }],
    ["configure_session", { session_id, title: text, model: text }],
    ["start_session", { request_id: text, workdir: `/${text}`, env: { [text]: text } }],
    ["start_or_get_for_workdir", { workdir, agent: text, model: text }],
    ["list_sessions", { workdir: `/${text}`, after: text }],
    ["revoke_token", { session_id, token_id: text }],
  ];
  for (const [verb, input] of fields) await call(verb, input, auth);
  await socket.call("query", text, "{}");
  await raw(`{"id":1,"method":"query","params":{"path":"session_info","input":{"auth":{"token":"${text}`);
  await raw(`{"id":1,"method":"${text}","params":{"path":"${text}","input":"${text}"}}`);
  await raw(text);
  await raw(Buffer.from([0xff, ...Buffer.from(text)]));
  await page(`/?token=${encodeURIComponent(text)}`, {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "x",
    "sec-websocket-protocol": core(text).replace(/\W/g, ""),
  });
  await page(`/metrics?key=${encodeURIComponent(text)}`, {
    authorization: `Bearer ${text}x`,
    cookie: `key=${text}`,
    origin: `http://${core(text).replace(/\W/g, "")}`,
  });
  await page(`/${encodeURIComponent(text)}`, { authorization: `Basic ${Buffer.from(text).toString("base64")}` });
}

/** What a person mistakes one for at a shell. */
async function mistyped(text: string): Promise<void> {
  const junk = join(given, "junk");
  writeFileSync(junk, `token: ${text}\n`);
  const lines = [
    [text],
    ["info", text],
    ["ls", `--${text}`],
    ["run", "--title", text, "hi"],
    ["set", "--title", text],
    ["token", "mint", "--label", text],
    ["token", "revoke", text],
    ["attach", "--view", "--token-file", junk],
    ["audit", "--session", text],
    ["verify", text],
    ["approve", text],
    ["wait", "-C", `/${text}`],
  ];
  const codes = await Promise.all(lines.map(async (words) => [words[0], (await command(...words)).code === 0]));
  expect(codes.filter(([, well]) => well)).toEqual([]);
}

test("B2 after a full run no secret is in anything that daemon, children and command ever wrote, printed, sent or hold", { timeout: 240_000 }, async () => {
  execFileSync("mkfifo", ["gate"], { cwd: workdir });
  house.env["DATABASE_PASSWORD"] = bystander;
  house.env["DATABASE_URL"] = `postgres://user:${bystander}@db/`;

  // The first life: its key comes with the environment.
  house.env["OPENAI_API_KEY"] = modelKeys.environment;
  configure("");
  expect((await command("run", "hi")).stdout).toBe("well\n");
  const hostKey = secret("host key", readFileSync(join(stateDir, "host-key"), "utf8").trim());
  await reconnect();
  const owner = { host_key: hostKey };
  const started = await minted<{ token: string; session: { session_id: string } }>("start token", ({ token }) => token, [
    "start_or_get_for_workdir",
    { workdir },
    owner,
  ]);
  const { session_id } = started.session;
  type Minted = { token: string; record: { token_id: string } };
  await minted<Minted>("view token", ({ token }) => token, ["mint_token", { session_id, right: "view", label: "v" }, owner]);
  const control = await minted<Minted>("control token", ({ token }) => token, ["mint_token", { session_id, right: "control", label: "c" }, owner]);
  const seat = { token: control.token, seat_secret: secret("seat secret", Buffer.from(random("")).toString("hex").slice(0, 40)) };
  type MintedKey = { key: string; record: { key_id: string } };
  const newKey = { name: "ci", scopes: ["sessions:start", "sessions:list"], roots: [workdir] };
  const key = await minted<MintedKey>("API key", (output) => output.key, ["create_key", newKey, owner]);
  const rotated = await minted<MintedKey>("API key, rotated", (output) => output.key, ["rotate_key", { key_id: key.record.key_id, overlap_ms: 60_000 }, owner]);
  for (const each of [key, rotated]) expect((await call("list_sessions", {}, { api_key: each.key })).error).toBeUndefined();
  expect((await call("attach", { session_id, role: "viewer", label: "raw" }, seat)).error).toBeUndefined();
  const mint = await command("token", "mint", "--control", "--ttl", "1h");
  secret("token minted by the command", mint.stdout.trim());
  allow("token minted by the command", `stdout of ${printed.at(-1)?.what}`);
  writeFileSync(join(given, "token"), mint.stdout, { mode: 0o600 });
  const made = await command("key", "create", "other", "--scope", "sessions:list", "--root", workdir);
  secret("API key made by the command", made.stdout.trim());
  allow("API key made by the command", `stdout of ${printed.at(-1)?.what}`);
  const looking = house.start(workdir, ["attach", "--view", "--json", "--token-file", join(given, "token")]);
  await looking.said('"snapshot"');
  looking.signal("SIGINT");
  printed.push({ what: "attach --view", outcome: await looking.done });
  await command("attach", "--token-file", join(given, "token"));
  await dumped("first life", "by itself");
  for (const prompt of ["files", "401", ...["500", "400", "404", "429"].slice(0, amount(1, 4)), "midway"]) await command("run", "--approve", prompt);
  const ours = secrets.filter(({ text }) => text.startsWith("ssd"));
  for (const { text } of ours) await misplaced(text, { session_id, auth: owner });
  for (const { text } of ours.filter(({ name }) => ["control token", "host key", "API key"].slice(0, amount(1, 3)).includes(name))) await mistyped(text);
  await dumped("first life again", "by kill -9");

  // The second: from config.toml; the third: from a file of its own. Nothing comes with the environment.
  await command("down", "--wait", "0");
  delete house.env["OPENAI_API_KEY"];
  configure(`api_key = ${JSON.stringify(modelKeys.config)}\n`);
  await dumped("second life", "by kill -9");
  await command("down", "--wait", "0");
  writeFileSync(join(configDir, "key"), `${modelKeys.file}\n`, { mode: 0o600 });
  configure('api_key_file = "key"\n');
  await command("run", "401");
  await reconnect();
  expect((await call("rotate_host_key", {}, owner)).error).toBeUndefined();
  secret("host key, rotated", readFileSync(join(stateDir, "host-key"), "utf8").trim());
  allow("host key, rotated", join(stateDir, "host-key"));
  const looks = ["status", "status --metrics", "ls --all --json", "info --json", "token list --json", "audit --json", "doctor --json", "verify --json"];
  await Promise.all(looks.map((words) => command(...words.split(" "))));
  await command("down", "--wait", "0");
  await command("doctor", "--fix");
  configure(`api_key = ${JSON.stringify(modelKeys.config)}\n`);

  // What was written, printed, sent; what was held is there already.
  for (const root of ["state", "run", "home", "config", "project"])
    Object.assign(
      places,
      filesOf(join(house.root, root), () => false),
    );
  for (const { what, outcome } of printed) {
    places[`stdout of ${what}`] = outcome.stdout;
    places[`stderr of ${what}`] = outcome.stderr;
  }
  for (const [at, { received }] of sockets.entries()) places[`replies of socket ${at}`] = received.join("\n");
  places["what the model was sent"] = JSON.stringify(model.requests.map(({ headers: { authorization: _key, ...headers }, body }) => ({ headers, body })));
  allow("model key of config.toml", join(configDir, "config.toml"));
  allow("model key of a file", join(configDir, "key"));

  // It did happen, all of it.
  expect(model.requests.map(({ headers }) => headers.authorization)).toEqual(expect.arrayContaining(Object.values(modelKeys).map((each) => `Bearer ${each}`)));
  expect(Object.keys(places).filter((place) => /child environ/.test(place)).length).toBeGreaterThan(2);
  for (const life of ["first life", "second life"])
    expect(
      Object.entries(places)
        .filter(([place]) => place.startsWith(`${life}, child`))
        .map(([, text]) => text)
        .join(),
    ).toContain("SESSIOND_MARK=");
  expect(places[join(stateDir, "daemon.log")]).toContain("listening");
  expect(places[join(stateDir, "audit.jsonl")]).toContain("unauthenticated");
  const found = [...new Set(leaksIn(secrets, places).map(({ secret: name, place }) => `${name} @ ${place}`))];
  // Nothing but what may be, and what may be is there: the search does find.
  expect(found.toSorted()).toEqual([...allowed].toSorted());
  console.log(
    `B2: ${secrets.length} secrets in ${formsOf("x").length} forms looked for in ${Object.keys(places).length} places of ${Object.values(places).reduce((sum, text) => sum + text.length, 0)} characters: ${found.length} found, each where it may be`,
  );
});

test("B2 a tool finds the model's key neither in its arguments and environment nor in those of the daemon that started it", { timeout: 120_000 }, async () => {
  const small = new CommandHouse();
  const key = random("sk-small");
  try {
    small.env["OPENAI_API_KEY"] = key;
    small.env["DATABASE_PASSWORD"] = key;
    const look = "run for p in $$ $PPID; do tr '\\0' '\\n' < /proc/$p/environ; tr '\\0' ' ' < /proc/$p/cmdline; done; echo so''far";
    const { code, stderr } = await small.run(small.workdir("w"), "run", "--approve", look);
    expect([code, stderr]).toEqual([0, expect.stringContaining("so'") as string]);
    // It did look: what everybody may know is there, of itself and of the daemon.
    expect(stderr).toContain("sofar");
    expect(stderr).toContain("SESSIOND_MARK=");
    expect(stderr).toContain("daemon.js");
    expect(leaksIn([{ name: "key", text: key }], { told: stderr, ...filesOf(small.root, () => false) })).toEqual([]);
  } finally {
    await small.close();
  }
});

test(
  "B2 a daemon in the foreground leaves nobody beside it who still holds the model's key: neither it nor who started it shows it to a tool",
  { timeout: 120_000 },
  async () => {
    const small = new CommandHouse();
    const key = random("sk-front");
    try {
      small.env["OPENAI_API_KEY"] = key;
      const front = small.start(small.root, ["up", "--foreground"]);
      delete small.env["OPENAI_API_KEY"];
      await expect.poll(async () => (await small.run(small.root, "status", "--json")).code, { timeout: 60_000 }).toBe(0);
      const look =
        "run p=$$; while [ $p -gt 1 ]; do tr '\\0' '\\n' < /proc/$p/environ; tr '\\0' ' ' < /proc/$p/cmdline; p=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$p/status); done; echo so''far";
      const { code, stderr } = await small.run(small.workdir("w"), "run", "--approve", look);
      expect([code, stderr]).toEqual([0, expect.stringContaining("sofar") as string]);
      expect(stderr).toContain("up --foreground");
      expect(leaksIn([{ name: "key", text: key }], { told: stderr })).toEqual([]);
      front.signal("SIGINT");
      expect((await front.done).code).toBe(0);
    } finally {
      await small.close();
    }
  },
);

test(
  "B2 where the system lets nobody wipe what a process was started with, the status says that the model's key stands there",
  { timeout: 120_000 },
  async () => {
    const small = new CommandHouse();
    const closed = `import fs from "node:fs"; import { syncBuiltinESMExports } from "node:module"; const { openSync } = fs; fs.openSync = (path, ...how) => { if (path === "/proc/self/mem") throw new Error("EACCES"); return openSync(path, ...how); }; syncBuiltinESMExports();`;
    const problems = async () =>
      (JSON.parse((await small.run(small.root, "status", "--json")).stdout) as { problems: { what: string }[] }).problems.map(({ what }) => what);
    try {
      small.env["NODE_OPTIONS"] = `--import=data:text/javascript,${encodeURIComponent(closed)}`;
      await small.run(small.root, "up");
      expect(await problems()).toEqual([]);
      await small.run(small.root, "down");
      small.env["OPENAI_API_KEY"] = random("sk-stays");
      await small.run(small.root, "up");
      expect(await problems()).toEqual([expect.stringContaining("the model's key stands in the environment") as string]);
    } finally {
      await small.close();
    }
  },
);

test("B2 what is given in a wrong place is not said back by the command where it is a secret", { timeout: 120_000 }, async () => {
  const token = `ssd_c_${idOf("ses", "S")}_${"0123456789abcdefghijABCDEFGHIJ12"}crc123`;
  for (const words of [[token], ["ls", `--${token}`], ["audit", "--session", token]]) {
    const { code, stdout, stderr } = await house.run(given, ...words);
    expect(code).toBe(2);
    expect(leaksIn([{ name: "token", text: token }], { stdout, stderr })).toEqual([]);
  }
});

test("B2 the search finds a secret in every form and every kind of place: a part of it, encoded, in a file, in arguments and environment", async () => {
  const text = random("sk-plant");
  const planted: Secret[] = [{ name: "planted", text }];
  for (const [form, each] of formsOf(text)) {
    for (const part of [each, each.slice(3, 19), each.slice(-16)])
      expect(leaksIn(planted, { here: `some ${part} text` }).length, `${form}: ${part}`).toBeGreaterThan(0);
    expect(leaksIn(planted, { here: each.slice(0, 12), there: "" }), form).toEqual([]);
  }
  // Within something longer, wherever that began.
  for (const before of ["", "a", "ab", "abc"]) expect(leaksIn(planted, { here: Buffer.from(`${before}${text} and more`).toString("base64") })).not.toEqual([]);
  const token = `ssd_c_${idOf("ses", "S")}_${"0123456789abcdefghijABCDEFGHIJ12"}crc123`;
  expect(leaksIn([{ name: "token", text: token }], { here: token.slice(0, 40) })).toEqual([]);
  expect(leaksIn([{ name: "token", text: token }], { here: token })).not.toEqual([]);
  // Of a family of processes: its head, a child's arguments, a grandchild's environment.
  const head = spawn("sh", ["-c", 'sleep 60 "$0" 2>/dev/null || PLANTED="$0" sh -c "read wait"; true', text], { stdio: ["pipe", "ignore", "ignore"] });
  try {
    await expect
      .poll(() => leaksIn(planted, toldByProc(Number(head.pid), "none")).map(({ place }) => place.replace(/ \(\d+\)/, "")), { timeout: 20_000 })
      .toEqual(expect.arrayContaining(["daemon cmdline", "child environ"]));
  } finally {
    head.stdin.end();
    await new Promise((resolve) => head.once("close", resolve));
  }
});
