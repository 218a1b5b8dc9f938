import type { EpochRow } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { Scene, uuid } from "./scene.testkit.ts";

const row = (epoch: number, primary: string, installation = "here"): EpochRow => ({
  installation,
  cluster: "shop",
  epoch,
  primaryUuid: uuid(primary),
});
const carry = (stage: Scene, of: EpochRow): void => {
  stage.now += 10;
  for (const node of ["n1", "n2", "n3"]) {
    const replica = node === "n2" ? null : { sourceUuid: uuid("n2"), sourceHost: "h2" };
    stage.replica(node, replica, "p1", { epoch: of, readOnly: node !== "n2", superReadOnly: node !== "n2" });
  }
};
const putBacks = (stage: Scene) => stage.effects.filter((e) => e.type === "put-back");

/** n2 is the primary of epoch 2, and everybody says so. */
function reigning(): Scene {
  const stage = new Scene();
  stage.steady({ epoch: 2, primary: "n2", primaryUuid: uuid("n2"), installation: "here" }, 9);
  carry(stage, row(2, "n2"));
  stage.wait(2_000);
  stage.effects.length = 0;
  return stage;
}

describe("a state that goes back", () => {
  it("orders nothing, says so, and is put back by who remembers it", () => {
    const stage = reigning();
    // The restored state's primary is a replica, read-only: it looked like one that had restarted.
    stage.steady({ epoch: 1, installation: "here" }, 10);
    expect(stage.code()).toBe("state-went-back");
    expect(stage.picture.diagnosis?.summary).toContain("baton recover shop");
    expect(putBacks(stage)).toMatchObject([{ over: 10, state: { epoch: 2, primary: "n2" } }]);
    carry(stage, row(2, "n2"));
    stage.wait(500);
    expect(putBacks(stage)).toHaveLength(1);
    expect(stage.orders()).toEqual([]);
    stage.wait(1_000);
    expect(putBacks(stage)).toHaveLength(2);
    stage.steady({ epoch: 2, primary: "n2", primaryUuid: uuid("n2"), installation: "here" }, 11);
    carry(stage, row(2, "n2"));
    expect(stage.code()).toBe("healthy");
  });

  it("is put back when it is gone altogether, and adopted by nobody", () => {
    const stage = reigning();
    stage.feed({ type: "state", state: null, revision: 0, nowUnixMs: stage.unixMs });
    expect(stage.code()).toBe("state-went-back");
    expect(putBacks(stage)).toMatchObject([{ over: 0, state: { epoch: 2 } }]);
    expect(stage.orders()).toEqual([]);
  });

  it("is put back also when it was read before the decider knew that it had read all, and has not changed since", () => {
    const stage = new Scene();
    stage.picture = { ...stage.picture, stateKnown: false };
    stage.steady({ epoch: 2, primary: "n2", primaryUuid: uuid("n2"), installation: "here" }, 9);
    stage.feed({ type: "state-known" });
    carry(stage, row(2, "n2"));
    stage.feed({ type: "state", state: null, revision: 0, nowUnixMs: stage.unixMs });
    expect(stage.code()).toBe("state-went-back");
    expect(putBacks(stage)).toMatchObject([{ over: 0, state: { epoch: 2 } }]);
  });

  it("is not put back from a memory that the data have outrun", () => {
    const stage = reigning();
    carry(stage, row(3, "n3"));
    stage.steady({ epoch: 1, installation: "here" }, 10);
    stage.wait(3_000);
    expect(stage.code()).toBe("state-went-back");
    expect(putBacks(stage)).toEqual([]);
    expect(stage.orders()).toEqual([]);
  });

  it("orders nothing also when the decider has only just started", () => {
    const stage = new Scene();
    stage.steady({ epoch: 1, installation: "here" });
    carry(stage, row(2, "n2"));
    stage.refused("n1");
    stage.wait(8_000);
    stage.refused("n1");
    expect(stage.code()).toBe("state-went-back");
    expect(stage.orders()).toEqual([]);
    expect(putBacks(stage)).toEqual([]);
  });
});

describe("another installation", () => {
  it("has adopted the cluster before: it is not adopted again", () => {
    const stage = new Scene();
    carry(stage, row(1, "n2", "there"));
    stage.wait(8_000);
    carry(stage, row(1, "n2", "there"));
    expect(stage.code()).toBe("foreign-installation");
    expect(stage.picture.diagnosis?.summary).toContain("--take-over");
    expect(stage.orders()).toEqual([]);
  });

  it("has taken the cluster over: this one keeps its hands off", () => {
    const stage = reigning();
    carry(stage, row(3, "n2", "there"));
    stage.refused("n2");
    stage.wait(3_000);
    expect(stage.code()).toBe("foreign-installation");
    expect(stage.orders()).toEqual([]);
    expect(putBacks(stage)).toEqual([]);
  });
});

describe("a primary whose data do not say whose epoch they are of", () => {
  it("is marked, once it has been so for a while", () => {
    const stage = new Scene();
    stage.steady({ installation: "here" });
    const look = () => {
      stage.now += 10;
      for (const node of ["n2", "n3"]) stage.sample(node);
      stage.sample("n1", "p1", { status: stage.status("n1", { epoch: null }) });
    };
    for (let s = 0; s < 4; s++) {
      look();
      stage.wait(1_000);
    }
    look();
    expect(stage.orders()).toEqual([]);
    stage.wait(1_000);
    look();
    stage.wait(500);
    look();
    expect(stage.orders()).toEqual(["repair n1"]);
    expect(stage.code()).toBe("epoch-unmarked");
  });
});
