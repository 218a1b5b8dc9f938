/**
 * The first line that a NATS server sends to whoever connects: its version, and whether it has JetStream.
 * Needs no account, so it tells a wrong address from a wrong password.
 */
import { connect } from "node:net";

export interface NatsHello {
  version: string;
  jetstream: boolean;
  serverName: string;
  authRequired: boolean;
}

export interface Address {
  host: string;
  port: number;
}

/** `nats://host:4222`, `tls://host`, `host:4222` → address; null when it is none. */
export function natsAddress(url: string): Address | null {
  try {
    const parsed = new URL(url.includes("://") ? url : `nats://${url}`);
    if (!["nats:", "tls:", "nats+tls:"].includes(parsed.protocol) || parsed.hostname === "") return null;
    return { host: parsed.hostname.replace(/^\[|\]$/g, ""), port: parsed.port ? Number(parsed.port) : 4222 };
  } catch {
    return null;
  }
}

/** Rejects with the system's error, or one that says what was there instead of a NATS server. */
export function natsHello(address: Address, timeoutMs: number): Promise<NatsHello> {
  return new Promise((resolve, reject) => {
    const socket = connect(address);
    const end = (error: Error | null, hello?: NatsHello) => {
      clearTimeout(timer);
      socket.destroy();
      if (hello) resolve(hello);
      else reject(error);
    };
    const timer = setTimeout(() => end(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs);
    let text = "";
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      text += chunk;
      if (!text.startsWith("INFO ".slice(0, text.length)) || text.length > 65_536) {
        return end(new Error("what answers there is no NATS server"));
      }
      const newline = text.indexOf("\r\n");
      if (newline < 0) return;
      try {
        const info = JSON.parse(text.slice(5, newline)) as Record<string, unknown>;
        end(null, {
          version: String(info.version ?? ""),
          jetstream: info.jetstream === true,
          serverName: String(info.server_name ?? ""),
          authRequired: info.auth_required === true,
        });
      } catch (error) {
        end(error as Error);
      }
    });
    socket.on("error", end);
    socket.on("close", () => end(new Error("the connection was closed without a word")));
  });
}

/** Baton needs 2.11: older servers ignore a key's time to live without a word (FEASIBILITY.md §3). */
export function newEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > 2 || (major === 2 && minor >= 11);
}
