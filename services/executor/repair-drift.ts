/**
 * A person has judged that what a replica holds alone changes nothing that matters: the primary gets empty transactions of the same GTIDs, so
 * that the history has them and the node may be promoted again. The node keeps its rows, and the others never get them.
 */
import { ownTransactions } from "@baton/protocol";
import { handOn } from "./ask-node.ts";
import { beside } from "./beside.ts";
import type { Operation } from "./operation.ts";
import { Refusal } from "./refusal.ts";
import { executedOfPrimary } from "./rejoin.ts";

/** More than a slip of the hand: such a node is rebuilt. */
const MOST = 1_000;

/** Returns what was done. @throws Refusal */
export async function injectEmpty(op: Operation, node: string): Promise<string> {
  const { openMs } = op.declared.policy.deadlines;
  const { primary, primaryUuid } = op.state;
  const own = await op.step("check", async () => {
    const status = await beside(op, node, (h) => h.status(openMs));
    if (status.flavour === "mariadb")
      throw new Refusal(
        "flavour-cannot",
        `${node} runs MariaDB: in gtid_strict_mode nothing can be put below the last number (docs/operate/mariadb.md)`,
      );
    if (!status.superReadOnly) throw new Refusal("state-changed", `${node} accepts writes: more may come`);
    const own = ownTransactions(status, await executedOfPrimary(op, primary), primaryUuid);
    if (own.count() > MOST)
      throw new Refusal(
        "not-clean",
        `${node} holds ${own.count()} transactions of its own, and at most ${MOST} are injected`,
        { errant: own.toString() },
      );
    return {
      value: own,
      summary: own.isEmpty() ? `${node} holds nothing of its own` : `${node} holds ${own} of its own`,
      detail: { errant: own.toString() },
    };
  });
  return op.step("repair", async () => {
    const hand = await handOn(op, primary);
    for (const gtid of own.gtids()) {
      op.assertMine();
      // One that is in the history already is skipped by the server: this may be run twice.
      await hand.run(hand.dialect.emptyTransaction(gtid), openMs);
    }
    const done = `${primary} has ${own.count()} empty transactions in place of ${node}'s own: ${own}`;
    return { value: done, summary: done, detail: { injected: own.toString() } };
  });
}
