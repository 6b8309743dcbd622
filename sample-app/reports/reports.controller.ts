import { BadRequestException, Controller, Get, Query } from '@nestjs/common';
import { type Outcome, RateLimit } from 'nest-rate-limit';

class Report {
  constructor(readonly rows: number) {}
}

/**
 * A cost that is known only afterwards: a burst of 100 rows, refilled at one per second. A request takes 1 token, and
 * is charged for the delivered rows once it has been answered. A failed request costs nothing.
 */
@Controller('reports')
export class ReportsController {
  @RateLimit({ capacity: 100, refill: 1, settle: (_context, outcome) => rowsOf(outcome) })
  @Get()
  report(@Query('rows') rows: string): Report {
    if (!/^\d{1,3}$/.test(rows)) throw new BadRequestException('rows must be a number from 0 to 999');
    return new Report(Number(rows));
  }
}

function rowsOf({ value }: Outcome): number {
  return value instanceof Report ? value.rows : 0;
}
