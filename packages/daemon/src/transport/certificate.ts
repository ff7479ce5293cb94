import { X509Certificate } from "node:crypto";
import { open } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import { SessiondError, type Limits } from "@sessiond/shared";
import type { Clock } from "../clock.ts";
import { diskReason } from "../disk.ts";
import type { TlsFiles } from "../tcp-settings.ts";

/**
 * Certificate and key of the TCP door, and the look at their files that finds a renewed pair. A pair that cannot be
 * taken leaves the one in use as it is, and is told as a problem until it is mended.
 */
export interface Pair {
  readonly cert: string;
  readonly key: string;
  readonly validTo: number;
}

/** @throws SessiondError config_invalid, saying what to do */
export async function loadPair(files: TlsFiles): Promise<Pair> {
  const [cert, key] = [await read("certificate", files.cert, false), await read("key", files.key, true)];
  try {
    const { validTo } = new X509Certificate(cert);
    createSecureContext({ cert, key });
    return { cert, key, validTo: Date.parse(validTo) };
  } catch (error) {
    const said = error instanceof Error ? error.message.replace(/^error:[0-9A-F]*:/, "") : "";
    throw wrong(`certificate ${files.cert} and key ${files.key} are no pair in PEM form (${said}): put both of the same issue there`, error);
  }
}

async function read(what: "certificate" | "key", path: string, secret: boolean): Promise<string> {
  const handle = await open(path, "r").catch((error: unknown) => {
    throw wrong(`the TLS ${what} ${path} cannot be read (${diskReason(error)}): mend the path under [tcp], or its rights`, error);
  });
  try {
    if (secret && ((await handle.stat()).mode & 0o077) !== 0) throw wrong(`the TLS key ${path} is open to other accounts: chmod 600 ${path}`);
    return await handle.readFile("utf8");
  } finally {
    await handle.close();
  }
}

const wrong = (reason: string, cause?: unknown): SessiondError => new SessiondError("config_invalid", { reason }, { cause });

export interface CertificateOptions {
  readonly clock: Clock;
  readonly limits: Limits;
  /** Another pair is in the files. */
  onRenewed(pair: Pair): void;
  /** Said once for each thing that is wrong. */
  onTrouble(reason: string): void;
}

export class Certificate {
  readonly #files: TlsFiles;
  readonly #options: CertificateOptions;
  #pair: Pair;
  #trouble: string | null = null;
  #cancel = (): void => undefined;

  constructor(files: TlsFiles, pair: Pair, options: CertificateOptions) {
    this.#files = files;
    this.#pair = pair;
    this.#options = options;
    this.#lookLater();
  }

  /** What is wrong with it, in words. */
  problems(): { what: string; mend: string }[] {
    const trouble =
      this.#trouble === null
        ? []
        : [{ what: `the TLS certificate is not renewed: ${this.#trouble}`, mend: "mend the files; they are looked at every few seconds" }];
    const expiry = expiryProblem(this.#pair, this.#files, this.#options.clock.now(), this.#options.limits);
    return expiry === null ? trouble : [...trouble, expiry];
  }

  close(): void {
    this.#cancel();
    this.#cancel = () => undefined;
  }

  #lookLater(): void {
    const { clock, limits } = this.#options;
    let closed = false;
    const cancel = clock.after(limits.tls_look_ms, () => void this.#look().then(() => closed || this.#lookLater()));
    this.#cancel = () => {
      closed = true;
      cancel();
    };
  }

  async #look(): Promise<void> {
    try {
      const pair = await loadPair(this.#files);
      this.#trouble = null;
      if (pair.cert === this.#pair.cert && pair.key === this.#pair.key) return;
      this.#pair = pair;
      this.#options.onRenewed(pair);
    } catch (error) {
      const reason = error instanceof SessiondError ? String(error.detail["reason"]) : String(error);
      if (reason !== this.#trouble) this.#options.onTrouble(reason);
      this.#trouble = reason;
    }
  }
}

const dayMs = 86_400_000;

/** Also for who looks at it without a daemon. */
export function expiryProblem({ validTo }: Pair, { cert }: TlsFiles, now: number, { tls_expiry_warning_ms }: Limits): { what: string; mend: string } | null {
  const left = validTo - now;
  if (left > tls_expiry_warning_ms) return null;
  const when = new Date(validTo).toISOString().slice(0, 10);
  const days = Math.ceil(left / dayMs);
  const what =
    left <= 0
      ? `the TLS certificate ${cert} expired on ${when}: clients refuse it`
      : `the TLS certificate ${cert} expires in ${days} ${days === 1 ? "day" : "days"}, on ${when}`;
  return { what, mend: "put a renewed pair in its place; the daemon takes it without a restart" };
}
