/**
 * Says on stderr how far a long benchmark is: a line that changes on a terminal, a line for each
 * group of steps elsewhere.
 *
 * @module
 */

/** See the module. */
export class Progress {
  readonly #steps: number;
  readonly #startMs = performance.now();
  readonly #live = process.stderr.isTTY;
  #done = 0;
  #group = '';

  constructor(steps: number) {
    this.#steps = steps;
  }

  /** Begins a group of steps; on anything but a terminal this is what is printed. */
  group(text: string): void {
    this.#group = text;
    if (!this.#live) this.#print(`${this.#head()} ${text}\n`);
  }

  /** Begins one step. */
  step(text: string): void {
    if (this.#live) this.#print(`\r\x1b[K${this.#head()} ${this.#group}: ${text}`);
    this.#done++;
  }

  /** Begins a step that was not counted on. */
  again(text: string): void {
    this.step(text);
    this.#done--;
  }

  /** A line that stays. */
  note(text: string): void {
    this.#print(`${this.#live ? '\r\x1b[K' : ''}${text}\n`);
  }

  /** Removes the line that changes. */
  end(): void {
    if (this.#live) this.#print('\r\x1b[K');
  }

  #head(): string {
    const seconds = (performance.now() - this.#startMs) / 1000;
    const left = this.#done > 0 ? (seconds / this.#done) * (this.#steps - this.#done) : 0;
    const percent = Math.floor((100 * this.#done) / Math.max(this.#steps, 1));
    const time = this.#done > 0 ? `, ${durationText(left)} left` : '';
    return `[${String(percent).padStart(3)}%${time}]`;
  }

  #print(text: string): void {
    process.stderr.write(text);
  }
}

/** Seconds in words: `2m 05s`. */
export function durationText(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole}s`;
  return `${Math.floor(whole / 60)}m ${String(whole % 60).padStart(2, '0')}s`;
}
