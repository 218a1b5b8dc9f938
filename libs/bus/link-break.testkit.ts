/** A TCP relay before a nats-server: it can hold back what the server says, or cut all connections. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface Relay {
  url: string;
  /** From now on answers wait in the relay; requests still pass. */
  holdAnswers(): void;
  /** What was held goes on its way. */
  releaseAnswers(): void;
  cut(): void;
  stop(): Promise<void>;
}

export async function startRelay(targetUrl: string): Promise<Relay> {
  const target = new URL(targetUrl);
  const pairs = new Set<{ client: Socket; server: Socket }>();
  let held = false;
  const listener = createServer((client) => {
    const server = connect(Number(target.port), target.hostname);
    const pair = { client, server };
    pairs.add(pair);
    client.pipe(server);
    server.on("data", (chunk) => client.write(chunk));
    if (held) server.pause();
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const) {
      one.on("error", () => other.destroy());
      one.on("close", () => {
        other.destroy();
        pairs.delete(pair);
      });
    }
  }).listen(0, "127.0.0.1");
  await once(listener, "listening");
  return {
    url: `nats://127.0.0.1:${(listener.address() as { port: number }).port}`,
    holdAnswers() {
      held = true;
      for (const { server } of pairs) server.pause();
    },
    releaseAnswers() {
      held = false;
      for (const { server } of pairs) server.resume();
    },
    cut() {
      for (const { client, server } of [...pairs]) {
        client.destroy();
        server.destroy();
      }
    },
    async stop() {
      for (const { client, server } of [...pairs]) {
        client.destroy();
        server.destroy();
      }
      await new Promise((done) => listener.close(done));
    },
  };
}
