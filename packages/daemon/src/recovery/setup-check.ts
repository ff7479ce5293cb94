import { realpath } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import { limits, SessiondError } from "@sessiond/shared";
import { deathSignalPrefix } from "../agents/children.ts";
import { systemProgramDirs } from "../system-program.ts";
import { keySources, readConfig, type Config } from "../config.ts";
import { missingAgents } from "./agent-troubles.ts";
import type { Examination, Trouble } from "./examination.ts";
import { closed } from "./place-check.ts";
import { tcpTroubles } from "./tcp-check.ts";

/** What the machine and the configuration lack. Never tells a key, only where it comes from. */
const nodeLeast = [20, 19] as const;

export async function setupTroubles({ env, configDir, runtimeDir, socket, running, tell }: Examination): Promise<Trouble[]> {
  const troubles: Trouble[] = [];
  const add = (finding: Omit<Trouble["finding"], "kind">, repair?: Trouble["repair"]): void =>
    void troubles.push({ finding: { kind: "setup", ...finding }, ...(repair && { repair }) });
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  tell({ type: "fact", name: "node", value: `${process.versions.node}, ${process.platform}` });
  if (major < nodeLeast[0] || (major === nodeLeast[0] && minor < nodeLeast[1]))
    add({ weight: "wrong", what: `Node ${process.versions.node} is too old`, mend: `install Node ${nodeLeast.join(".")} or newer` });
  const given = env["XDG_RUNTIME_DIR"];
  if (given === undefined || given === "")
    add({
      weight: "note",
      what: `XDG_RUNTIME_DIR is not set: the socket is in ${runtimeDir}`,
      mend: "set it to the same directory in every shell that uses sessiond, or in none",
    });
  else if (!isAbsolute(given))
    add({
      weight: "wrong",
      what: "XDG_RUNTIME_DIR is no absolute path, so it does not count",
      mend: `set it to an absolute path; until then the socket is in ${runtimeDir}`,
    });
  const bytes = Buffer.byteLength(socket);
  if (bytes > limits.socket_path_bytes_max)
    add({
      weight: "wrong",
      path: socket,
      what: `the socket's path has ${bytes} bytes, more than ${limits.socket_path_bytes_max}`,
      mend: "set XDG_RUNTIME_DIR to a shorter directory",
    });
  if (process.platform === "linux" && (await deathSignalPrefix(systemProgramDirs)).length === 0)
    add({
      weight: "note",
      what: "`setpriv --pdeathsig` is not there: when the daemon is killed, its tools run on until the next start ends them",
      mend: "install it (package util-linux)",
    });
  return [...troubles, ...(await configTroubles({ env, configDir, running, tell }))];
}

async function configTroubles({ env, configDir, running, tell }: Pick<Examination, "env" | "configDir" | "running" | "tell">): Promise<Trouble[]> {
  const path = join(configDir, "config.toml");
  let config: Config;
  let sources: ReturnType<typeof keySources>;
  try {
    config = readConfig(env, []);
    sources = keySources(env, configDir);
  } catch (error) {
    const what = error instanceof SessiondError ? String(error.detail["reason"]) : "it cannot be read";
    return [
      {
        finding: {
          kind: "setup",
          weight: "wrong",
          path,
          what: `the configuration is not understood: ${what}`,
          mend: "mend that line; no daemon starts with it",
        },
      },
    ];
  }
  const { apiKey, baseURL, name } = config.model;
  const source = sources.key === null ? "no key" : `key from ${sources.key}`;
  tell({
    type: "fact",
    name: "model",
    value: `${name ?? "none named"}, ${source}${baseURL === undefined ? "" : ", base_url set"} (as this shell would start a daemon)`,
  });
  // What a running daemon lacks it says itself.
  const lacks = name !== "practice" && apiKey === undefined && baseURL === undefined;
  const mend =
    "set OPENAI_API_KEY where the daemon is started, or api_key_file or base_url in config.toml under [model]; to try it without a model: --model practice";
  const model: Trouble[] = lacks && running === null ? [{ finding: { kind: "model", weight: "wrong", path, what: "no model is configured", mend } }] : [];
  const others = [...(await tcpTroubles(config, { running, tell })), ...(await missingAgents(config, { tell }))];
  if (sources.files.length === 0) return [...model, ...others];
  // A link's own rights say nothing: many keep their configuration elsewhere, and link it.
  const behind = (path: string): Promise<string> => realpath(path).catch(() => path);
  const held = await Promise.all([closed(await behind(configDir), "700"), ...sources.files.map(async (file) => closed(await behind(file), "600"))]);
  return [...model, ...others, ...held.flat()];
}
