import { request } from "node:http";

/** One plain HTTP request on a unix socket, as the daemon's door gets it. */
export interface PlainReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export function plainRequest(socketPath: string, path: string, headers: Record<string, string> = {}, method = "GET"): Promise<PlainReply> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, method, headers: { host: "localhost", ...headers }, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (piece: string) => (body += piece));
      response.once("end", () => {
        // The time of day is nobody's secret, and no two of them are alike.
        const { date: _date, ...rest } = response.headers as Record<string, string>;
        resolve({ status: response.statusCode ?? 0, headers: rest, body });
      });
    });
    asked.once("error", reject);
    asked.end();
  });
}

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** The samples of a page of metrics, by Prometheus' text format. */
export function samplesOf(page: string): Sample[] {
  return page
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const [, name = "", labels = "", value = ""] = /^([a-zA-Z_][a-zA-Z0-9_]*)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
      if (name === "") throw new Error(`no sample: ${line}`);
      const pairs = [...labels.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = "", text = ""]) => [key, text] as const);
      return { name, labels: Object.fromEntries(pairs), value: Number(value) };
    });
}

/** The value of one sample; without labels the only one of that name. */
export function valueOf(page: string, name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
  return samplesOf(page).find((sample) => sample.name === name && Object.entries(labels).every(([key, text]) => sample.labels[key] === text))?.value;
}
