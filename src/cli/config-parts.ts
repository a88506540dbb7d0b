/**
 * What the schemas of all devices of a configuration file have in common: texts, numbers, flags,
 * and where the front-end is met.
 *
 * @module
 */
import type { z as Zod } from 'zod';
import { LIMITS, keepsRule, parseMode, ruleText } from './limits.ts';
import type { NumberRule } from './limits.ts';
import { z } from './zod.ts';

/** The settings that every device has. */
export interface DeviceInput {
  readonly name?: string | undefined;
  readonly 'socket-path'?: string | undefined;
  readonly 'socket-mode'?: string | undefined;
  readonly 'socket-group'?: string | undefined;
  readonly connect?: boolean | undefined;
  readonly fd?: number | undefined;
  readonly activation?: string | undefined;
}

/** A whole number within bounds. */
export function wholeNumber(rule: NumberRule): Zod.ZodNumber {
  const error = `must be ${ruleText(rule)}`;
  return z
    .number({ error })
    .min(rule.min, { error, abort: true })
    .max(rule.max, { error, abort: true })
    .refine((value) => keepsRule(value, rule), { error });
}

/** A text of one letter at least. */
export const text: Zod.ZodString = z
  .string({ error: 'must be a text' })
  .min(1, { error: 'must not be empty' });
/** True or false. */
export const flag: Zod.ZodBoolean = z.boolean({ error: 'must be true or false' });

/** A text that a function finds faults in. */
export function checkedText(
  fault: (value: string) => string | null,
): Zod.ZodOptional<Zod.ZodString> {
  const checked = text.superRefine((value, context) => {
    const found = fault(value);
    if (found !== null) context.addIssue({ code: 'custom', message: found });
  });
  return checked.optional();
}

/** Its name. */
export const NAME: Zod.ZodOptional<Zod.ZodString> = text
  .optional()
  .describe('what the log calls it');

/** The schemas of {@link SOCKET}. */
export interface SocketShape {
  readonly 'socket-path': Zod.ZodOptional<Zod.ZodString>;
  readonly 'socket-mode': Zod.ZodOptional<Zod.ZodString>;
  readonly 'socket-group': Zod.ZodOptional<Zod.ZodString>;
  readonly connect: Zod.ZodOptional<Zod.ZodBoolean>;
  readonly fd: Zod.ZodOptional<Zod.ZodNumber>;
  readonly activation: Zod.ZodOptional<Zod.ZodString>;
}

/** Where the front-end is met. */
export const SOCKET: SocketShape = {
  'socket-path': text.optional().describe('listen there for a front-end'),
  'socket-mode': z
    .string({ error: 'must be a text in quotes, such as "660": YAML reads 0660 as a number' })
    .refine((mode) => parseMode(mode) !== null, { error: 'must be octal, such as "660"' })
    .optional(),
  'socket-group': text.optional().describe('the group of the socket, by name or number'),
  connect: flag.optional().describe('connect to a front-end that listens on socket-path'),
  fd: wholeNumber(LIMITS.fd).optional().describe('a socket left open by the parent process'),
  activation: text.optional().describe('the FileDescriptorName= of a systemd socket'),
};
