export { FakeClock } from './fake-clock.js';
export { describeStoreContract, type MakeStore } from './store-contract.js';
