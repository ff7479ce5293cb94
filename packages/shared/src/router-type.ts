import type { TRPCBuiltRouter, TRPCMutationProcedure, TRPCQueryProcedure, TRPCSubscriptionProcedure, TrackedEnvelope } from "@trpc/server";
import type { WireErrorShape } from "./errors.ts";
import type { Auth, VerbInput, VerbName, VerbOutput, Verbs } from "./verbs.ts";

/**
 * The type of the daemon's router, from the table alone, so that a client never imports the daemon. An entry of its own:
 * whoever does not speak tRPC must not need its types.
 */
type Call<V extends VerbName> = VerbInput<V> & { auth?: Auth };

type Procedure<V extends VerbName> = Verbs[V]["kind"] extends "query"
  ? TRPCQueryProcedure<{ meta: object; input: Call<V>; output: VerbOutput<V> }>
  : Verbs[V]["kind"] extends "mutation"
    ? TRPCMutationProcedure<{ meta: object; input: Call<V>; output: VerbOutput<V> }>
    : TRPCSubscriptionProcedure<{ meta: object; input: Call<V>; output: AsyncIterable<TrackedEnvelope<VerbOutput<V>>> }>;

interface RootTypes {
  ctx: object;
  meta: object;
  errorShape: WireErrorShape;
  transformer: false;
}

export type SessiondRouter = TRPCBuiltRouter<RootTypes, { [V in VerbName]: Procedure<V> }>;
