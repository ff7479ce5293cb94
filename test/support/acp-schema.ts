import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";

/** The protocol's own schema of ACP v1, stable methods only, as its SDK ships it. Nothing of ours has a say in it. */
interface Definition {
  readonly "x-method"?: string;
  /** Who handles the method. */
  readonly "x-side"?: "agent" | "client" | "protocol";
}
const schema = JSON.parse(readFileSync(createRequire(import.meta.url).resolve("@agentclientprotocol/sdk/schema/v1/schema.json"), "utf8")) as {
  $defs: Record<string, Definition>;
};
// Its formats are numbers' sizes; its unions have no more than a name for what tells them apart.
const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: false, inlineRefs: false }).addSchema(schema, "acp");
const compiled = new Map<string, ValidateFunction>();

export type AcpSide = "agent" | "client";
export type AcpMessageKind = "request" | "response" | "notification";

/**
 * Whether a message, as it stood on the wire, is one of ACP v1: its envelope, that this side may send it, its params or result.
 *
 * @param kind    what it is meant to be
 * @param method  of a response: the method that it answers
 * @param side    who sent it
 * @returns true; otherwise it throws an Error that says what is wrong
 */
export function validates(kind: AcpMessageKind, method: string, side: AcpSide, message: unknown): true {
  const said = message as Record<string, unknown>;
  const wrong = (why: string): never => {
    throw new Error(`${side}'s ${kind} ${method}: ${why}: ${JSON.stringify(message).slice(0, 2_000)}`);
  };
  const expect = (right: boolean, why: string) => right || wrong(why);
  expect(typeof said === "object" && said !== null && said["jsonrpc"] === "2.0", 'no "jsonrpc":"2.0"');
  const members =
    kind === "response" ? ["jsonrpc", "id", "error" in said ? "error" : "result"] : ["jsonrpc", ...(kind === "request" ? ["id"] : []), "method", "params"];
  for (const name of Object.keys(said)) expect(members.includes(name), `a member that does not belong there: ${name}`);
  for (const name of members) expect(name === "params" || said[name] !== undefined, `no ${name}`);
  if ("id" in said) holds("RequestId", said["id"], wrong);
  if (kind !== "response") expect(said["method"] === method, `the method is ${String(said["method"])}`);
  if ("error" in said) return holds("Error", said["error"], wrong);
  // A leading "_" is everybody's own.
  if (method.startsWith("_")) return true;
  const suffix = { request: "Request", response: "Response", notification: "Notification" }[kind];
  const [name, definition] = Object.entries(schema.$defs).find(([one, { "x-method": of }]) => of === method && one.endsWith(suffix)) ?? wrong("no such method");
  const handler = definition["x-side"];
  if (handler !== "protocol") expect((handler === side) === (kind === "response"), `that is not for ${side === "agent" ? "an agent" : "a client"} to send`);
  return holds(name, kind === "response" ? said["result"] : (said["params"] ?? {}), wrong);
}

/**
 * A message by what it says of itself.
 *
 * @param asked  the method that an answer is to, by its id
 * @returns null when it is as the protocol has it; else what is wrong
 */
export function wrongWith(
  message: { readonly id?: unknown; readonly method?: unknown },
  side: AcpSide,
  asked: (id: unknown) => string | undefined,
): string | null {
  const { id, method } = message;
  const kind = method === undefined ? "response" : id === undefined ? "notification" : "request";
  const about = kind === "response" ? asked(id) : String(method);
  if (about === undefined) return `an answer to nothing: ${JSON.stringify(message).slice(0, 2_000)}`;
  try {
    validates(kind, about, side, message);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Names of the methods that a side handles, in the stable protocol. */
export const stableMethods = (handler: AcpSide, kind: "request" | "notification"): string[] =>
  Object.entries(schema.$defs).flatMap(([name, { "x-method": method, "x-side": side }]) =>
    side === handler && method !== undefined && name.endsWith(kind === "request" ? "Request" : "Notification") ? [method] : [],
  );

function holds(definition: string, value: unknown, wrong: (why: string) => never): true {
  const check = compiled.get(definition) ?? ajv.compile({ $ref: `acp#/$defs/${definition}` });
  compiled.set(definition, check);
  return check(value) === true || wrong(ajv.errorsText(check.errors, { dataVar: definition }));
}
