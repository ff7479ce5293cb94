import type { DaemonStatus } from "@sessiond/client";

/** The TCP door, as a URL that a client takes. */
export const urlOf = ({ address, port, tls }: NonNullable<DaemonStatus["tcp"]>): string => `${tls ? "wss" : "ws"}://${bracketed(address)}:${port}`;

export const bracketed = (address: string): string => (address.includes(":") ? `[${address}]` : address);
