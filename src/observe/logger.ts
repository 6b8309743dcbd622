import { Logger } from '@nestjs/common';
import { WarnOnce } from '../util/warn-once.js';

/** The log of the whole library. */
export const logger = new Logger('RateLimit');

/** Warnings that must not flood the log. */
export const warnOnce = new WarnOnce((message) => logger.warn(message));
