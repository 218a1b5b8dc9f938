/** What SQLite and the file system refuse, in words for a person: the file, what is wrong, what to do. */
import { statfsSync } from "node:fs";
import { dirname } from "node:path";
import { BatonError } from "@baton/contracts";

/** SQLite reports a full volume under several names; below this much space it is taken to be the reason. */
const NO_SPACE_BYTES = 128 * 1024;

const KEPT = "Nothing is lost meanwhile: the messages stay in the NATS streams and are archived afterwards.";
const ANEW = "An auditor with a new file catches up from the NATS streams (30 days).";

function volumeIsFull(file: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(dirname(file));
    return bavail * bsize < NO_SPACE_BYTES;
  } catch {
    return false;
  }
}

/** The BatonError for whatever opening, reading or writing the archive threw. */
export function storeFault(error: unknown, file: string): BatonError {
  if (error instanceof BatonError) return error;
  const code = String((error as NodeJS.ErrnoException).code ?? "");
  const said = error instanceof Error ? error.message : String(error);
  const fault = (message: string, remedy: string) =>
    new BatonError("E_STORE", { place: file, message, remedy, cause: error });

  const suspicious = /^SQLITE_(IOERR|CANTOPEN)/.test(code) && volumeIsFull(file);
  if (suspicious || ["SQLITE_FULL", "ENOSPC", "EDQUOT"].includes(code)) {
    return new BatonError("E_DISK_FULL", {
      place: file,
      message: `The disk is full: ${said} (${code}).`,
      remedy: `Free space on the volume of ${dirname(file)}. ${KEPT}`,
      cause: error,
    });
  }
  if (code === "SQLITE_NOTADB" || code.startsWith("SQLITE_CORRUPT")) {
    return fault(
      `The file is ${code === "SQLITE_NOTADB" ? "not a SQLite database" : "damaged"}: ${said}.`,
      `Move it away, or set auditor.file to another path. ${ANEW}`,
    );
  }
  if (code.startsWith("SQLITE_BUSY") || code.startsWith("SQLITE_LOCKED")) {
    return fault(`The file is locked by another program: ${said}.`, `Find it with \`lsof ${file}\`. ${KEPT}`);
  }
  if (code.startsWith("SQLITE_READONLY") || ["EACCES", "EPERM", "EROFS"].includes(code)) {
    return fault(
      `The file or its folder cannot be written: ${said}.`,
      `Give the auditor's user the right to write in ${dirname(file)}, or set auditor.file to another path.`,
    );
  }
  if (["ENOTDIR", "EEXIST", "ENOENT"].includes(code) || code.startsWith("SQLITE_CANTOPEN")) {
    return fault(
      `The file cannot be opened: ${said}.`,
      `Check that ${dirname(file)} is a folder and ${file} is not, or set auditor.file to another path.`,
    );
  }
  return fault(
    `The archive failed: ${said} (${code || "no code"}).`,
    `Check the volume of ${dirname(file)}. ${KEPT}`,
  );
}

/** Another auditor has the file open. */
export function inUse(file: string): BatonError {
  return new BatonError("E_STORE", {
    place: file,
    message: "Another auditor is using the file.",
    remedy:
      "Stop it, or give this one a file of its own in auditor.file: each auditor keeps a whole archive.",
  });
}
