// What each room of src may import: `rooms` are other rooms, `packages` are packages and Node's modules (`node:`).
// `lazily`: packages that are imported when they are needed, by `import()`. `types`: packages of which only types are
// imported. Everything else is forbidden; a room imports itself.
export const ROOMS = {
  util: { rooms: [], packages: ['node:'] },
  core: { rooms: ['util'], packages: [] },
  context: { rooms: ['util'], packages: ['@nestjs/common'] },
  exceptions: { rooms: ['core', 'util'], packages: ['@nestjs/common'] },
  observe: { rooms: ['core', 'util'], packages: ['node:', '@nestjs/common'] },
  suspend: { rooms: ['context', 'util'], packages: ['@nestjs/common', 'rxjs'] },
  stores: {
    rooms: ['core', 'exceptions', 'observe', 'util'],
    packages: ['node:'],
    lazily: ['ioredis'],
    types: ['ioredis'],
  },
  keys: { rooms: ['context', 'exceptions', 'observe', 'util'], packages: ['node:', '@nestjs/common'] },
  transport: {
    rooms: ['context', 'core', 'exceptions', 'util'],
    packages: ['@nestjs/common', '@nestjs/core', 'rxjs'],
    lazily: ['@nestjs/websockets', '@nestjs/microservices'],
  },
  policy: {
    rooms: ['core', 'exceptions', 'keys', 'observe', 'stores', 'transport', 'util'],
    packages: ['@nestjs/common', '@nestjs/core'],
  },
  bucket: {
    rooms: ['core', 'exceptions', 'observe', 'stores', 'suspend', 'util'],
    packages: ['@nestjs/common'],
  },
  guard: {
    rooms: ['context', 'core', 'exceptions', 'observe', 'policy', 'stores', 'suspend', 'transport', 'util'],
    packages: ['@nestjs/common', '@nestjs/core', 'rxjs'],
  },
  swagger: { rooms: ['exceptions', 'policy', 'transport', 'util'], packages: ['@nestjs/common'] },
  module: {
    rooms: ['bucket', 'core', 'guard', 'keys', 'observe', 'policy', 'stores', 'swagger', 'transport', 'util'],
    packages: ['@nestjs/common', '@nestjs/core'],
  },
  testing: { rooms: ['bucket', 'core', 'exceptions', 'stores', 'util'], packages: ['node:'] },
  opentelemetry: { rooms: ['observe'], packages: ['node:', '@nestjs/common', '@opentelemetry/api'] },
};
