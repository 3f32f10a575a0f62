/** One question to the server, asked again and again: the newest answer, its failure, and whether one is under way. */

import { signal } from "@preact/signals";
import { AnsweredError, Unreachable } from "../api/client";
import type { Problem } from "../api/contract";

export type Failure =
  /** The server said no. */
  | { kind: "refused"; problem: Problem }
  /** Nobody answered. */
  | { kind: "unreachable" }
  /** The answer makes no sense: a bug, or versions that do not fit. */
  | { kind: "malformed"; message: string };

export interface Asked<T> {
  /** The newest good answer, kept while the next is under way and after a failure. */
  answer: T | null;
  /** Key of `answer`. */
  key: string;
  failure: Failure | null;
  loading: boolean;
  /** Whether `answer` is to another question than the one asked last. */
  stale: boolean;
}

export class Question<T> {
  readonly state = signal<Asked<T>>({ answer: null, key: "", failure: null, loading: false, stale: false });
  private running: { key: string; abort: AbortController; done: Promise<void> } | null = null;

  /**
   * Asks, unless the same is being asked already. A question with another key ends the one under way. Resolves when the
   * state is up to date; never rejects.
   */
  ask(key: string, fetcher: (signal: AbortSignal) => Promise<T>): Promise<void> {
    if (this.running?.key === key) return this.running.done;
    this.running?.abort.abort();
    const abort = new AbortController();
    const { answer, key: answered } = this.state.value;
    this.state.value = { ...this.state.value, loading: true, stale: answer !== null && answered !== key };
    const done = this.settle(key, abort, fetcher(abort.signal));
    this.running = { key, abort, done };
    return done;
  }

  private async settle(key: string, abort: AbortController, answering: Promise<T>): Promise<void> {
    let next: Asked<T>;
    try {
      next = { answer: await answering, key, failure: null, loading: false, stale: false };
    } catch (error) {
      next = { ...this.state.value, failure: failureOf(error), loading: false };
    }
    if (abort.signal.aborted) return;
    this.running = null;
    this.state.value = next;
  }

  /** Puts something better in the place of an answer, while that is the one in hand. */
  amend(answer: T, better: T): void {
    if (this.state.peek().answer === answer && better !== answer)
      this.state.value = { ...this.state.peek(), answer: better };
  }

  /** Whether the answer in hand is to this key. */
  has(key: string): boolean {
    const { answer, key: answered, failure } = this.state.peek();
    return answer !== null && answered === key && failure === null;
  }
}

function failureOf(error: unknown): Failure {
  if (error instanceof AnsweredError) return { kind: "refused", problem: error.problem };
  if (error instanceof Unreachable) return { kind: "unreachable" };
  return { kind: "malformed", message: error instanceof Error ? error.message : String(error) };
}
