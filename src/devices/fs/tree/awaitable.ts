/**
 * Values that may be promises, without a turn of the event loop for those that are none.
 *
 * @module
 */
import type { Awaitable } from './file-system.ts';

/** Whether a value has to be waited for. */
export function isPromise<T>(value: Awaitable<T>): value is PromiseLike<T> {
  if (typeof value !== 'object' || value === null) return false;
  return typeof (value as { then?: unknown }).then === 'function';
}

/** What comes after a value: at once when the value is there. */
export function after<T, R>(value: Awaitable<T>, next: (value: T) => Awaitable<R>): Awaitable<R> {
  return isPromise(value) ? value.then(next) : next(value);
}

/** A value, or what `instead` makes of the error when there is none. */
export function otherwise<T>(
  start: () => Awaitable<T>,
  instead: (error: unknown) => Awaitable<T>,
): Awaitable<T> {
  try {
    const value = start();
    return isPromise(value) ? value.then(undefined, instead) : value;
  } catch (error) {
    return instead(error);
  }
}
