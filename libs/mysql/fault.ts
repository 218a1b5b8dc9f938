/** What went wrong with a node, in the words of DETECTION.md: one `Outcome` for each way to fail. */
import type { Outcome } from "@baton/contracts";

export class MysqlFault extends Error {
  readonly code = "MYSQL_FAULT";
  readonly outcome: Outcome;
  /** The server's error number, null when the server did not speak. */
  readonly errno: number | null;
  readonly sqlState: string | null;

  constructor(
    outcome: Outcome,
    message: string,
    o: { errno?: number | null; sqlState?: string | null; cause?: unknown } = {},
  ) {
    super(message, o.cause === undefined ? undefined : { cause: o.cause });
    this.name = "MysqlFault";
    this.outcome = outcome;
    this.errno = o.errno ?? null;
    this.sqlState = o.sqlState ?? null;
  }
}

/**
 * What the operating system or the driver says when no server answered. Not here, and so `error`: what a resolver says,
 * which is no word about the server (addresses.ts).
 */
const BY_CODE: Readonly<Record<string, Outcome>> = {
  ECONNREFUSED: "refused",
  EHOSTUNREACH: "unreachable",
  EHOSTDOWN: "unreachable",
  ENETUNREACH: "unreachable",
  ENETDOWN: "unreachable",
  ETIMEDOUT: "timeout-connect",
  ECONNRESET: "closed",
  ECONNABORTED: "closed",
  EPIPE: "closed",
  PROTOCOL_CONNECTION_LOST: "closed",
  HANDSHAKE_NO_SSL_SUPPORT: "tls",
  HANDSHAKE_SSL_ERROR: "tls",
};

/** https://dev.mysql.com/doc/mysql-errors/9.7/en/server-error-reference.html */
const BY_ERRNO: Readonly<Record<number, Outcome>> = {
  1040: "too-many-connections", // ER_CON_COUNT_ERROR
  1203: "too-many-connections", // ER_TOO_MANY_USER_CONNECTIONS
  1226: "too-many-connections", // ER_USER_LIMIT_REACHED
  1044: "auth", // ER_DBACCESS_DENIED_ERROR
  1045: "auth", // ER_ACCESS_DENIED_ERROR
  1129: "auth", // ER_HOST_IS_BLOCKED
  1130: "auth", // ER_HOST_NOT_PRIVILEGED
  1251: "auth", // ER_NOT_SUPPORTED_AUTH_MODE
  1524: "auth", // ER_PLUGIN_IS_NOT_LOADED: the account's authentication plugin
  1698: "auth", // ER_ACCESS_DENIED_NO_PASSWORD_ERROR
  1820: "auth", // ER_MUST_CHANGE_PASSWORD
  1862: "auth", // ER_MUST_CHANGE_PASSWORD_LOGIN
  3118: "auth", // ER_ACCOUNT_HAS_BEEN_LOCKED
  3955: "auth", // ER_USER_ACCESS_DENIED_FOR_USER_ACCOUNT_BLOCKED_BY_PASSWORD_LOCK
  3159: "tls", // ER_SECURE_TRANSPORT_REQUIRED
  1053: "shutting-down", // ER_SERVER_SHUTDOWN
  3168: "shutting-down", // ER_SERVER_ISNT_AVAILABLE
  1927: "closed", // MariaDB's ER_CONNECTION_KILLED
  3169: "closed", // ER_SESSION_WAS_KILLED
  4031: "closed", // ER_CLIENT_INTERACTION_TIMEOUT
};

const AUTH_CODES = new Set(["AUTH_SWITCH_PLUGIN_ERROR", "HANDSHAKE_UNKNOWN_ERROR"]);
const TLS_CODE = /^(ERR_TLS_|ERR_SSL_|ERR_OSSL_|CERT_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH)/;

/**
 * Names an error of the driver or of a socket. In the phase `connect` a peer that hangs up is `closed`
 * too: it was there, and whether it still is, only another attempt tells.
 */
export function classify(error: unknown, phase: "connect" | "query"): MysqlFault {
  if (error instanceof MysqlFault) return error;
  const e = (error ?? {}) as {
    code?: string | number;
    errno?: number;
    sqlState?: string;
    message?: string;
    errors?: unknown[];
  };
  // A name with several addresses: `refused` is a fact only if every address refused.
  if (Array.isArray(e.errors) && e.errors.length > 0) {
    const faults = e.errors.map((one) => classify(one, phase));
    return faults.find((f) => f.outcome !== "refused") ?? faults[0]!;
  }
  const message = e.message || String(error);
  const errno = serverErrno(e.code, e.errno);
  const about = { errno, sqlState: e.sqlState ?? null, cause: error };
  if (errno !== null) return new MysqlFault(BY_ERRNO[errno] ?? "error", message, about);
  const code = String(e.code ?? "");
  const known = BY_CODE[code];
  if (known === "timeout-connect" && phase === "query") return new MysqlFault("closed", message, about);
  if (known) return new MysqlFault(known, message, about);
  if (TLS_CODE.test(code)) return new MysqlFault("tls", message, about);
  if (phase === "connect" && AUTH_CODES.has(code)) return new MysqlFault("auth", message, about);
  return new MysqlFault("error", message, about);
}

/** Server errors are positive; libuv's are negative. An error packet out of turn carries its number as `code`. */
function serverErrno(code: string | number | undefined, errno: number | undefined): number | null {
  if (typeof code === "number" && code > 0) return code;
  return typeof errno === "number" && errno > 0 ? errno : null;
}
