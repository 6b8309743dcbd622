import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { AppModule } from './app.module.js';
import { toText } from './example.js';
import { examples } from './examples.js';
import { setUp } from './setup.js';

const port = Number(process.env.PORT || 3000);
const app = await NestFactory.create<NestExpressApplication>(AppModule, { logger: ['error', 'warn'] });
setUp(app);
app.enableShutdownHooks();
await app.listen(port);

console.log(`The sample app listens on http://localhost:${port}; open it in a browser to watch its buckets.`);
console.log(
  process.env.REDIS_URL
    ? 'Its buckets are in Redis.'
    : 'Its buckets are in memory; set REDIS_URL to store them in Redis.',
);
console.log('Or try these commands in another terminal. Press Ctrl-C to stop the app.\n');
console.log(examples.map((example) => toText(example, port)).join('\n'));
