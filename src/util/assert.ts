/**
 * Assertions: they find our own mistakes, so they stay on and end the process or the request.
 *
 * @module
 */

/**
 * Throws when a fact that this program guarantees does not hold.
 * Give the rule in constant words (a template would cost on hot paths):
 * `assert(n <= size, 'a chain fits its ring')`.
 */
export function assert(condition: boolean, rule: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${rule} (this is a bug of vhost-user)`);
}
