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
import { textOf } from '../body.js';
import { DemoRedis } from './demo-redis.js';
import { LiveFeed } from './live-feed.js';

const folder = new URL('public/', import.meta.url);
const files = new Map(readdirSync(folder).map((name) => [name, readFileSync(new URL(name, folder))]));
const TYPES: Record<string, string> = { '.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript' };
const OWN_FILES_ONLY = "default-src 'self'; img-src data:";

/** Serves the live page. It is exempt from all limits, including the module's default. */
@SkipRateLimit()
@ApiExcludeController()
@Controller()
export class PageController {
  constructor(
    private readonly feed: LiveFeed,
    private readonly redis: DemoRedis,
  ) {}

  @Header('Content-Security-Policy', OWN_FILES_ONLY)
  @Get()
  page(): StreamableFile {
    return this.file('index.html');
  }

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
    this.redis.pause(textOf(body, 'paused') === 'true');
  }
}
