/** @jest-config-loader esbuild-register */
import type { Config } from 'jest';

const config: Config = {
  testEnvironment: 'node',
  roots: ['<rootDir>/test', '<rootDir>/sample-app', '<rootDir>/codemod/test'],
  testTimeout: 60_000, // only for what hangs: on a busy machine all of this takes many times as long
  testRegex: '\\.spec\\.ts$',
  // ES modules of finished files stay in memory: without new workers, 200 files fill the heap of one process.
  workerIdleMemoryLimit: '1GB',
  globalSetup: '<rootDir>/test/support/redis.ts',
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: {
    '^nest-rate-limit$': '<rootDir>/src/index.ts',
    '^nest-rate-limit/([\\w-]+)$': '<rootDir>/src/$1/index.ts',
    '^(\\.{1,2}/.*)\\.js$': '$1',
  },
  transform: {
    '\\.ts$': [
      '@swc/jest',
      {
        jsc: {
          target: 'es2023',
          parser: { syntax: 'typescript', decorators: true },
          transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: false },
          keepClassNames: true,
        },
        module: { type: 'es6' },
      },
    ],
  },
};

export default config;
