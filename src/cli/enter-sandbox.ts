/**
 * All that a command needs to enter its sandbox, to be loaded when it is about to.
 *
 * @module
 */
export {
  blkNeeds,
  consoleNeeds,
  fileNeeds,
  fsNeeds,
  rngNeeds,
  socketNeeds,
  vsockNeeds,
} from './sandbox-needs.ts';
export { enterDeviceSandbox } from './sandbox.ts';
