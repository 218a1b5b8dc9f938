/**
 * What an order rests on is old after this time, as when NATS was away or the decider slept: then it is not given, or not carried out, but
 * judged anew. A primary that has come back meanwhile must not be replaced.
 */
export const ORDER_VALID_MS = 2_000;
