import { realpath } from "node:fs/promises";
import { limits, SessiondError } from "@sessiond/shared";
import type { Config } from "../config.ts";
import { expiryProblem, loadPair } from "../transport/certificate.ts";
import type { Examination, Trouble } from "./examination.ts";
import { closed } from "./place-check.ts";

/** What the next start will say of the TCP door. A daemon that runs has its own words for its certificate. */
export async function tcpTroubles({ tcp }: Pick<Config, "tcp">, { running, tell }: Pick<Examination, "running" | "tell">): Promise<Trouble[]> {
  if (tcp === null) return [];
  const { address, port, tls } = tcp;
  const where = address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
  tell({ type: "fact", name: "tcp", value: `${where}, ${tls === null ? "without TLS" : "with TLS"} (as config.toml says)` });
  if (tls === null || running !== null) return [];
  const open = await closed(await realpath(tls.key).catch(() => tls.key), "600");
  if (open.length > 0) return open;
  try {
    const expiry = expiryProblem(await loadPair(tls), tls, Date.now(), limits);
    return expiry === null ? [] : [{ finding: { kind: "setup", weight: "wrong", path: tls.cert, ...expiry } }];
  } catch (error) {
    const what = error instanceof SessiondError ? String(error.detail["reason"]) : String(error);
    return [{ finding: { kind: "setup", weight: "wrong", path: tls.cert, what, mend: "mend the two files; no daemon starts with them" } }];
  }
}
