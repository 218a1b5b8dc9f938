/** What JetStream tells of a delivered message: in the subject that its acknowledgement goes to, and in status headers. */
import type { Msg } from "@nats-io/transport-node";

export interface Delivery {
  streamSequence: number;
  /** Within its consumer; a gap means that a message was lost on the way. */
  deliverySequence: number;
  /** 1 the first time. */
  delivered: number;
  /** Messages that the consumer still has to deliver. */
  pending: number;
}

/** Null when the message does not come from JetStream. */
export function deliveryOf(replySubject: string | undefined): Delivery | null {
  if (!replySubject?.startsWith("$JS.ACK.")) return null;
  const tokens = replySubject.split(".");
  // $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<delivery seq>.<time>.<pending>, or the same with
  // <domain>.<account> before the stream and something random at the end.
  const at = tokens.length === 9 ? 4 : 6;
  const [delivered, streamSequence, deliverySequence, , pending] = tokens.slice(at, at + 5).map(Number);
  if (delivered === undefined || streamSequence === undefined || deliverySequence === undefined) return null;
  return { delivered, streamSequence, deliverySequence, pending: pending ?? 0 };
}

/** A message without a body and with a status: 100 heartbeat, 404, 408, 409, 503. Else 0. */
export function statusOf(msg: Msg): { code: number; text: string } {
  const code = msg.data.length === 0 ? (msg.headers?.code ?? 0) : 0;
  return { code, text: (msg.headers?.description ?? "").toLowerCase() };
}
