import { z } from "zod";
import { limits } from "../limits.ts";
import { AcpError, acpErrors } from "./acp-error.ts";

/**
 * How we read what others send: what is required must be there; `null` where something may be absent counts as absent; what
 * may be absent and is wrong is left out, and does not cost the message; unknown fields are passed over. What is right is read
 * in no time, what is wrong with something takes a while to find out: beyond some in one message, all the rest that may be left out is.
 */

/** Found wrong in the message that is being read: reading waits for nothing, so it is one at a time. */
let wrong = 0;
const isEnough = (): boolean => wrong > limits.acp_wrong_max;

/** Instead of what is wrong. */
const instead =
  <T>(value: T) =>
  (): T => {
    wrong += 1;
    return value;
  };

/** May be absent. */
export const maybe = <T extends z.ZodType>(schema: T) =>
  z
    .preprocess((raw) => (raw === null || isEnough() ? undefined : raw), schema.optional())
    .catch(instead(undefined as never))
    .optional();

/** May be absent or wrong, and is `value` then. */
export const or = <T extends z.ZodType<string>>(schema: T, value: z.output<T>) =>
  z.preprocess((raw) => ((raw ?? null) === null || isEnough() ? value : raw), schema).catch(instead(value) as never);

/** Undefined where it is wrong, or nothing is looked at any more. */
export function known<T extends z.ZodType>(schema: T, raw: unknown): z.output<T> | undefined {
  if (isEnough()) return undefined;
  const read = schema.safeParse(raw);
  return read.success ? read.data : instead(undefined)();
}

/** May be absent, and is a list: what is wrong in it is left out. Empty when absent. */
export const maybeList = <T extends z.ZodType>(schema: T) =>
  z
    .unknown()
    .optional()
    .transform((raw) => (Array.isArray(raw) ? rightOnes(schema, raw) : []));

/** A list that has to be there. What is wrong in it is left out. */
export const list = <T extends z.ZodType>(schema: T) => z.array(z.unknown()).transform((raw) => rightOnes(schema, raw));

/** True only when it is true. */
export const flag = z
  .unknown()
  .optional()
  .transform((raw) => raw === true);

/** Told by an object, empty as a rule; `null` and `false` say no. */
export const marker = z
  .unknown()
  .optional()
  .transform((raw) => typeof raw === "object" && raw !== null);

/** An object of which each part may be absent; absent, or no object, it is as an empty one. */
export const parts = <T extends z.ZodRawShape>(shape: T) => {
  const schema = z.object(shape);
  return z
    .unknown()
    .optional()
    .transform((raw) => schema.parse(typeof raw === "object" && raw !== null && !Array.isArray(raw) ? raw : {}));
};

export const meta = maybe(z.record(z.string(), z.unknown()));

function rightOnes<T extends z.ZodType>(schema: T, raw: readonly unknown[]): z.output<T>[] {
  const right: z.output<T>[] = [];
  for (const one of raw) {
    if (isEnough()) break;
    const read = schema.safeParse(one);
    if (read.success) right.push(read.data);
    else wrong += 1;
  }
  return right;
}

export type AcpRead<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: AcpError };

/** Reads by a schema; never throws. The error is `invalid_params`, and its message names the field. */
export function readAcp<T extends z.ZodType>(schema: T, raw: unknown): AcpRead<z.output<T>> {
  wrong = 0;
  // `params` may be left out where everything in it may be.
  const read = schema.safeParse(raw ?? {});
  if (read.success) return { ok: true, value: read.data };
  const [issue] = read.error.issues;
  const field = issue === undefined || issue.path.length === 0 ? "the whole" : issue.path.map(String).join(".").slice(0, 200);
  return { ok: false, error: new AcpError(acpErrors.invalid_params, `Not as ACP has it: ${field}: ${issue?.message ?? "wrong"}.`, { field }) };
}

/** @throws AcpError `invalid_params`, whose message names the field */
export function mustReadAcp<T extends z.ZodType>(schema: T, raw: unknown): z.output<T> {
  const read = readAcp(schema, raw);
  if (!read.ok) throw read.error;
  return read.value;
}
