/** The auditor as a process of its own, as it runs in production. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

export interface AuditorProcess {
  /** What it has logged, as JSON lines. */
  log: { msg: string; code?: string; http?: string }[];
  readyz(): Promise<{ status: number; text: string }>;
  kill(signal?: NodeJS.Signals): Promise<void>;
  exitCode(): Promise<number | null>;
}

const main = new URL("./main.ts", import.meta.url).pathname;

/** `config` is the YAML file's path; it is written here. */
export function startAuditor(o: {
  config: string;
  urls: string[];
  file: string;
  instance: string;
}): AuditorProcess {
  const yaml = {
    nats: { url: o.urls },
    auditor: { file: o.file },
    http: { ports: { auditor: 0 } },
    grpc: { ports: { auditor: 0 } },
  };
  writeFileSync(o.config, JSON.stringify(yaml));
  const child: ChildProcess = spawn(process.execPath, [main, "-c", o.config, "--instance", o.instance], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "close");
  const log: AuditorProcess["log"] = [];
  createInterface({ input: child.stdout! }).on("line", (line) => log.push(JSON.parse(line)));
  return {
    log,
    async readyz() {
      const http = log.find((l) => l.http)?.http;
      if (http === undefined) return { status: 0, text: "" };
      const response = await fetch(`http://${http}/readyz`, { signal: AbortSignal.timeout(2_000) });
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
