/**
 * The test kit: both sides of a virtqueue, mock drivers (honest and hostile), a mock front-end, and
 * leak counters. Public, and what our own tests use.
 *
 * @module
 */
export { EchoDevice } from './echo-device.ts';
export type { EchoOptions } from './echo-device.ts';
export { echoOnThread, serveEcho } from './echo-plane.ts';
export { startFlipper } from './flipper.ts';
export type { Flip, Flipper } from './flipper.ts';
export { FS_CHECKS, runFsCheck } from './fs-checks.ts';
export type { FsCheck, FsTrait } from './fs-check.ts';
export { fuseAnswer, fuseInitRequest, fuseRequest, fuseStruct } from './fuse-message.ts';
export type { FuseAnswer, FuseInitOptions, FusePart, FuseRequestOptions } from './fuse-message.ts';
export { FuseScript } from './fuse-script.ts';
export type { FuseScriptOptions, ScriptedAnswer, ScriptedRequest } from './fuse-script.ts';
export { FuseCaller } from './fuse-caller.ts';
export type { FuseOutcome, FuseRequest } from './fuse-caller.ts';
export { FuseMount, MountError, fuseInput } from './fuse-mount.ts';
export type { MountEntry, MountStat } from './fuse-mount.ts';
export { FusePair } from './fuse-pair.ts';
export type { FusePairOptions } from './fuse-pair.ts';
export { HOSTILE_CHAINS } from './hostile-chains.ts';
export type { HostileChain } from './hostile-chains.ts';
export { HostileDriver } from './hostile-driver.ts';
export type { HostileRing, RawDescriptor, RawUsed } from './hostile-driver.ts';
export { expectIdle } from './idle.ts';
export { expectNoLeak, holdings } from './leaks.ts';
export type { Holdings } from './leaks.ts';
export { MockBackend, u64 } from './mock-backend.ts';
export type { MockAnswer, MockBackendOptions } from './mock-backend.ts';
export { MockDriver } from './mock-driver.ts';
export type { MockCompletion } from './mock-driver.ts';
export { MockFrontend, mockMessage } from './mock-frontend.ts';
export type {
  FrontendMessageName,
  MockMessageOptions,
  MockNegotiateOptions,
  MockNegotiated,
  MockSendOptions,
  MockValues,
} from './mock-frontend.ts';
export { MockGuest, MockQueue } from './mock-guest.ts';
export type { MockGuestOptions, MockRegion } from './mock-guest.ts';
export { MOCK_TIMEOUT_MS, MockSocket } from './mock-socket.ts';
export type { MockBytes, MockPieces } from './mock-socket.ts';
export { startNullDevice } from './null-device.ts';
export type { NullDevice } from './null-device.ts';
export { RamDisk } from './ram-disk.ts';
export type { RamDiskAnswer, RamDiskOptions, RamDiskRequest } from './ram-disk.ts';
export { randomnessFaults } from './randomness.ts';
export { RingPair } from './ring-pair.ts';
export type { RingPairOptions } from './ring-pair.ts';
export { ScratchFile, openScratchFile, scriptedWriter } from './scratch-file.ts';
export { withSharedFolder } from './shared-folder.ts';
export type { SharedFolder, SharedFolderOptions } from './shared-folder.ts';
export { StubFileSystem } from './stub-file-system.ts';
export type { StubNode } from './stub-file-system.ts';
export { STUB_MODULE } from './stub-operations.ts';
export type { StubOptions } from './stub-operations.ts';
export { TestBackend, codesOf } from './test-backend.ts';
export type { TestConversation, TestReport } from './test-backend.ts';
export { VsockScript } from './vsock-script.ts';
export type { VsockScriptOptions } from './vsock-script.ts';
export { MockVsockGuest } from './vsock-guest.ts';
export type { MockVsockOptions, VsockPacket } from './vsock-guest.ts';
export { HostListener, HostProgram } from './host-program.ts';
export { VsockTalk, packetText, withVsock } from './vsock-talk.ts';
export type { VsockTalkOptions } from './vsock-talk.ts';
