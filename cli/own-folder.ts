/** A temporary folder that is gone when this process is, even after kill -9. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface OwnFolder {
  path: string;
  /** Removes it now. */
  remove(): void;
}

export function ownFolder(name: string): OwnFolder {
  const path = mkdtempSync(join(tmpdir(), `${name}-`));
  const tidy = spawn("/bin/sh", [join(import.meta.dirname, "tidy.sh"), path], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  tidy.stdin.on("error", () => undefined);
  tidy.unref();
  return {
    path,
    remove: () => {
      rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
      tidy.stdin.end();
    },
  };
}
