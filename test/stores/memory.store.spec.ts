import { MemoryStore } from 'nest-rate-limit';
import { describeStoreContract } from 'nest-rate-limit/testing';

describeStoreContract('MemoryStore', (clock) => new MemoryStore({ clock }));
