import { expect, test } from "vitest";
import { Question } from "./question";

/** What answers an earlier question is shown until the new answer is there, and says so: it is dimmed. */
test("an answer is old from the next question on, and not while the same is asked again", async () => {
  const question = new Question<number>();
  await question.ask("5m", async () => 1);
  expect(question.state.value).toMatchObject({ answer: 1, stale: false });
  const again = question.ask("5m", async () => 2);
  expect(question.state.value).toMatchObject({ answer: 1, loading: true, stale: false });
  await again;
  const other = question.ask("15m", async () => 3);
  expect(question.state.value).toMatchObject({ answer: 2, stale: true });
  await other;
  expect(question.state.value).toMatchObject({ answer: 3, stale: false });
  await question.ask("1h", () => Promise.reject(new Error("no")));
  expect(question.state.value).toMatchObject({ answer: 3, stale: true, failure: { kind: "malformed" } });
});
