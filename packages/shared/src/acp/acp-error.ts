/**
 * Numbers of errors on the ACP wire: JSON-RPC's own, and ACP's. The two above zero are ours alone: they say why a request
 * of ours has no answer, and never travel.
 */
export const acpErrors = {
  parse_error: -32700,
  invalid_request: -32600,
  method_not_found: -32601,
  invalid_params: -32602,
  internal_error: -32603,
  request_cancelled: -32800,
  auth_required: -32000,
  resource_not_found: -32002,
  connection_closed: 1,
  timed_out: 2,
} as const;

/** An error as it stands in a response. */
export interface AcpErrorShape {
  readonly code: number;
  readonly message: string;
  readonly data?: unknown;
}

/** What a request of ours ends with, and what a handler throws to have it told as it is. */
export class AcpError extends Error {
  override readonly name = "AcpError";
  readonly code: number;
  readonly data?: unknown;
  /** True for what the other side answered; false for what was said on this side, `connection_closed` and the like. */
  readonly theirs: boolean;

  /**
   * @param code     one of `acpErrors`, or a number of theirs
   * @param message  a sentence for a person; told to the other side
   * @param data     facts for a program; told too
   */
  constructor(code: number, message: string, data?: unknown, theirs = false) {
    super(message);
    this.code = code;
    if (data !== undefined) this.data = data;
    this.theirs = theirs;
  }

  toWire(): AcpErrorShape {
    return { code: this.code, message: this.message, ...(this.data === undefined ? {} : { data: this.data }) };
  }
}

/** True for an AcpError, of this copy of the package or another; with `code`, of that number. */
export const isAcpError = (error: unknown, code?: number): error is AcpError =>
  error instanceof Error && error.name === "AcpError" && "code" in error && typeof error.code === "number" && (code === undefined || error.code === code);

/** What is told when a handler failed, and whether that is a bug. Of a bug nothing is told but that there was one. */
export function toldOf(error: unknown, signal: AbortSignal): { readonly shape: AcpErrorShape; readonly bug: boolean } {
  if (isAcpError(error) && Number.isSafeInteger(error.code) && error.code < 0) return { shape: error.toWire(), bug: false };
  // Whatever a cancelled handler ended with: it was asked to stop, and what it called may say so in its own way.
  const cancelled = signal.aborted && error instanceof Error && (error === signal.reason || error.name === "AbortError" || isAcpError(error));
  if (cancelled) return { shape: { code: acpErrors.request_cancelled, message: "The request was cancelled." }, bug: false };
  if (isAcpError(error)) return { shape: { code: acpErrors.internal_error, message: error.message }, bug: false };
  return { shape: { code: acpErrors.internal_error, message: "A bug in sessiond; its log has the details." }, bug: true };
}
