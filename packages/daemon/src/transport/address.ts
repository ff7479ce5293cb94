import { BlockList, isIPv6 } from "node:net";

/** What an IP address means to the TCP door: this machine alone or not, and whom it counts as. */
const loopbacks = new BlockList();
loopbacks.addSubnet("127.0.0.0", 8, "ipv4");
loopbacks.addAddress("::1", "ipv6");

/** IPv4 in IPv6's clothes is IPv4; a zone says by which cable, not who. */
const bare = (address: string): string => address.replace(/%.*$/, "").replace(/^::ffff:(?=\d+\.)/i, "");

export function isLoopback(address: string): boolean {
  const plain = bare(address);
  return loopbacks.check(plain, isIPv6(plain) ? "ipv6" : "ipv4");
}

export const isAnyAddress = (address: string): boolean => address === "0.0.0.0" || address === "::";

/** An IPv4 address, or the /64 of an IPv6 one: whoever has one address of it has them all. */
export function peerName(address: string): string {
  const plain = bare(address);
  if (!isIPv6(plain)) return plain;
  const [before = "", after] = plain.split("::");
  const groups = before === "" ? [] : before.split(":");
  const rest = after === undefined || after === "" ? [] : after.split(":");
  const all = after === undefined ? groups : [...groups, ...Array<string>(Math.max(0, 8 - groups.length - rest.length)).fill("0"), ...rest];
  return `${all
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":")}::/64`;
}

/** As it stands in a URL. */
export const bracketed = (address: string): string => (isIPv6(address) ? `[${address}]` : address);
