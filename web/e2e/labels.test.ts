/** Labels, the timeline by label, links and saved views: how a person gets to a part of the data and back to it. As views.test.ts. */

import { describe, expect, test } from "vitest";
import { usePage } from "./person";

const person = usePage();

describe("labels and links", () => {
  test("values are excluded as well as included, and the filter is completed as one types", async () => {
    const row = person.page.locator("[data-label=comm] .facet-row").first();
    const name = await row.locator(".name").innerText();
    await row.hover();
    await row.locator(".exclude").click();
    await person.param("filter", /comm!=/);
    await expect.poll(() => person.page.locator(".facet-row.excluded .name").innerText()).toBe(name);
    const filter = person.page.getByRole("combobox", { name: "Filter by labels" });
    await filter.fill("{co");
    await person.page.getByRole("option", { name: /^comm/ }).click();
    // The values stand there at once; another operator can be had.
    await expect.poll(() => person.page.getByRole("option").filter({ hasText: name }).count()).toBeGreaterThan(0);
    await person.page.getByRole("option", { name: /^= / }).click();
    await person.page.getByRole("option").filter({ hasText: name }).first().click();
    await person.page.keyboard.type("}");
    await person.page.keyboard.press("Enter");
    await expect.poll(() => person.params().get("filter")).toBe(`{comm="${name}"}`);
    await person.page.getByRole("button", { name: "Units" }).click();
    await person.param("facets", /unit/);
    await expect.poll(() => person.page.locator("[data-label=unit] .facet-value").count()).toBeGreaterThan(0);
  });

  test("a part of a name alone finds the process", async () => {
    const name = await person.page.locator("[data-label=comm] .facet-row .name").first().innerText();
    const filter = person.page.getByRole("combobox", { name: "Filter by labels" });
    const part = /[A-Za-z_]\w+/.exec(name)?.[0] ?? name;
    await filter.fill(part);
    await person.page
      .getByRole("option")
      .filter({ hasText: `comm="${name}"` })
      .waitFor();
    await person.page.keyboard.press("Enter");
    await person.param("filter", /^\{comm="/);
  });

  test("the timeline stacks by a label", async () => {
    await person.page.locator(".timeline select").selectOption("comm");
    await person.param("by", /comm/);
    await expect.poll(() => person.page.locator(".key .band").count(), { timeout: 10_000 }).toBeGreaterThan(0);
  });

  test("the timeline is brushed, zoomed in and out by keyboard and button", async () => {
    await person.page.locator(".chart").focus();
    await person.page.keyboard.press("ArrowLeft");
    await person.param("brush", /^\d+-\d+$/);
    const first = person.params().get("brush");
    await person.page.keyboard.press("ArrowLeft");
    await expect.poll(() => person.params().get("brush")).not.toBe(first);
    const moved = person.params().get("brush");
    await person.page.keyboard.press("Shift+ArrowRight");
    await expect.poll(() => person.params().get("brush")).not.toBe(moved);
    await person.page.keyboard.press("Enter");
    await person.param("from", /^\d+$/);
    await person.param("brush", null);
    const from = Number(person.params().get("from"));
    await person.page.getByRole("button", { name: "Zoom out", exact: true }).click();
    await expect.poll(() => Number(person.params().get("from"))).toBeLessThan(from);
  });

  test("a view is saved, found again, and forgotten", async () => {
    await person.page.keyboard.press("i");
    await person.page.locator(".views summary").click();
    await person.page.getByLabel("Name of the view").fill("upside down");
    await person.page.getByRole("button", { name: "Save" }).click();
    await person.visit("");
    await person.graph();
    await person.page.locator(".views summary").click();
    await person.page.getByRole("button", { name: "upside down", exact: true }).click();
    await person.param("root", /below/);
    await person.page.getByRole("button", { name: "Forget upside down" }).click();
    expect(await person.page.getByRole("button", { name: "upside down", exact: true }).count()).toBe(0);
  });
});
