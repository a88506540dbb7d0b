/**
 * The memory that the front-end shares.
 *
 * @module
 */
import { FRONTEND } from '../../protocol/index.ts';
import { MEM_SLOTS_MAX } from '../memory-table.ts';
import { handle, reply } from '../session-state.ts';
import type { HandlerEntry } from '../session-state.ts';

/** See the module. */
export const memoryHandlers: readonly HandlerEntry[] = [
  handle<'memoryTable'>(FRONTEND.SET_MEM_TABLE, async (state, { regions }, fds) => {
    await state.changeMemory(state.memory.replacement(regions, fds.splice(0)));
    return undefined;
  }),
  handle(FRONTEND.GET_MAX_MEM_SLOTS, () => reply('u64', { value: BigInt(MEM_SLOTS_MAX) })),
  handle<'memoryRegion'>(FRONTEND.ADD_MEM_REG, async (state, region, fds) => {
    await state.changeMemory(state.memory.addition(region, fds.splice(0)));
    return undefined;
  }),
  handle<'memoryRegion'>(FRONTEND.REM_MEM_REG, async (state, region) => {
    await state.changeMemory(state.memory.removal(region));
    return undefined;
  }),
];
