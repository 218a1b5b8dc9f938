/** `node services/auditor/main.ts --verify FILE`: prints each record and whether the chain holds; needs no NATS. */
import { BatonError } from "@baton/contracts";
import { openArchive } from "./archive.ts";
import type { ChainedRecord } from "./chain.ts";

const SHORT = 12;

/** Returns the exit code: 0 when the chain holds, 1 when it does not or the file cannot be read. */
export function verifyFile(file: string, print: (line: string) => void): 0 | 1 {
  try {
    const archive = openArchive(file, { readonly: true });
    try {
      const verdict = archive.verify((r) => print(lineOf(r)));
      if (verdict.holds) {
        print(`The chain holds: ${verdict.records} records, head ${verdict.head}, archive ${archive.id}.`);
        return 0;
      }
      print(
        `The chain is broken at record ${verdict.seq}: ${verdict.why}. ${verdict.records} records before it hold.`,
      );
      return 1;
    } finally {
      archive.close();
    }
  } catch (error) {
    if (!(error instanceof BatonError)) throw error;
    print(error.line());
    return 1;
  }
}

function lineOf(r: ChainedRecord): string {
  const at = new Date(r.atUnixMs).toISOString();
  const what = `${r.kind.padEnd(9)} ${r.cluster} ${r.operation ?? "-"} ${r.source}`;
  return `${String(r.seq).padStart(6)} ${at} ${what} sha256 ${r.sha256.slice(0, SHORT)} chain ${r.chain.slice(0, SHORT)}`;
}
