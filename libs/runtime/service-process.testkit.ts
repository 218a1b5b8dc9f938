/** A service as a process of its own, as it runs in production, against a test's nats-server. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

export interface ServiceProcess {
  /** What it has logged, as JSON lines; what it wrote to stderr has only `msg`. */
  log: { msg: string; code?: string; http?: string; alert?: { id: string } }[];
  /** From its own HTTP server; status 0 until it listens. */
  get(path: string): Promise<{ status: number; text: string }>;
  kill(signal?: NodeJS.Signals): Promise<void>;
  exitCode(): Promise<number | null>;
}

/** `config` is the YAML file's path, which is written here; `settings` are the service's own part of it. */
export function startServiceProcess(o: {
  service: "auditor" | "notifier";
  main: string;
  config: string;
  urls: string[];
  settings: object;
  instance: string;
}): ServiceProcess {
  const yaml = {
    nats: { url: o.urls },
    [o.service]: o.settings,
    http: { ports: { [o.service]: 0 } },
    grpc: { ports: { [o.service]: 0 } },
  };
  writeFileSync(o.config, JSON.stringify(yaml));
  const child: ChildProcess = spawn(process.execPath, [o.main, "-c", o.config, "--instance", o.instance], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = once(child, "close");
  const log: ServiceProcess["log"] = [];
  createInterface({ input: child.stdout! }).on("line", (line) => log.push(JSON.parse(line)));
  createInterface({ input: child.stderr! }).on("line", (msg) => log.push({ msg }));
  return {
    log,
    async get(path) {
      const http = log.find((l) => l.http)?.http;
      if (http === undefined) return { status: 0, text: "" };
      const response = await fetch(`http://${http}${path}`, { signal: AbortSignal.timeout(2_000) });
      return { status: response.status, text: await response.text() };
    },
    async kill(signal = "SIGKILL") {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      await ended;
    },
    async exitCode() {
      await ended;
      return child.exitCode;
    },
  };
}
