import type { Handler } from "./verb.ts";

export const rotateHostKey: Handler<"rotate_host_key"> = async ({ daemon }) => ({ file: await daemon.rotateHostKey() });
