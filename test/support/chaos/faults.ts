import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../random.js';
import type { Chaos } from './chaos.js';

/** A disturbance, which ends before the returned promise resolves. */
export type Disturbance = (chaos: Chaos, random: Random) => Promise<void> | void;

/** The network between the processes and Redis. */
export const NETWORK: Readonly<Record<string, Disturbance>> = {
  async delay({ proxy }, random) {
    proxy.delay = random.between(5, 100);
    await sleep(random.between(50, 300));
    proxy.delay = 0;
  },
  cut: ({ proxy }) => proxy.cut(),
  async drop({ proxy }, random) {
    proxy.deafen();
    await sleep(random.between(20, 200));
    proxy.cut();
  },
  async 'half-close'({ proxy }, random) {
    proxy.halfClose(random.pick(['client', 'server'] as const));
    await sleep(random.between(20, 100));
  },
  async 'black hole'({ proxy }, random) {
    proxy.lose();
    await sleep(random.between(50, 600));
    // Bytes are missing from every stream now.
    proxy.cut();
    proxy.repair();
  },
  async refuse({ proxy }, random) {
    proxy.break();
    await sleep(random.between(50, 400));
    proxy.repair();
  },
};

/** The processes that use Redis. */
export const PROCESSES: Readonly<Record<string, Disturbance>> = {
  async busy({ workers }, random) {
    random.pick(workers).send({ busy: random.between(30, 200) });
    await sleep(20);
  },
  async throttled({ workers }, random) {
    const { pid } = random.pick(workers);
    for (let i = 0; i < 3; i++) {
      process.kill(pid as number, 'SIGSTOP');
      await sleep(random.between(20, 80));
      process.kill(pid as number, 'SIGCONT');
      await sleep(50);
    }
  },
};

/** Redis itself. */
export const SERVER: Readonly<Record<string, Disturbance>> = {
  async suspended({ master }, random) {
    master.pause();
    await sleep(random.between(30, 400));
    master.resume();
  },
  restart: (chaos) => chaos.restart(),
  'fail-over': (chaos) => chaos.failOver(),
  'flush of scripts': async ({ admin }) => void (await admin.script('FLUSH')),
  'kill of connections': async ({ admin }) => void (await admin.call('CLIENT', 'KILL', 'TYPE', 'normal')),
};

export const CLOCK: Readonly<Record<string, Disturbance>> = {
  async step(chaos, random) {
    chaos.step(random.pick([-120_000, -5000, -100, 100, 2000]));
    await sleep(200);
  },
};
