import { closeSync, constants, fstatSync, fsyncSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { readApiKey } from "@sessiond/shared";
import { Failure } from "./exit-codes.ts";

/** Files that hold a secret, read and written. A secret is never an argument: every account of the machine can read those. */

/** @throws Failure, when others may read it, or when it holds something else */
export function apiKeyIn(file: string): string {
  const { text, mode } = read(file, "`sessiond key create NAME --out FILE` makes one");
  if ((mode & 0o077) !== 0)
    throw new Failure(
      "not_authorised",
      `${file} is open to others (mode ${(mode & 0o777).toString(8)}), so its key is not used. \`chmod 600 ${file}\` closes it.`,
    );
  if (readApiKey(text.trim()) === null) throw new Failure("not_authorised", `${file} holds no whole API key (ssdk_…), and nothing else may stand in it.`);
  return text.trim();
}

/** A certificate is no secret. */
export function authorityIn(file: string): string {
  const { text } = read(file, "it holds the certificate of whoever signed the daemon's, as PEM");
  if (!text.includes("-----BEGIN CERTIFICATE-----")) throw new Failure("usage", `${file} holds no certificate; PEM text is expected.`);
  return text;
}

function read(file: string, hint: string): { text: string; mode: number } {
  try {
    const descriptor = openSync(file, "r");
    try {
      const stat = fstatSync(descriptor);
      return { text: readFileSync(descriptor, "utf8"), mode: stat.isFile() ? stat.mode : 0 };
    } finally {
      closeSync(descriptor);
    }
  } catch {
    throw new Failure("usage", `${file} cannot be read; ${hint}.`);
  }
}

/** A file of one's own that did not exist. Made before there is a secret, so that none is lost where it cannot be. */
export class NewSecretFile {
  readonly path: string;
  readonly #descriptor: number;

  /** @throws Failure usage */
  constructor(path: string) {
    this.path = path;
    try {
      this.#descriptor = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    } catch (error) {
      const exists = error instanceof Error && "code" in error && error.code === "EEXIST";
      throw new Failure("usage", exists ? `${path} exists already; name a file that does not.` : `${path} cannot be written.`);
    }
  }

  write(secret: string): void {
    writeSync(this.#descriptor, `${secret}\n`);
    fsyncSync(this.#descriptor);
    closeSync(this.#descriptor);
  }

  /** No secret came. */
  remove(): void {
    closeSync(this.#descriptor);
    rmSync(this.path, { force: true });
  }
}
