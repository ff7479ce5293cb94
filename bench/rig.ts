import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Host } from "@sessiond/client";
import { DaemonHome } from "../test/support/daemon-home.ts";
import type { ModelReady } from "./model.ts";
import type { How } from "./row.ts";
import { SideProcess } from "./side-process.ts";

/** What benches of single calls and turns stand on: a real daemon, the limit beside it on the same file system, and the model that both ask. */
export interface Rig {
  readonly home: DaemonHome;
  readonly host: Host;
  readonly model: SideProcess<ModelReady>;
  /** Of the limit's router. */
  readonly limit: string;
}

/** Node's words for daemon and limit, as `--cpu-prof` has it: for whoever looks where the time goes. */
const nodeOptions = process.env["BENCH_NODE_OPTIONS"];

export async function withRig<T>(how: How, work: (rig: Rig) => Promise<T>): Promise<T> {
  const model = await SideProcess.start<ModelReady>(how.dir, "model");
  const home = new DaemonHome(`[model]\nname = "m"\nbase_url = "${model.ready.baseURL}"\napi_key = "k"\n`);
  if (nodeOptions !== undefined) home.env["NODE_OPTIONS"] = nodeOptions;
  const limit = join(home.root, "limit", "sock");
  mkdirSync(join(home.root, "limit"));
  const bare = await SideProcess.start(how.dir, "limit-daemon", [limit, model.ready.baseURL], {
    env: { ...process.env, ...(nodeOptions !== undefined && { NODE_OPTIONS: nodeOptions }) },
  });
  try {
    await home.startByHand();
    return await work({ home, model, limit, host: await home.connect({ autoStart: false }) });
  } finally {
    await bare.end();
    await home.close();
    await model.end();
  }
}
