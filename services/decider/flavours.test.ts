/** MySQL and MariaDB in one cluster, or a policy that MariaDB cannot keep: nothing is adopted, nobody fails over. */
import { describe, expect, it } from "vitest";
import { planNow } from "./diagnose.ts";
import { Scene } from "./scene.testkit.ts";

const mariadb = { flavour: "mariadb" } as const;

/** Every node is seen; those in `of` run MariaDB. */
function see(s: Scene, of: readonly string[]): void {
  s.now += 10;
  for (const node of ["n1", "n2", "n3"]) {
    const status = s.status(node, of.includes(node) ? mariadb : {});
    s.sample(node, "p1", { status });
  }
}

describe("adoption", () => {
  it("takes a cluster of MariaDB", () => {
    const s = new Scene();
    see(s, ["n1", "n2", "n3"]);
    expect(s.orders()).toEqual(["adopt n1"]);
  });

  it.each([
    [{}, ["n2"], "n1, n3: mysql; n2: mariadb (mixed-flavours)"],
    [{ acks: 2 }, ["n1", "n2", "n3"], "(flavour-cannot)"],
    [{ onAckLoss: "degrade" }, ["n1", "n2", "n3"], "(flavour-cannot)"],
  ])("leaves alone, with the code, policy %j with MariaDB on %j", (policy, of, why) => {
    const s = new Scene(3, {}, 1, policy);
    for (let i = 0; i < 8; i++) {
      see(s, of);
      s.wait(1_000);
    }
    see(s, of);
    expect(s.orders()).toEqual([]);
    expect(s.code()).toBe("no-primary");
    expect(s.picture.diagnosis?.summary).toContain(why);
  });
});

it("a node of the other flavour that came later forbids a failover", () => {
  const s = new Scene();
  s.steady();
  s.calm();
  expect(planNow(s.picture, s.now, s.settings)).toMatchObject({ possible: true });
  s.sample("n3", "p1", { status: s.status("n3", mariadb) });
  expect(planNow(s.picture, s.now, s.settings)).toMatchObject({ possible: false, refusal: "mixed-flavours" });
});
