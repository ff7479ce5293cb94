import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";

/** Holds what a client says to an agent against the protocol's own schema. */
interface Definition {
  readonly "x-method"?: string;
}
export interface Told {
  readonly id?: unknown;
  readonly method?: string;
  readonly params?: unknown;
  readonly result?: unknown;
  readonly error?: unknown;
}

const path = resolve(import.meta.dirname, "../../node_modules/@agentclientprotocol/sdk/schema/v1/schema.json");
const schema = JSON.parse(readFileSync(path, "utf8")) as { readonly $defs: Record<string, Definition> };
const ajv = new Ajv2020({ strict: false, validateFormats: false, discriminator: false });
ajv.addSchema(schema, "acp");
const compiled = new Map<string, ValidateFunction>();

function check(name: string, value: unknown): string | null {
  const validate = compiled.get(name) ?? ajv.compile({ $ref: `acp#/$defs/${name}` });
  compiled.set(name, validate);
  return validate(value) ? null : `${name}: ${ajv.errorsText(validate.errors)}`;
}

/** Null when it is as the protocol has it. All that a client answers with a result are questions of permission. */
export function wrongWith({ id, method, params, result, error }: Told): string | null {
  if (method === undefined) return error === undefined ? check("RequestPermissionResponse", result) : check("Error", error);
  const ending = id === undefined ? "Notification" : "Request";
  const name = Object.entries(schema.$defs).find(([key, { "x-method": its }]) => its === method && key.endsWith(ending))?.[0];
  return name === undefined ? `no schema of ${method}` : check(name, params);
}
