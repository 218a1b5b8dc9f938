/** The standard gRPC health service, `grpc.health.v1.Health`, for `""` and `baton.<service>`. */
import type { Readiness } from "./http.ts";
import { portError } from "./ports.ts";

export interface GrpcServer {
  readonly address: string;
  /** Tells the watchers. */
  set(ready: Readiness): void;
  close(): void;
}

/** Loaded late: grpc-js costs 100 ms and 15 MB. Throws BatonError E_PORT_IN_USE, E_CONFIG_INVALID. */
export async function serveGrpc(o: {
  host: string;
  port: number;
  key: string;
  service: string;
}): Promise<GrpcServer> {
  const [{ Server, ServerCredentials }, { HealthImplementation }] = await Promise.all([
    import("@grpc/grpc-js"),
    import("grpc-health-check"),
  ]);
  const names = ["", `baton.${o.service}`];
  const health = new HealthImplementation(
    Object.fromEntries(names.map((name) => [name, "NOT_SERVING" as const])),
  );
  const server = new Server({ "grpc.max_receive_message_length": 4_096, "grpc.max_concurrent_streams": 128 });
  health.addToServer(server as never);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`${o.host}:${o.port}`, ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(portError(error, o));
      else resolve(bound);
    });
  });
  let before: boolean | null = null;
  return {
    address: `${o.host}:${port}`,
    set({ ok }) {
      if (ok === before) return;
      before = ok;
      for (const name of names) health.setStatus(name, ok ? "SERVING" : "NOT_SERVING");
    },
    close: () => server.forceShutdown(),
  };
}
