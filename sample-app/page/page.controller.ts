import { readdirSync, readFileSync } from 'node:fs';
import { extname } from 'node:path';
import {
  Body,
  Controller,
  Get,
  Header,
  HttpCode,
  type MessageEvent,
  NotFoundException,
  Param,
  Post,
  Sse,
  StreamableFile,
} from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { SkipRateLimit } from 'nest-rate-limit';
import type { Observable } from 'rxjs';
import { stringOf } from '../body.js';
import { DemoRedis } from './demo-redis.js';
import { LiveFeed } from './live-feed.js';

const folder = new URL('public/', import.meta.url);
const files = new Map(readdirSync(folder).map((name) => [name, readFileSync(new URL(name, folder))]));
const TYPES: Record<string, string> = { '.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript' };
/** Only the page's own files, and no HTML made from strings. */
const SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "trusted-types 'none'",
  "require-trusted-types-for 'script'",
].join('; ');

/** Serves the live page. It is exempt from all limits, including the module's default. */
@SkipRateLimit()
@ApiExcludeController()
@Controller()
export class PageController {
  constructor(
    private readonly feed: LiveFeed,
    private readonly redis: DemoRedis,
  ) {}

  @Header('Content-Security-Policy', SECURITY_POLICY)
  @Get()
  page(): StreamableFile {
    return this.file('index.html');
  }

  @Header('X-Content-Type-Options', 'nosniff')
  @Get('page/:name')
  file(@Param('name') name: string): StreamableFile {
    const content = files.get(name);
    if (!content) throw new NotFoundException();
    return new StreamableFile(content, { type: `${TYPES[extname(name)]}; charset=utf-8` });
  }

  @Sse('events')
  events(): Observable<MessageEvent> {
    return this.feed.events();
  }

  /** Pauses or resumes Redis: `paused=true` or `paused=false`. */
  @HttpCode(204)
  @Post('demo-redis')
  pause(@Body() body: unknown): void {
    this.redis.pause(stringOf(body, 'paused') === 'true');
  }
}
