/** Commands: requests with one reply, `baton.v1.command.<verb>`; a queue group of all who serve a verb. */
import {
  BatonError,
  COMMANDS,
  CommandError,
  type CommandReply,
  type CommandRequest,
  type CommandVerb,
  commandSubject,
  type ErrorCode,
} from "@baton/contracts";
import { errors, type Msg } from "@nats-io/transport-node";
import { openBody, sealBody, sealHeaders } from "./envelope.ts";
import type { Link } from "./link.ts";
import { MicroError, startMicro } from "./micro.ts";
import type { Rejects } from "./rejects.ts";
import { describe } from "./retry.ts";

const AT_A_TIME = 64;
const TIMEOUT_MS = 5_000;

const STATUS: Partial<Record<ErrorCode, number>> = {
  E_USAGE: 400,
  E_NOT_FOUND: 404,
  E_CONFLICT: 409,
  E_LOCKED: 423,
  E_NO_ANSWER: 503,
  E_NATS_UNREACHABLE: 503,
};

/** Returns how to stop serving; what is at work is answered first. */
export function serve<V extends CommandVerb>(
  link: Link,
  rejects: Rejects,
  verb: V,
  version: string,
  handler: (request: CommandRequest<V>) => Promise<CommandReply<V>>,
): () => Promise<void> {
  const schemas = COMMANDS[verb];
  const type = `command.${verb}`;
  let atWork = 0;

  async function handle(msg: Msg): Promise<{ body: Uint8Array; headers: ReturnType<typeof sealHeaders> }> {
    link.metrics.count("received", type);
    const opened = openBody(type, schemas.request, msg.headers, msg.data);
    if (!opened.ok) {
      rejects.reject(type, msg.subject, opened);
      throw refuse(
        "E_USAGE",
        `the request is malformed: ${opened.detail}.`,
        "Use a CLI of the same version.",
      );
    }
    if (atWork >= AT_A_TIME) {
      throw refuse("E_NO_ANSWER", `${atWork} requests are at work already.`, "Ask again in a moment.");
    }
    atWork += 1;
    try {
      const reply = await handler(opened.payload as CommandRequest<V>);
      const body = sealBody(`${type} reply`, schemas.reply, reply as never);
      return { body, headers: sealHeaders(`${type}.reply`, link.source, opened.envelope.traceparent) };
    } catch (error) {
      if (error instanceof BatonError) throw refuse(error.code, error.message, error.remedy);
      rejects.fail(type, msg.subject, error, "the asker is told");
      throw refuse("E_INTERNAL", `${verb} failed: ${describe(error)}.`, `See the log of ${link.name}.`);
    } finally {
      atWork -= 1;
    }
  }

  return startMicro(link, {
    name: `baton-${verb}`,
    version,
    description: `baton ${verb}`,
    subject: commandSubject(verb),
    metadata: { instance: link.name },
    handle,
  });
}

function refuse(code: ErrorCode, message: string, remedy: string): MicroError {
  const status = STATUS[code] ?? 500;
  const error: CommandError = { status, code, message, remedy };
  return new MicroError(status, `${code} ${message}`, new TextEncoder().encode(JSON.stringify(error)));
}

/** Throws BatonError: E_NO_ANSWER when nobody serves the verb or answers in time, else what the server says. */
export async function command<V extends CommandVerb>(
  link: Link,
  verb: V,
  request: CommandRequest<V>,
  o: { timeoutMs?: number | undefined },
): Promise<CommandReply<V>> {
  const schemas = COMMANDS[verb];
  const type = `command.${verb}`;
  const timeoutMs = o.timeoutMs ?? TIMEOUT_MS;
  const body = sealBody(type, schemas.request, request as never);
  let msg: Msg;
  try {
    msg = await link.nc.request(commandSubject(verb), body, {
      timeout: timeoutMs,
      headers: sealHeaders(type, link.source, null),
    });
  } catch (cause) {
    const nobody = cause instanceof errors.RequestError && cause.isNoResponders();
    throw new BatonError("E_NO_ANSWER", {
      place: `command ${verb}`,
      message: nobody
        ? `no running service answers ${verb}.`
        : `${verb} was not answered within ${timeoutMs} ms (${describe(cause)}).`,
      remedy: "Check that Baton's services run and are connected to this NATS.",
      cause,
    });
  }
  link.metrics.count("published", type);
  if (msg.headers?.has("Nats-Service-Error-Code")) throw refusalOf(verb, msg);
  const opened = openBody(`${type}.reply`, schemas.reply, msg.headers, msg.data);
  if (opened.ok) return opened.payload as CommandReply<V>;
  throw new BatonError("E_INTERNAL", {
    place: `command ${verb}`,
    message: `${opened.source} answered with a malformed reply: ${opened.detail}.`,
    remedy: "Use a CLI of the same version as the services.",
  });
}

function refusalOf(verb: string, msg: Msg): BatonError {
  const text = msg.headers?.get("Nats-Service-Error") ?? "";
  let json: unknown;
  try {
    json = msg.json();
  } catch {}
  const said = CommandError.safeParse(json);
  if (said.success) {
    return new BatonError(said.data.code, {
      place: `command ${verb}`,
      message: said.data.message,
      remedy: said.data.remedy,
    });
  }
  return new BatonError("E_INTERNAL", {
    place: `command ${verb}`,
    message: `the service refused without a reason that can be read: ${text}.`,
    remedy: "See the service's log.",
  });
}
