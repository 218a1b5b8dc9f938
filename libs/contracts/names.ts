/**
 * Names that travel in subjects and KV keys: lower-case letters, digits and inner hyphens, at most 63
 * characters (a DNS label, so that a name never needs escaping in NATS, DNS, HAProxy or Prometheus).
 */
import { z } from "zod";

const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export const Name = z
  .string()
  .regex(label, "must be lower-case letters, digits and inner hyphens, at most 63 characters");

/** `<kind>-<cluster>-<epoch>-<suffix>`; one run of one intent. */
export const OperationId = z.string().regex(/^[a-z0-9][a-z0-9-]{0,159}$/);

/** A GTID set in the server's own text form (`uuid:1-5:7,uuid:tag:1-3`); `""` is the empty set. */
export const GtidSetText = z.string();

/** Milliseconds, never negative. */
export const Ms = z.number().min(0);

/** Milliseconds since 1970-01-01 UTC by the sender's clock: for people and archives, never for decisions. */
export const UnixMs = z.number().int().min(0);
