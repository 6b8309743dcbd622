import { Body, Controller, type ExecutionContext, HttpCode, Post, UnauthorizedException } from '@nestjs/common';
import { addressKey, RateLimit, TimeUnit } from 'nest-rate-limit';
import { bodyOf, stringOf } from '../body.js';

const PASSWORDS = new Map([
  ['ada', 'lovelace'],
  ['grace', 'hopper'],
]);

/** Brute-force protection: only failures count. After 5 in a minute, the next attempt starts a block of a minute. */
@Controller('login')
export class LoginController {
  @RateLimit({
    maxRequest: 5,
    duration: 1,
    unit: TimeUnit.MINUTES,
    settle: 'failures',
    block: '1m',
    key: userAtAddress,
  })
  @HttpCode(200)
  @Post()
  login(@Body() body: unknown): string {
    const user = stringOf(body, 'user');
    if (PASSWORDS.get(user) !== stringOf(body, 'password')) throw new UnauthorizedException('Wrong name or password');
    return `Welcome, ${user}`;
  }
}

/**
 * Keyed by user alone, anyone could lock a user out; keyed by address alone, one user could lock out a whole office.
 */
function userAtAddress(context: ExecutionContext): string {
  const { ip } = context.switchToHttp().getRequest<{ ip: string }>();
  return `${addressKey(ip)} ${stringOf(bodyOf(context), 'user')}`;
}
