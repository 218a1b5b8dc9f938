/**
 * A way into a network namespace that can be cut port by port: in the namespace a listener on 127.0.0.1, outside a
 * connection to 127.0.0.1, between them a unix socket, which knows no namespaces. Run as a program it is the inner end:
 * `node tunnel.ts DIR PORT…`.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class Tunnel {
  readonly dir: string;
  readonly ports: readonly number[];
  readonly #servers: Server[] = [];
  readonly #open = new Map<number, Set<Socket>>();
  readonly #cut = new Set<number>();

  private constructor(dir: string, ports: readonly number[]) {
    this.dir = dir;
    this.ports = ports;
  }

  /** The outer end: unix sockets in a new folder, each leading to its port on this side. */
  static async dig(ports: readonly number[]): Promise<Tunnel> {
    const tunnel = new Tunnel(await mkdtemp(join(tmpdir(), "baton-tunnel-")), ports);
    for (const port of ports) await tunnel.#listen(port);
    return tunnel;
  }

  /** From now on nothing passes, either way, and nothing is refused either: as a cable that was pulled. */
  cut(port: number): void {
    this.#cut.add(port);
    for (const socket of this.#open.get(port) ?? []) socket.pause();
  }

  mend(port: number): void {
    this.#cut.delete(port);
    for (const socket of this.#open.get(port) ?? []) socket.resume();
  }

  async close(): Promise<void> {
    for (const sockets of this.#open.values()) for (const socket of sockets) socket.destroy();
    await Promise.all(this.#servers.map((s) => new Promise((done) => s.close(done))));
    await rm(this.dir, { recursive: true, force: true });
  }

  #listen(port: number): Promise<void> {
    const server = createServer((inner) => {
      const outer = connect(port, "127.0.0.1");
      const open = this.#open.get(port) ?? new Set<Socket>();
      this.#open.set(port, open);
      carry(inner, outer, (socket) => {
        open.add(socket);
        if (this.#cut.has(port)) socket.pause();
        socket.once("close", () => open.delete(socket));
      });
    });
    this.#servers.push(server);
    return new Promise((done) => server.listen(join(this.dir, `${port}.sock`), done));
  }
}

/** Carries bytes both ways with back-pressure; the end or the death of one is that of the other. */
function carry(a: Socket, b: Socket, each: (socket: Socket) => void): void {
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    from.on("data", (chunk) => {
      if (!to.write(chunk)) {
        from.pause();
        to.once("drain", () => from.resume());
      }
    });
    from.on("error", () => to.destroy());
    from.on("close", () => to.destroy());
    each(from);
  }
}

if (import.meta.main) {
  const [dir = "", ...ports] = process.argv.slice(2);
  for (const port of ports) {
    createServer((client) => carry(client, connect(join(dir, `${port}.sock`)), () => undefined)).listen(
      Number(port),
      "127.0.0.1",
    );
  }
}
