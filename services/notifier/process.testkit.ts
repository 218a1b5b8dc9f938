/** The notifier as a process of its own, as it runs in production. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

export interface NotifierProcess {
  /** What it has logged, as JSON lines. */
  log: { msg: string; code?: string; http?: string; alert?: { id: string } }[];
  metrics(): Promise<string>;
  kill(signal?: NodeJS.Signals): Promise<void>;
  exitCode(): Promise<number | null>;
}

const main = new URL("./main.ts", import.meta.url).pathname;

/** `config` is the YAML file's path; it is written here. */
export function startNotifier(o: {
  config: string;
  urls: string[];
  channels: object[];
  instance: string;
}): NotifierProcess {
  const yaml = {
    nats: { url: o.urls },
    notifier: { channels: o.channels },
    http: { ports: { notifier: 0 } },
    grpc: { ports: { notifier: 0 } },
  };
  writeFileSync(o.config, JSON.stringify(yaml));
  const child: ChildProcess = spawn(process.execPath, [main, "-c", o.config, "--instance", o.instance], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const ended = once(child, "close");
  const log: NotifierProcess["log"] = [];
  createInterface({ input: child.stdout! }).on("line", (line) => log.push(JSON.parse(line)));
  createInterface({ input: child.stderr! }).on("line", (msg) => log.push({ msg }));
  return {
    log,
    async metrics() {
      const http = log.find((l) => l.http)?.http;
      return (await fetch(`http://${http}/metrics`, { signal: AbortSignal.timeout(2_000) })).text();
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
