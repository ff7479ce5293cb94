import { deceptiveCharacters, limits, version, withoutSecrets } from "@sessiond/shared";
import { acpVersion, type AcpInitializeResponse } from "@sessiond/shared/acp";
import type { ClientFacts } from "./settings.ts";

/** The answer, whatever is asked: it needs no daemon. There is one version of the protocol here. */
export const introduction: AcpInitializeResponse = {
  protocolVersion: acpVersion,
  agentInfo: { name: "sessiond", title: "sessiond", version },
  authMethods: [],
  agentCapabilities: {
    loadSession: true,
    promptCapabilities: { image: true, audio: false, embeddedContext: true },
    mcpCapabilities: { http: false, sse: false },
    sessionCapabilities: { list: {}, resume: {}, close: {} },
  },
};

/** Before anybody has introduced himself. */
export const stranger: ClientFacts = { label: "ACP client", booleans: false, notices: false };

/** What the editor tells of itself. Read by hand: what reads the rest is not loaded yet, and a wrong word here costs nothing. */
export function clientFacts(params: unknown): ClientFacts {
  const { clientInfo, clientCapabilities } = fields(params);
  const { session } = fields(clientCapabilities);
  return {
    label: labelOf(fields(clientInfo)),
    booleans: isObject(fields(fields(session)["configOptions"])["boolean"]),
    notices: isObject(fields(session)["notices"]),
  };
}

/** As seats and tokens are labelled: one line, no characters that are not seen, no secrets. */
function labelOf({ name, title, version: its }: Fields): string {
  const words = [title ?? name, its].filter((word) => typeof word === "string");
  const line = withoutSecrets(words.join(" ")).replace(/\s+/g, " ").replace(deceptiveCharacters, "").trim();
  let label = "";
  // By characters: half of one is refused.
  for (const character of line) if (label.length + character.length <= limits.label_chars_max) label += character;
  return label.trim() || stranger.label;
}

type Fields = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Fields => typeof value === "object" && value !== null;
const fields = (value: unknown): Fields => (isObject(value) ? value : {});
