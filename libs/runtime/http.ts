/** `/livez` (the process turns), `/readyz` (it can do its work, else 503 and why), `/metrics`. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Metrics } from "./metrics.ts";
import { portError } from "./ports.ts";

export interface Readiness {
  ok: boolean;
  why?: string | undefined;
}

export interface HttpServer {
  /** `host:port` as bound. */
  readonly address: string;
  close(): void;
}

/** `key` is the port's place in the configuration. Throws BatonError E_PORT_IN_USE, E_CONFIG_INVALID. */
export async function serveHttp(o: {
  host: string;
  port: number;
  key: string;
  ready: () => Readiness;
  metrics: Metrics;
}): Promise<HttpServer> {
  const server = createServer(
    { requestTimeout: 5_000, headersTimeout: 5_000, keepAliveTimeout: 5_000, maxHeaderSize: 8_192 },
    (request, response) => {
      answer(request, response, o).catch(() => response.destroy());
    },
  );
  server.maxConnections = 128;
  server.listen({ host: o.host, port: o.port });
  try {
    await once(server, "listening");
  } catch (error) {
    throw portError(error, o);
  }
  const { port } = server.address() as AddressInfo;
  return {
    address: `${o.host}:${port}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  o: { ready: () => Readiness; metrics: Metrics },
): Promise<void> {
  const send = (status: number, body: string, type = "application/json"): void => {
    response.writeHead(status, {
      "content-type": type,
      "content-length": Buffer.byteLength(body),
      "cache-control": "no-store",
    });
    response.end(request.method === "HEAD" ? undefined : body);
  };
  const path = (request.url ?? "").split("?")[0];
  if (request.method !== "GET" && request.method !== "HEAD") send(405, '{"error":"GET only"}\n');
  else if (path === "/livez") send(200, '{"live":true}\n');
  else if (path === "/readyz") {
    const { ok, why } = o.ready();
    send(ok ? 200 : 503, `${JSON.stringify(ok ? { ready: true } : { ready: false, why })}\n`);
  } else if (path === "/metrics") send(200, await o.metrics.text(), o.metrics.contentType);
  else send(404, '{"error":"there are /livez, /readyz and /metrics"}\n');
}
