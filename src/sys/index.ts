/**
 * What the kernel does for us, the same on every host: only this layer and `abi` know which it is.
 *
 * Set-up calls throw {@link SystemError}; data-path calls return a negative errno. Addresses of
 * memory are numbers.
 *
 * @module
 */
import './runtime.ts'; // first: on a runtime that cannot carry us nothing else is of use
export { activatedFds, launchdFds } from './activation.ts';
export type { ActivatedFd } from './activation.ts';
export { BriskWriter, threadSleeps } from './brisk-write.ts';
export type { BriskWriterParts } from './brisk-write.ts';
export { monotonicUs } from './clock.ts';
export { copyMemory } from './copy.ts';
export { DT, DirCursor, readDirBlock, seekDir } from './dir.ts';
export { LINUX_ERRNO } from '../abi/index.ts';
export { ERRNO, SystemError, errnoName } from './errno.ts';
export { atExit } from './exit.ts';
export { fallbackText, fellBack, onFallback } from './fallback.ts';
export type { FallbackListener } from './fallback.ts';
export {
  FALLOC,
  allocateFd,
  copyRange,
  seek,
  seekData,
  syncFd,
  syncFileSystem,
  truncateFd,
} from './extent.ts';
export { FDS_PER_MESSAGE_MAX, closeFds, receiveWithFds, sendWithFds } from './fd-passing.ts';
export type { Received } from './fd-passing.ts';
export { hasPathFds, hasReopen, holdProcFds, releaseProcFds } from './fd-path.ts';
export {
  closeFd,
  dupFd,
  fdKind,
  isNonBlocking,
  openFdCount,
  setCloseOnExec,
  setNonBlocking,
} from './fd.ts';
export type { FdKind } from './fd.ts';
export {
  blockDeviceZero,
  dataSync,
  fileInfo,
  isMemoryBacked,
  lockImage,
  openFile,
  pread,
  preadv,
  preadvCached,
  punchHole,
  pwrite,
  pwritev,
  pwritevCached,
  zeroRange,
} from './file.ts';
export type { FileInfo, OpenOptions } from './file.ts';
export { releaseMemory } from './garbage.ts';
export { host } from './host.ts';
export type { HostInfo } from './host.ts';
export {
  effectiveUid,
  userCount,
  fdLimit,
  isCaseInsensitive,
  isolateUmask,
  overrideFsAccess,
  raiseFdLimit,
  restoreFsIdentity,
  setFsIdentity,
  setUmask,
  threadUmask,
} from './identity.ts';
export type { FdLimit } from './identity.ts';
export { LOCK_OP, LOCK_TYPE, LockBlock, flockFd, ofdGetLock, ofdLock } from './lock.ts';
export {
  Mapping,
  WINDOW_BYTES_MAX,
  mapAnew,
  mapAnonymous,
  mapFd,
  openMappingCount,
  viewMemory,
} from './mmap.ts';
export type { MapOptions } from './mmap.ts';
export { NativeBlock } from './native.ts';
export { Notifier, NotifierConsumer, createNotifier, notifierKind } from './notifier.ts';
export { O, hostOpenFlags, linuxErrno } from './open-flags.ts';
export { FOREVER, READABLE, WRITABLE, createPoller, pollerKind } from './poller.ts';
export type { Poller } from './poller.ts';
export {
  createNamedSharedMemory,
  createPipeNotifier,
  createSemaphoreNotifier,
  tryKvm,
  tryLandlock,
  tryUring,
} from './self-test.ts';
export type { KvmVerdict, LandlockVerdict, UringVerdict } from './self-test.ts';
export { createSharedMemory, sharedMemoryKind } from './shm.ts';
export type { SharedMemoryKind } from './shm.ts';
export {
  acceptUnix,
  adoptSocket,
  connectUnix,
  isListening,
  listenUnix,
  peerOf,
  socketPair,
} from './socket.ts';
export type { ListenOptions } from './socket.ts';
export { reachedPath } from './socket-folders.ts';
export {
  IOVECS_MAX,
  SHUT,
  isHungUp,
  isVsockHungUp,
  peek,
  receive,
  receiveMessage,
  receiveVector,
  send,
  sendVector,
  sendVsockMessage,
  shutDown,
} from './socket-io.ts';
export type { MessageMarks } from './socket-io.ts';
export { StatBlock, StatFsBlock, makeDevice, statAt, statFd, statFs } from './stat.ts';
export { openPty, rawTerminal, terminalSize } from './terminal.ts';
export type { Pty, TerminalSize } from './terminal.ts';
export {
  NO_VSOCK,
  acceptSocket,
  connectSocket,
  hasUnixSeqpacket,
  listenSocket,
  localPort,
  openSocket,
  setNoDelay,
  setSendBuffer,
  tellEmptyMessages,
  setVsockBuffer,
  socketError,
  socketName,
} from './stream-socket.ts';
export type { SocketAddress, SocketType } from './stream-socket.ts';
export {
  RENAME,
  UTIME_NOW,
  UTIME_OMIT,
  chmodAt,
  chmodFd,
  chownAt,
  chownFd,
  linkAt,
  linkFd,
  mkdirAt,
  mknodAt,
  openAt,
  readlinkAt,
  readlinkFd,
  renameAt,
  reopenFd,
  rmdirAt,
  symlinkAt,
  unlinkAt,
  utimensAt,
  utimensFd,
} from './tree.ts';
export { Uring } from './uring.ts';
export { watchFd } from './watch.ts';
export type { Watch } from './watch.ts';
export {
  XATTR,
  getXattrFd,
  getXattrPathFd,
  listXattrFd,
  removeXattrFd,
  setXattrFd,
} from './xattr.ts';
