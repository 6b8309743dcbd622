export { FakeClock } from './fake-clock.js';
export { describeStoreContract, type MakeStore, type TestRunner } from './store-contract.js';
