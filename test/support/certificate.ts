import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A self-signed certificate, made by openssl, and its key: PEM text. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** @param names  as openssl writes them: `IP:127.0.0.1`, `DNS:box.example` */
export function selfSigned(...names: readonly string[]): Certificate {
  const folder = mkdtempSync(join(tmpdir(), "ssd-crt-"));
  try {
    const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    const request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=test"];
    execFileSync("openssl", [...request, "-addext", `subjectAltName=${names.join(",")}`, "-keyout", key, "-out", cert], { stdio: "ignore" });
    return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
