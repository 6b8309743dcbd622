import { readFileSync } from 'node:fs';
import { Body, Controller, Get, Header, HttpCode, type MessageEvent, Post, Sse } from '@nestjs/common';
import { SkipRateLimit } from 'nest-rate-limit';
import type { Observable } from 'rxjs';
import { textOf } from './body.js';
import { DemoRedis } from './demo-redis.js';
import { LiveFeed } from './live-feed.js';

const files = Object.fromEntries(
  ['index.html', 'page.css', 'page.js'].map((name) => [
    name,
    readFileSync(new URL(`page/${name}`, import.meta.url), 'utf8'),
  ]),
);
const OWN_FILES_ONLY = "default-src 'self'; img-src data:";

/** The live page. It is not limited itself, whatever the module's defaults are. */
@SkipRateLimit()
@Controller()
export class PageController {
  constructor(
    private readonly feed: LiveFeed,
    private readonly redis: DemoRedis,
  ) {}

  @Header('Content-Type', 'text/html; charset=utf-8')
  @Header('Content-Security-Policy', OWN_FILES_ONLY)
  @Get()
  page(): string {
    return files['index.html'];
  }

  @Header('Content-Type', 'text/css; charset=utf-8')
  @Get('page.css')
  style(): string {
    return files['page.css'];
  }

  @Header('Content-Type', 'text/javascript; charset=utf-8')
  @Get('page.js')
  script(): string {
    return files['page.js'];
  }

  @Sse('events')
  events(): Observable<MessageEvent> {
    return this.feed.events();
  }

  /** The switch: `paused=true` or `paused=false`. */
  @HttpCode(204)
  @Post('demo-redis')
  pause(@Body() body: unknown): void {
    this.redis.pause(textOf(body, 'paused') === 'true');
  }
}
