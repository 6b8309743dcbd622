import { Controller, Delete, type ExecutionContext, Get, Param, Put } from '@nestjs/common';
import { RateLimit } from 'nest-rate-limit';

const WEIGHTS: Record<string, number> = { GET: 1, HEAD: 1, PUT: 5, DELETE: 10 };

/** The cost depends on the method. All handlers share one bucket of 20 tokens, refilled at one per second. */
@RateLimit({ capacity: 20, refill: 1, cost: weightOf })
@Controller('documents')
export class DocumentsController {
  @Get(':id')
  read(@Param('id') id: string): string {
    return `Document ${id}`;
  }

  @Put(':id')
  write(@Param('id') id: string): string {
    return `Document ${id} is written`;
  }

  @Delete(':id')
  delete(@Param('id') id: string): string {
    return `Document ${id} is gone`;
  }
}

function weightOf(context: ExecutionContext): number {
  return WEIGHTS[context.switchToHttp().getRequest<{ method: string }>().method];
}
