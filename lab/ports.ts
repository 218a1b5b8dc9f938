import { createServer, type Server } from "node:net";
import { LabError } from "./lab-error.ts";

/**
 * Ports that stay ours while their server is down. Every port comes from below the kernel's ephemeral range,
 * so that no outgoing connection takes it, and is reserved by a listening socket on the same port of another
 * loopback address: other labs see it, and the kernel takes it back the moment this process ends.
 */
const reservationHost = "127.0.66.1";
const serverHost = "127.0.0.1";
const lowestPort = 20_000;
const highestPort = 31_999;
const attempts = 2_000;

export class Ports {
  readonly #reservations = new Set<Server>();

  async take(): Promise<number> {
    for (let attempt = 0; attempt < attempts; attempt++) {
      const port = lowestPort + Math.floor(Math.random() * (highestPort - lowestPort + 1));
      const reservation = await listen(port, reservationHost);
      if (reservation === undefined) continue;
      const probe = await listen(port, serverHost);
      if (probe === undefined) {
        reservation.close();
        continue;
      }
      await new Promise<void>((done) => probe.close(() => done()));
      this.#reservations.add(reservation);
      return port;
    }
    throw new LabError("no-free-port", {
      found: `no free port after ${attempts} attempts`,
      expected: `a free port between ${lowestPort} and ${highestPort}`,
      remedy: "stop other labs: baton lab status, baton lab down",
    });
  }

  release(): void {
    for (const reservation of this.#reservations) reservation.close();
    this.#reservations.clear();
  }
}

function listen(port: number, host: string): Promise<Server | undefined> {
  return new Promise((done) => {
    const server = createServer((socket) => socket.destroy());
    server.unref();
    server.once("error", () => done(undefined));
    server.listen({ port, host, exclusive: true }, () => done(server));
  });
}
