/**
 * The C functions of the sandboxes of OpenBSD, FreeBSD and macOS. Each is declared when its host
 * enters its sandbox, so that no other host looks for it.
 *
 * @module
 */
import { need } from '../libc.ts';
import type { NumberFunction } from '../libc.ts';

/** pledge(2) and unveil(2). */
export interface OpenbsdCalls {
  readonly pledge: NumberFunction;
  readonly unveil: NumberFunction;
}

/** Declares those of OpenBSD. */
export function openbsdCalls(): OpenbsdCalls {
  return {
    pledge: need('int pledge(const char *promises, const char *execpromises)'),
    unveil: need('int unveil(const char *path, const char *permissions)'),
  };
}

/** cap_enter(2), and cap_rights_limit(2) with the address of a `cap_rights_t`. */
export interface FreebsdCalls {
  readonly capEnter: NumberFunction;
  readonly capGetmode: NumberFunction;
  readonly capRightsLimit: NumberFunction;
}

/** Declares those of FreeBSD. */
export function freebsdCalls(): FreebsdCalls {
  return {
    capEnter: need('int cap_enter()'),
    capGetmode: need('int cap_getmode(uintptr_t mode)'),
    capRightsLimit: need('int cap_rights_limit(int fd, uintptr_t rights)'),
  };
}

/** sandbox_init(3), which leaves the address of a text when it fails. */
export interface DarwinCalls {
  readonly sandboxInit: NumberFunction;
  readonly sandboxFreeError: NumberFunction;
  readonly strlen: NumberFunction;
}

/** Declares those of macOS. */
export function darwinCalls(): DarwinCalls {
  return {
    sandboxInit: need('int sandbox_init(const char *profile, uint64_t flags, uintptr_t errorbuf)'),
    sandboxFreeError: need('void sandbox_free_error(uintptr_t errorbuf)'),
    strlen: need('size_t strlen(uintptr_t text)'),
  };
}
