import { Agent, request } from "node:http";
import type { Door, Peer, PeerHome, Served, Talk, Watch } from "./peer.ts";
import { Folder, freePort, offline, Program } from "./program.ts";

/** `opencode serve`: JSON over HTTP for what is done, server-sent events for what happens. */
interface Event {
  readonly type: string;
  readonly properties: { readonly sessionID?: string; readonly id?: string; readonly field?: string; readonly delta?: string };
}

export const opencode = (binary: string, version: string): Peer => ({
  name: "opencode",
  version,
  command: "opencode serve --hostname 127.0.0.1 --port <port>",
  home: (model) => new Home(binary, model),
});

const config = (baseURL: string): object => ({
  autoupdate: false,
  share: "disabled",
  enabled_providers: ["bench"],
  model: "bench/m",
  small_model: "bench/m",
  permission: { bash: "ask" },
  provider: {
    bench: { npm: "@ai-sdk/openai-compatible", options: { baseURL, apiKey: "k" }, models: { m: { limit: { context: 200_000, output: 8_000 } } } },
  },
});

class Home implements PeerHome {
  readonly #folder = new Folder();
  readonly #binary: string;
  readonly #env: Record<string, string>;

  constructor(binary: string, model: string) {
    this.#binary = binary;
    const dirs = { HOME: "home", XDG_DATA_HOME: "data", XDG_CONFIG_HOME: "config", XDG_STATE_HOME: "state", XDG_CACHE_HOME: "cache" };
    const off = ["MODELS_FETCH", "AUTOUPDATE", "DEFAULT_PLUGINS", "LSP_DOWNLOAD", "SHARE", "EMBEDDED_WEB_UI"];
    this.#env = {
      ...offline(model),
      ...Object.fromEntries(Object.entries(dirs).map(([name, dir]) => [name, this.#folder.dir(dir)])),
      ...Object.fromEntries(off.map((name) => [`OPENCODE_DISABLE_${name}`, "1"])),
      OPENCODE_CONFIG_CONTENT: JSON.stringify(config(model)),
      PATH: process.env["PATH"] ?? "",
    };
  }

  async start(): Promise<Served> {
    const port = await freePort();
    const words = [this.#binary, "serve", "--hostname", "127.0.0.1", "--port", String(port)];
    // Its socket accepts before there is anybody behind it, and what is asked then is never answered: it says when it is there.
    const ready = (): boolean => this.#folder.logText().includes("listening on");
    const program = await Program.start(words, { env: this.#env, folder: this.#folder, ready });
    const url = `http://127.0.0.1:${port}`;
    const agent = new Agent({ keepAlive: true });
    await call(agent, `${url}/global/health`);
    const startMs = program.sinceSpawn();
    const heard = new Set<(event: Event) => void>();
    // Its stream is of the whole project; one a client, begun with the first session.
    let stream: Promise<() => void> | undefined;
    return {
      pid: program.pid,
      startMs,
      create: async () => {
        stream ??= subscribe(url, (event) => heard.forEach((each) => each(event)));
        // A title of our own: else it asks the model for one.
        const { id } = (await call(agent, `${url}/session`, { title: "bench" })) as { id: string };
        await stream;
        return talk(agent, { url, id, heard });
      },
      end: async () => {
        (await stream)?.();
        agent.destroy();
        await program.end();
      },
    };
  }

  remove(): Promise<void> {
    this.#folder.remove();
    return Promise.resolve();
  }
}

function talk(agent: Agent, { url, id, heard }: { url: string; id: string; heard: Set<(event: Event) => void> }): Talk {
  return {
    door: { peer: "opencode", at: url, session: id },
    // Answered when the turn is over.
    prompt: (text) => call(agent, `${url}/session/${id}/message`, { parts: [{ type: "text", text }] }),
    question: () =>
      new Promise((resolve) => {
        const hear = ({ type, properties }: Event): void => {
          if (type !== "permission.asked" || properties.sessionID !== id) return;
          heard.delete(hear);
          resolve({ allow: () => call(agent, `${url}/permission/${properties.id ?? ""}/reply`, { reply: "once" }) });
        };
        heard.add(hear);
      }),
  };
}

export const watchOpencode: Watch = async ({ at, session }: Door, viewers) => {
  const ends = await Promise.all(
    viewers.map((told) =>
      subscribe(at, ({ type, properties }) => {
        if (type === "message.part.delta" && properties.sessionID === session && properties.field === "text") told(properties.delta ?? "");
      }),
    ),
  );
  return () => ends.forEach((end) => end());
};

/** @param body  POST when there is one, else GET. @throws Error with what it said when that is no success */
function call(agent: Agent, url: string, body?: object): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? "GET" : "POST";
    const outgoing = request(url, { agent, method, headers: { "content-type": "application/json" } }, (incoming) => {
      let text = "";
      incoming.setEncoding("utf8").on("data", (part) => (text += String(part)));
      incoming.on("end", () => (incoming.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(`${url}: ${incoming.statusCode} ${text}`))));
    });
    outgoing.once("error", reject).end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** One stream of events over a connection of its own; resolves at its first. @returns what ends it */
function subscribe(url: string, told: (event: Event) => void): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const outgoing = request(`${url}/event`, { agent: false }, (incoming) => {
      let rest = "";
      incoming.setEncoding("utf8").on("data", (part) => {
        const lines = `${rest}${String(part)}`.split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) if (line.startsWith("data: ")) told(JSON.parse(line.slice(6)) as Event);
        resolve(() => outgoing.destroy());
      });
      incoming.on("error", () => undefined);
    });
    outgoing.once("error", reject).end();
  });
}
