/** A real HTTP server that plays the receiver of a webhook, and alerts to send it. */
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Alert } from "@baton/contracts";

export interface Got {
  headers: IncomingHttpHeaders;
  body: string;
}

export interface Receiver {
  url: string;
  port: number;
  got: Got[];
  /** What to answer from now on; a function may also hold the answer back. */
  answer: (response: ServerResponse, got: Got) => void;
  stop(): Promise<void>;
}

export const status = (code: number) => (response: ServerResponse) => {
  response.writeHead(code).end(`says ${code}`);
};

/** `port` 0 is any free one; a given one is for a receiver that comes back. */
export async function startReceiver(port = 0): Promise<Receiver> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const got = { headers: request.headers, body: Buffer.concat(chunks).toString("utf8") };
      receiver.got.push(got);
      receiver.answer(response, got);
    });
  }).listen(port, "127.0.0.1");
  await once(server, "listening");
  const at = (server.address() as AddressInfo).port;
  const receiver: Receiver = {
    port: at,
    url: `http://127.0.0.1:${at}/hook?token=secret-in-url`,
    got: [],
    answer: status(204),
    async stop() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
  return receiver;
}

export function alert(id: string, more: Partial<Alert> = {}): Alert {
  return {
    id,
    cluster: "shop",
    severity: "critical",
    code: "primary-dead",
    title: "shop: the primary n1 is dead",
    summary: "Zwei von zwei Probern finden ihn tot: „n1“.",
    action: "Baton fails over.",
    node: "n1",
    epoch: 1,
    operation: null,
    source: "decider-a",
    atUnixMs: 1_700_000_000_000,
    ...more,
  };
}
