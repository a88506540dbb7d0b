/**
 * One change to one module while it is loaded (VHU_MUTATE, a {@link Mutation} as JSON): a mistake
 * that a model is to catch. Module hooks, registered by `pose.ts`.
 *
 * @module
 */
import type { LoadHook } from 'node:module';

/** A text of a module, and what stands there instead. */
export interface Mutation {
  /** How the module's URL ends, without `.ts` or `.js`. */
  readonly module: string;
  readonly from: string;
  readonly to: string;
}

/** What the process ends with when the text is not there. */
export const NOT_THERE = 'the text that is to be changed is not there';

const mutation = JSON.parse(process.env.VHU_MUTATE ?? 'null') as Mutation | null;

/** Loads a module, changed if it is the one. */
export const load: LoadHook = async (url, context, nextLoad) => {
  const loaded = await nextLoad(url, context);
  if (mutation === null || !url.replace(/\.[jt]s$/, '').endsWith(`/${mutation.module}`)) {
    return loaded;
  }
  const { source } = loaded;
  const text = source instanceof Uint8Array ? Buffer.from(source).toString() : source;
  if (typeof text !== 'string') return loaded;
  if (!text.includes(mutation.from)) throw new Error(`${NOT_THERE}: ${mutation.from}`);
  return { ...loaded, source: text.replace(mutation.from, mutation.to) };
};
